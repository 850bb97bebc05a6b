//! What is handed to the session store, and what it gives back at start.

use bytes::Bytes;
use quorate_state::{Changes, Frozen, State};

/// A place in the log, with what consensus wants kept beside the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPosition {
    /// The log index.
    pub index: u64,
    /// Opaque here: the log id and the membership, encoded by consensus.
    pub meta: Bytes,
}

/// The state at a position, and what changed since the cut before.
pub struct Cut {
    /// Where.
    pub position: AppliedPosition,
    /// The state there.
    pub frozen: Frozen,
    /// What changed since the last cut.
    pub changes: Changes,
}

/// What the store held when it was opened.
pub struct Loaded {
    /// The state, checked against its digest.
    pub state: State,
    /// Where it stands.
    pub position: AppliedPosition,
}
