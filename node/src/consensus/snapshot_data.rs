//! A Raft snapshot's content: a frozen view on the sender, a decoded state on the receiver.

use std::io;

use bytes::Bytes;
use quorate_state::{Frozen, State};
use quorate_storage::{AppliedPosition, SnapshotReader, SnapshotWriter};

/// What openraft carries from the state machine to the network and back; never serialized whole in memory.
pub(crate) enum SnapshotData {
    /// To be streamed to a peer.
    View(Frozen),
    /// Received from a peer, checked, not yet installed.
    Received(Box<State>),
}

impl SnapshotData {
    /// The state to install. A view goes through the same encoding as over the wire.
    ///
    /// # Errors
    /// A view that does not read back.
    pub(crate) fn into_state(self) -> Result<State, io::Error> {
        let frozen = match self {
            SnapshotData::Received(state) => return Ok(*state),
            SnapshotData::View(frozen) => frozen,
        };
        let mut reader = SnapshotReader::new();
        for frame in SnapshotWriter::new(AppliedPosition { index: 0, meta: Bytes::new() }, frozen) {
            reader.push(&frame).map_err(io::Error::other)?;
        }
        reader.finish().map(|(_, state)| state).map_err(io::Error::other)
    }
}
