//! The floor file: what must not be found lost when the node comes back.
//!
//! Two slots of 4,096 bytes (one page and one sector of today's drives, so that a torn write spoils one alone). What
//! was promised (a vote, a purge, the sessions' position) is acknowledged only once both slots hold it: one damaged
//! slot then loses no promise. The synced log id, a lower bound that moves all the time, goes to one slot in turn.
//!
//! ```text
//! slot: format u8 | generation u64 | length u16 | postcard(FloorState) | zeros | XXH3 of all before, in the last 8 bytes
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use raft_engine::env::{FileSystem as _, Handle as _, Permission};
use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::data_dir::DataDir;
use crate::disk::{Disk, DiskFile};
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::log::{LogId, Vote};

const FORMAT: u8 = 1;
const SLOT_BYTES: usize = 4096;
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorState {
    /// The last vote, on disk before it was answered.
    pub vote: Option<Vote>,
    /// An entry that is synced; at most a moment behind the last one. The log must hold it, or be purged beyond it.
    pub synced: Option<LogId>,
    /// The log has nothing at or before this.
    pub purged: Option<LogId>,
    /// The index that a log never purged begins with.
    pub first: Option<u64>,
    /// Which of raft-engine's groups is the log; rises when the log is emptied for a snapshot.
    pub group: u64,
    /// The session store's part.
    pub sessions: Option<SessionsFloor>,
}

impl Default for FloorState {
    fn default() -> Self {
        FloorState { vote: None, synced: None, purged: None, first: None, group: 1, sessions: None }
    }
}

/// One of the two slots.
#[derive(Clone, Copy)]
enum Slot {
    First,
    Second,
}

impl Slot {
    fn offset(self) -> u64 {
        match self {
            Slot::First => 0,
            Slot::Second => SLOT_BYTES as u64,
        }
    }

    fn other(self) -> Slot {
        match self {
            Slot::First => Slot::Second,
            Slot::Second => Slot::First,
        }
    }
}

struct Inner {
    file: DiskFile,
    path: PathBuf,
    generation: u64,
    state: FloorState,
    /// The older slot, to be written next.
    next: Slot,
    /// A write or sync failed: what the file holds is unknown.
    failed: bool,
}

/// The open floor file; clones share it.
#[derive(Clone)]
pub struct Floor {
    inner: Arc<Mutex<Inner>>,
}

fn encode_slot(generation: u64, state: &FloorState) -> Result<[u8; SLOT_BYTES], String> {
    let mut slot = [0; SLOT_BYTES];
    let body = postcard::to_stdvec(state).map_err(|error| error.to_string())?;
    if body.len() > SLOT_BYTES - HEAD_BYTES - 8 {
        return Err(format!("{} bytes do not fit a slot", body.len()));
    }
    let length = u16::try_from(body.len()).map_err(|error| error.to_string())?;
    let head = [FORMAT].into_iter().chain(generation.to_le_bytes()).chain(length.to_le_bytes());
    for (to, from) in slot.iter_mut().zip(head.chain(body)) {
        *to = from;
    }
    let (content, sum) = slot.split_at_mut(SLOT_BYTES - 8);
    sum.copy_from_slice(&checksum(content).to_le_bytes());
    Ok(slot)
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
    /// Opens the floor file of `dir`, which was made with the directory.
    ///
    /// # Errors
    /// The file is missing, or neither slot is readable: that is never "never voted".
    pub fn open(dir: &DataDir) -> Result<Floor, StorageError> {
        Self::open_at(dir.floor_path(), dir.disk())
    }

    fn open_at(path: PathBuf, disk: &Disk) -> Result<Floor, StorageError> {
        if !path.exists() {
            return Err(StorageError::Corrupt {
                path,
                detail: "it is missing: votes and acknowledgements may be forgotten".into(),
                remedy: REMEDY_NEW_ID,
            });
        }
        let file = disk.open(&path, Permission::ReadWrite).map_err(StorageError::io("open", &path))?;
        // A process that was killed may have left a slot written but not synced; from here on it counts.
        file.sync().map_err(StorageError::io("sync", &path))?;
        let mut newest: Option<(u64, FloorState, Slot)> = None;
        let mut faults = Vec::new();
        for slot in [Slot::First, Slot::Second] {
            let mut bytes = [0; SLOT_BYTES];
            let read = file.read_exact_at(&mut bytes, slot.offset()).map_err(|error| error.to_string());
            match read.and_then(|()| decode_slot(&bytes)) {
                Ok((generation, state)) => {
                    if newest.as_ref().is_none_or(|(newest, ..)| generation > *newest) {
                        newest = Some((generation, state, slot));
                    }
                }
                Err(fault) => faults.push(format!("slot at offset {}: {fault}", slot.offset())),
            }
        }
        let Some((generation, state, slot)) = newest else {
            return Err(StorageError::Corrupt { path, detail: faults.join("; "), remedy: REMEDY_NEW_ID });
        };
        for fault in faults {
            tracing::warn!(path = %path.display(), fault, "one slot of the floor file is unreadable; the other serves");
        }
        let next = slot.other();
        let floor = Floor {
            inner: Arc::new(Mutex::new(Inner { file, path, generation, state, next, failed: false })),
        };
        // Both slots sound and equal: the next damage of either loses nothing.
        floor.inner.lock().write_both()?;
        Ok(floor)
    }

    /// Makes the floor file of a new directory: all of it, or nothing.
    pub(crate) fn create(dir: &Path, disk: &Disk) -> Result<(), StorageError> {
        let (path, draft) = (dir.join("floor"), dir.join("floor.new"));
        let file = disk.create(&draft).map_err(StorageError::io("create", &draft))?;
        file.truncate(0).map_err(StorageError::io("empty", &draft))?;
        let slot = encode_slot(1, &FloorState::default()).map_err(undecodable(&draft))?;
        for place in [Slot::First, Slot::Second] {
            file.write_all_at(&slot, place.offset()).map_err(StorageError::io("write", &draft))?;
        }
        file.sync().map_err(StorageError::io("sync", &draft))?;
        disk.rename(&draft, &path).map_err(StorageError::io("rename to", &path))?;
        disk.sync_dir(dir).map_err(StorageError::io("sync the directory", dir))
    }

    /// Whether the file at `path` holds nothing yet: its directory was being made when the process ended.
    pub(crate) fn is_pristine(path: &Path, disk: &Disk) -> bool {
        Self::open_at(path.to_owned(), disk).is_ok_and(|floor| floor.state() == FloorState::default())
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
        self.promise(|state| state.sessions = Some(sessions))
    }

    /// Changes what is promised: in both slots, durable when it returns.
    pub(crate) fn promise(&self, change: impl FnOnce(&mut FloorState)) -> Result<(), StorageError> {
        let mut inner = self.inner.lock();
        if inner.change(change) {
            inner.write_both()?;
        }
        Ok(())
    }

    /// Raises the synced log id to what `synced` says once no other change is under way: in one slot, durable when
    /// it returns.
    pub(crate) fn note_synced(&self, synced: impl FnOnce() -> Option<LogId>) -> Result<(), StorageError> {
        let mut inner = self.inner.lock();
        if inner.change(|state| state.synced = synced()) {
            inner.generation += 1;
            inner.write_one()?;
        }
        Ok(())
    }
}

impl Inner {
    /// Whether `change` changed anything.
    fn change(&mut self, change: impl FnOnce(&mut FloorState)) -> bool {
        let before = self.state.clone();
        change(&mut self.state);
        self.state != before || self.failed
    }

    fn write_both(&mut self) -> Result<(), StorageError> {
        self.generation += 1;
        self.write_one()?;
        self.write_one()
    }

    /// The state, to the older slot.
    fn write_one(&mut self) -> Result<(), StorageError> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(StorageError::Refused {
                path: self.path.clone(),
                detail: "an earlier write of it failed".into(),
                remedy: "check the disk, then start the node again",
            });
        }
        let slot = encode_slot(self.generation, &self.state).map_err(undecodable(&self.path))?;
        self.file
            .write_all_at(&slot, self.next.offset())
            .and_then(|()| self.file.sync())
            .map_err(StorageError::io("write", &self.path))?;
        self.next = self.next.other();
        self.failed = false;
        Ok(())
    }
}

/// A state that cannot be encoded: nothing is written.
fn undecodable(path: &Path) -> impl FnOnce(String) -> StorageError {
    let path = path.to_owned();
    move |error| StorageError::Io { path, action: "encode", source: std::io::Error::other(error) }
}

#[cfg(test)]
mod tests;
