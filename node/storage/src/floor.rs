//! The floor file: what must not be found lost when the node comes back.
//!
//! Two slots of 512 bytes, written in turn, each synced before it counts: a torn write spoils one slot, the other
//! still holds the state before.
//!
//! ```text
//! slot: format u8 | generation u64 | length u16 | postcard(FloorState) | zeros | XXH3 of all before, in the last 8 bytes
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::data_dir::{DataDir, sync_dir};
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::log::{LogId, Vote};

const FORMAT: u8 = 1;
const SLOT_BYTES: usize = 512;
const HEAD_BYTES: usize = 11;

/// What the session store promised: it holds at least this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsFloor {
    /// The log index of the last synced batch.
    pub index: u64,
    /// Records at that index.
    pub records: u64,
    /// The state's digest at that index.
    pub digest: u128,
}

/// Everything the floor file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorState {
    /// The last vote, on disk before it was answered.
    pub vote: Option<Vote>,
    /// A log id known to be synced; at most a moment behind the last one.
    pub synced: Option<LogId>,
    /// The log has nothing at or before this.
    pub purged: Option<LogId>,
    /// Which of raft-engine's groups is the log; rises when the log is emptied for a snapshot.
    pub group: u64,
    /// The session store's part.
    pub sessions: Option<SessionsFloor>,
}

struct Inner {
    file: File,
    path: PathBuf,
    generation: u64,
    state: FloorState,
}

/// The open floor file; clones share it.
#[derive(Clone)]
pub struct Floor {
    inner: Arc<Mutex<Inner>>,
}

fn encode_slot(generation: u64, state: &FloorState) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    // A FloorState takes at most ~150 bytes: see the test.
    let body = postcard::to_stdvec(state).unwrap_or_default();
    let length = u16::try_from(body.len()).unwrap_or(0);
    let head = [FORMAT].into_iter().chain(generation.to_le_bytes()).chain(length.to_le_bytes());
    for (to, from) in slot.iter_mut().zip(head.chain(body)) {
        *to = from;
    }
    let (content, sum) = slot.split_at_mut(SLOT_BYTES - 8);
    sum.copy_from_slice(&checksum(content).to_le_bytes());
    slot
}

fn decode_slot(slot: &[u8]) -> Result<(u64, FloorState), String> {
    let Some((content, sum)) = slot.split_last_chunk::<8>().filter(|_| slot.len() == SLOT_BYTES) else {
        return Err("it is cut short".into());
    };
    if checksum(content) != u64::from_le_bytes(*sum) {
        return Err("its checksum does not match".into());
    }
    let Some((head, body)) = content.split_first_chunk::<HEAD_BYTES>() else {
        return Err("it is cut short".into());
    };
    let [format, g0, g1, g2, g3, g4, g5, g6, g7, l0, l1] = *head;
    if format != FORMAT {
        return Err(format!("it has format {format}, this version reads {FORMAT}"));
    }
    let generation = u64::from_le_bytes([g0, g1, g2, g3, g4, g5, g6, g7]);
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let body = body.get(..length).ok_or("its length is out of range")?;
    let state = postcard::from_bytes(body).map_err(|error| format!("it does not decode: {error}"))?;
    Ok((generation, state))
}

impl Floor {
    /// Opens the floor file of `dir`; makes it when the directory is new.
    ///
    /// # Errors
    /// Both slots unreadable, or the file missing beside an existing log.
    pub fn open(dir: &DataDir) -> Result<Floor, StorageError> {
        let path = dir.floor_path();
        if !path.exists() {
            if dir.log_path().exists() || dir.sessions_path().exists() {
                return Err(StorageError::Corrupt {
                    path,
                    detail: "it is missing, but the log or the sessions are there".into(),
                    remedy: REMEDY_NEW_ID,
                });
            }
            return Self::create(dir.path(), &path);
        }
        let file =
            OpenOptions::new().read(true).write(true).open(&path).map_err(StorageError::io("open", &path))?;
        let mut newest: Option<(u64, FloorState)> = None;
        let mut faults = Vec::new();
        for (number, offset) in [0, SLOT_BYTES as u64].into_iter().enumerate() {
            let mut slot = [0; SLOT_BYTES];
            let read = file.read_exact_at(&mut slot, offset).map_err(|error| error.to_string());
            match read.and_then(|()| decode_slot(&slot)) {
                Ok(found) if newest.as_ref().is_none_or(|(generation, _)| found.0 > *generation) => {
                    newest = Some(found);
                }
                Ok(_) => {}
                Err(fault) => faults.push(format!("slot {number}: {fault}")),
            }
        }
        let Some((generation, state)) = newest else {
            return Err(StorageError::Corrupt { path, detail: faults.join("; "), remedy: REMEDY_NEW_ID });
        };
        for fault in faults {
            tracing::warn!(path = %path.display(), fault, "one slot of the floor file is unreadable; the other serves");
        }
        Ok(Self::with(file, path, generation, state))
    }

    fn create(dir: &Path, path: &Path) -> Result<Floor, StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(StorageError::io("create", path))?;
        let floor = Self::with(file, path.to_owned(), 0, FloorState { group: 1, ..FloorState::default() });
        // Both slots, so that from here on an unreadable slot means damage.
        floor.update(|_| {})?;
        floor.update(|_| {})?;
        sync_dir(dir)?;
        Ok(floor)
    }

    fn with(file: File, path: PathBuf, generation: u64, state: FloorState) -> Floor {
        Floor { inner: Arc::new(Mutex::new(Inner { file, path, generation, state })) }
    }

    /// What it holds.
    #[must_use]
    pub fn state(&self) -> FloorState {
        self.inner.lock().state.clone()
    }

    /// The session store's part.
    #[must_use]
    pub fn sessions(&self) -> Option<SessionsFloor> {
        self.inner.lock().state.sessions
    }

    /// Records what the session store has synced; durable when it returns.
    ///
    /// # Errors
    /// The write or its sync failed: the process must stop.
    pub fn set_sessions(&self, sessions: SessionsFloor) -> Result<(), StorageError> {
        self.update(|state| state.sessions = Some(sessions))
    }

    /// Changes the state and writes it to the older slot; durable when it returns.
    pub(crate) fn update(&self, change: impl FnOnce(&mut FloorState)) -> Result<(), StorageError> {
        let mut inner = self.inner.lock();
        change(&mut inner.state);
        inner.generation += 1;
        let slot = encode_slot(inner.generation, &inner.state);
        let offset = if inner.generation % 2 == 0 { 0 } else { SLOT_BYTES as u64 };
        inner.file.write_all_at(&slot, offset).map_err(StorageError::io("write", &inner.path))?;
        inner.file.sync_data().map_err(StorageError::io("sync", &inner.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_state_fits_a_slot() {
        let id = LogId { term: u64::MAX, node: u64::MAX, index: u64::MAX };
        let state = FloorState {
            vote: Some(Vote { term: u64::MAX, node: u64::MAX, committed: true }),
            synced: Some(id),
            purged: Some(id),
            group: u64::MAX,
            sessions: Some(SessionsFloor { index: u64::MAX, records: u64::MAX, digest: u128::MAX }),
        };
        assert_eq!(decode_slot(&encode_slot(7, &state)), Ok((7, state)));
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_noticed() {
        let slot = encode_slot(3, &FloorState { group: 1, ..FloorState::default() });
        for bit in 0..SLOT_BYTES * 8 {
            let mut damaged = slot;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_slot(&damaged).is_err(), "bit {bit}");
        }
    }
}
