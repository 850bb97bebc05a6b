//! The Raft log: readable once appended, synced before it is acknowledged.
//!
//! ```text
//! types     LogId, Vote, LogRecord               raft_log   RaftLog: the handle, the tail cache, the checks at start
//! engine    raft-engine and its entry format      writer     the one thread that writes, syncs and calls back
//! ```

mod engine;
mod planted;
mod raft_log;
mod types;
mod writer;

pub use raft_log::{LogOptions, RaftLog};
pub use types::{Done, LogId, LogRecord, Vote};
