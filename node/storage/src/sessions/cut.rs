//! What is handed to the store: a position in the log, and what changed up to it.

use std::time::Duration;

use bytes::Bytes;
use quorate_state::{Changes, Frozen};

/// Up to where the state holds the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPosition {
    /// The log index of the last entry applied.
    pub index: u64,
    /// What consensus keeps beside it (the log id, the membership): bytes that mean nothing to the store.
    pub meta: Bytes,
}

/// A view of the state at a position, and what changed since the last cut.
pub struct Cut {
    /// Where the view stands. The local log must have synced it.
    pub position: AppliedPosition,
    /// The state there.
    pub frozen: Frozen,
    /// Every slot, client and block of events that may differ from the cut before.
    pub changes: Changes,
}

impl Cut {
    /// This cut and an earlier one that was not written yet, as one: what changed in either, as it stands here.
    #[must_use]
    pub(crate) fn after(mut self, earlier: Cut) -> Cut {
        merge(&mut self.changes.slots, earlier.changes.slots);
        merge(&mut self.changes.clients, earlier.changes.clients);
        merge(&mut self.changes.events, earlier.changes.events);
        self
    }
}

fn merge<T: Ord>(into: &mut Vec<T>, from: Vec<T>) {
    into.extend(from);
    into.sort_unstable();
    into.dedup();
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Records, clients and blocks of events written.
    pub written: u64,
    /// Records, clients and blocks of events removed.
    pub removed: u64,
    /// Bytes handed to the store, keys and checksums included.
    pub bytes: u64,
    /// From the call to the last sync.
    pub took: Duration,
}
