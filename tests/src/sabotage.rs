//! Sabotage: one record of one stopped node is changed on its disk, consistently, so that the node starts and differs.

use std::path::Path;

use quorate_state::{AttributeChange, Command, Operation, Outcome, Proposal, Record, Timeouts, WriteSession};
use quorate_storage::{DataDir, Floor, Identity, SessionOptions, SledStore, StateStore as _};

use crate::error::HarnessError;

/// Signs somebody else into one session of the node whose directory is `path`. The node must not run.
///
/// # Errors
/// The directory cannot be opened, or holds no session yet.
pub fn change_one_principal(path: &Path, identity: Identity) -> Result<(), HarnessError> {
    let unreadable = |error: &dyn std::fmt::Display| HarnessError::Unreadable(format!("sabotage: {error}"));
    let dir = DataDir::open(path, identity, 0).map_err(|error| unreadable(&error))?;
    let floor = Floor::open(&dir).map_err(|error| unreadable(&error))?;
    let opened = SledStore::open(&dir, &floor, SessionOptions::default());
    let (mut store, loaded) = opened.map_err(|error| unreadable(&error))?;
    let loaded = loaded.ok_or_else(|| unreadable(&"the session store is empty"))?;
    let (mut state, before) = (loaded.state, loaded.position);
    let frozen = state.freeze();
    let live = frozen.records().find(|(_, _, record)| matches!(record, Record::Live(_)));
    let (_, key, _) = live.ok_or_else(|| unreadable(&"the session store holds no session"))?;
    let operation = Operation::Write(WriteSession {
        namespace: "default".into(),
        key: key.to_owned(),
        change: AttributeChange::Keep,
        if_version: None,
        principal: Some("mallory".into()),
        timeouts: Timeouts::default(),
        fence: None,
        release: false,
    });
    let digest = state.digest();
    let command = Command::Operate { request: None, operation };
    // The clock stays where it is.
    let outcome = state.apply(before.index, Proposal { stamp: state.clocks().cluster, command });
    if let Outcome::Refused(refusal) = outcome {
        return Err(unreadable(&refusal));
    }
    if state.digest() == digest {
        return Err(unreadable(&"the change did not change the digest"));
    }
    store.install(before, state.freeze()).map_err(|error| unreadable(&error))?;
    store.close();
    Ok(())
}
