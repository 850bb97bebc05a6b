//! The state machine behind openraft's trait: decodes proposals, applies them in memory, answers.
//!
//! Nothing here touches the disk while applying; the session store is written behind (see `persister`).

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use quorate_state::{Command, Outcome, Proposal, State};

use super::clock::ClusterClock;
use super::persister::Persister;
use super::replica::{Applied, Replica};
use super::snapshot_data::SnapshotData;
use super::types::{
    Entry, LogId, Membership, Payload, Response, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};

/// Entries applied under one lock. Readers wait for at most this many.
const APPLY_BATCH_MAX: usize = 256;

/// The state machine as openraft sees it.
pub(crate) struct StateMachine {
    replica: Arc<Replica>,
    persister: Arc<Persister>,
    clock: Arc<ClusterClock>,
}

/// A decoded entry, ready to be applied.
struct Decoded {
    log_id: LogId,
    step: Step,
    responder: Option<ApplyResponder<TypeConfig>>,
}

/// What a proposal says about time.
enum TimeNews {
    Tick { wall_ms: u64 },
    Jump { by_ms: u64 },
}

#[allow(clippy::large_enum_variant, reason = "nearly all are proposals, which are not copied again")]
enum Step {
    Blank,
    Propose(Proposal),
    Membership(Membership),
}

impl StateMachine {
    pub(crate) fn new(replica: Arc<Replica>, persister: Arc<Persister>, clock: Arc<ClusterClock>) -> Self {
        StateMachine { replica, persister, clock }
    }

    fn builder(&self) -> SnapshotBuilder {
        SnapshotBuilder { replica: Arc::clone(&self.replica), persister: Arc::clone(&self.persister) }
    }

    /// Applies a proposal, and lets this node's clock know what it says about time.
    fn apply_proposal(&self, state: &mut State, log_id: &LogId, proposal: Proposal) -> Outcome {
        let news = match proposal.command {
            Command::Tick { wall_ms } => Some(TimeNews::Tick { wall_ms }),
            Command::TimeJump { by_ms } => Some(TimeNews::Jump { by_ms }),
            _ => None,
        };
        let outcome = state.apply(log_id.index, proposal);
        let cluster = state.clocks().cluster;
        match news {
            Some(TimeNews::Tick { wall_ms }) => self.clock.ticked(log_id.leader_id.term, cluster, wall_ms),
            Some(TimeNews::Jump { by_ms }) => self.clock.jumped(by_ms, cluster),
            None => {}
        }
        outcome
    }

    fn apply_batch(&self, batch: Vec<Decoded>, payload_bytes: u64) {
        let mut answers: Vec<(ApplyResponder<TypeConfig>, Response)> = Vec::with_capacity(batch.len());
        let mut index = 0;
        let (woken, lapse) = {
            let mut applied = self.replica.write();
            for Decoded { log_id, step, responder } in batch {
                let response = match step {
                    Step::Blank => None,
                    Step::Propose(proposal) => {
                        Some(self.apply_proposal(&mut applied.state, &log_id, proposal))
                    }
                    Step::Membership(membership) => {
                        applied.membership = StoredMembership::new(Some(log_id), membership);
                        None
                    }
                };
                index = log_id.index;
                applied.log_id = Some(log_id);
                answers.extend(responder.map(|responder| (responder, response)));
            }
            (applied.state.take_woken(), applied.state.next_lock_lapse())
        };
        self.replica.publish(index, payload_bytes);
        self.replica.publish_locks(&woken, lapse);
        for (responder, response) in answers {
            responder.send(response);
        }
    }
}

/// Reads an entry's payload. An entry that this version cannot read stops the node before it: skipping it would
/// fork the state.
fn decode((entry, responder): EntryResponder<TypeConfig>) -> Result<(Decoded, u64), io::Error> {
    let Entry { log_id, payload } = entry;
    let (step, bytes) = match payload {
        EntryPayload::Blank => (Step::Blank, 0),
        EntryPayload::Membership(membership) => (Step::Membership(membership), 0),
        EntryPayload::Normal(Payload(bytes)) => {
            let proposal = Proposal::decode(&bytes).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("log entry {log_id}: {error}"))
            })?;
            if !State::supports(&proposal.command) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "log entry {log_id} raises the apply version beyond what this node supports: upgrade it"
                    ),
                ));
            }
            (Step::Propose(proposal), bytes.len() as u64)
        }
    };
    Ok((Decoded { log_id, step, responder }, bytes))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.replica.read();
        Ok((applied.log_id, applied.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_BATCH_MAX);
        while let Some(chunk) = chunks.next().await {
            let mut batch = Vec::with_capacity(chunk.len());
            let mut payload_bytes = 0;
            for item in chunk {
                let (decoded, bytes) = decode(item?)?;
                payload_bytes += bytes;
                batch.push(decoded);
            }
            let is_full = batch.len() == APPLY_BATCH_MAX;
            self.apply_batch(batch, payload_bytes);
            if is_full {
                // There is more: a replay must not keep a worker for itself.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let state = snapshot.into_state()?;
        let (frozen, lapse) = (state.freeze(), state.next_lock_lapse());
        self.persister.install(meta, frozen).await?;
        let installed = Applied { state, log_id: meta.last_log_id, membership: meta.last_membership.clone() };
        let replaced = std::mem::replace(&mut *self.replica.write(), installed);
        // It may hold millions of sessions. They are freed without the lock, on no thread that others wait for, and
        // nobody waits for that.
        drop(tokio::task::spawn_blocking(move || drop(replaced)));
        self.persister.note_persisted(&self.replica);
        self.replica.raise_persisted(meta.clone());
        self.replica.publish(meta.last_log_id.as_ref().map_or(0, |id| id.index), 0);
        self.replica.publish_locks(&[], lapse);
        self.replica.lock_waits().wake_all();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.replica.persisted().last_log_id.is_none() {
            return Ok(None);
        }
        let (meta, frozen) = self.replica.view();
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::View(frozen) }))
    }
}

/// Builds a snapshot by bringing the session store up to date.
pub(crate) struct SnapshotBuilder {
    replica: Arc<Replica>,
    persister: Arc<Persister>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (meta, frozen) = self.persister.persist(&self.replica).await?;
        Ok(Snapshot { meta, snapshot: SnapshotData::View(frozen) })
    }
}
