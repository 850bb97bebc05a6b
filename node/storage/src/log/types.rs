//! The log's vocabulary.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Names a log entry: who proposed it, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub node: u64,
    /// The place in the log.
    pub index: u64,
}

/// A vote: for whom, in which term, and whether that leader is known to have won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The candidate or leader.
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// A log entry: its id, and bytes that mean nothing to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its id.
    pub id: LogId,
    /// Its payload.
    pub bytes: Bytes,
}

/// Called exactly once, in the order of the calls that took them, when what was asked for is on disk.
pub type Done = Box<dyn FnOnce(Result<(), std::io::Error>) + Send>;
