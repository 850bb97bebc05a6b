//! Why a snapshot is refused.

use quorate_state::RestoreError;

/// The stream is not a snapshot, or not the one that was sent. Nothing of it may be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It does not begin as one.
    #[error("this is not a snapshot")]
    Magic,
    /// Written by a newer version, or corrupt.
    #[error(
        "the snapshot has format {found}; this version reads {known}: corrupt, or sent by a newer version"
    )]
    Format {
        /// What the stream says.
        found: u8,
        /// The newest format known here.
        known: u8,
    },
    /// A frame fails its checksum: damaged, lost, swapped or sent twice.
    #[error("frame {number} is damaged or out of order")]
    Frame {
        /// How many frames came before.
        number: u64,
    },
    /// A frame or an item claims to be longer than any is.
    #[error("a {what} of {bytes} bytes in frame {number} is longer than any can be")]
    Length {
        /// Frame or item.
        what: &'static str,
        /// What it claims.
        bytes: u64,
        /// The frame.
        number: u64,
    },
    /// An item of a kind that is not known here.
    #[error("an item of unknown kind {kind} in frame {number}")]
    Kind {
        /// Its kind.
        kind: u8,
        /// The frame.
        number: u64,
    },
    /// An item where it does not belong.
    #[error("a {found} in frame {number} is out of place")]
    Order {
        /// What came.
        found: &'static str,
        /// The frame.
        number: u64,
    },
    /// The position or the trailer does not read.
    #[error("the {what} does not read")]
    Malformed {
        /// Which.
        what: &'static str,
    },
    /// The stream ended early.
    #[error("the snapshot ends early, in frame {number}")]
    Incomplete {
        /// The frame that is missing or cut short.
        number: u64,
    },
    /// Not as many items as there were.
    #[error(
        "the snapshot has {records} records, {clients} clients and {events} blocks of events, its trailer counts \
         otherwise"
    )]
    Count {
        /// Records that came.
        records: u64,
        /// Clients that came.
        clients: u64,
        /// Blocks of events that came.
        events: u64,
    },
    /// The parts do not make the state they were.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}
