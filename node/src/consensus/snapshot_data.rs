//! A Raft snapshot's content: a frozen view on the sender, a decoded state on the receiver.

use quorate_state::{Frozen, State};

/// What openraft carries from the state machine to the network and back; never serialized whole in memory.
pub(crate) enum SnapshotData {
    /// To be streamed to a peer.
    View(Frozen),
    /// Received from a peer, checked, not yet installed.
    Received(Box<State>),
}
