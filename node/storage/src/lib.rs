//! What a Quorate node keeps on disk.
//!
//! # Layout
//!
//! ```text
//! data_dir   the directory: its lock, its identity             log        the Raft log (raft-engine)
//! floor      the two-slot file below which nothing may be lost sessions   the session store (sled), written behind
//! error      what can go wrong, and the remedy                 snapshot   a whole state as a stream of bytes
//! disk       the files of log and floor: the seam for faults
//! ```

mod data_dir;
pub mod disk;
mod error;
mod floor;
mod log;
mod sessions;
mod snapshot;

pub use data_dir::{DataDir, Identity, cluster_id};
pub use error::{StorageError, fatal};
pub use floor::{Floor, FloorState, SessionsFloor};
pub use log::{Done, LogId, LogOptions, LogRecord, RaftLog, Threads, Vote};
pub use sessions::{
    AppliedPosition, Cut, Health, Loaded, MemoryStore, OnFatal, OnPersisted, SessionOptions, SledStore,
    StateStore, WriteBehind, WriteReport,
};
pub use snapshot::{SnapshotError, SnapshotReader, SnapshotWriter};

/// A 64-bit checksum (XXH3). Detects damage, not malice.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
