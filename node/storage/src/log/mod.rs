//! The Raft log: readable once appended, synced before it is acknowledged.
//!
//! ```text
//! types     LogId, Vote, LogRecord               raft_log   RaftLog: the handle
//! options   LogOptions, Threads                  open       the checks at start, against the floor file
//! tail      the log in memory: what may be read  queue      what the writer is to do, in order
//! writer    one batch, one sync, then call back  chores     what must not delay appends: floor notes, reclaiming
//! engine    raft-engine and its entry format     planted    a bug on purpose, in test builds
//! ```
//!
//! # What raft-engine makes us do
//!
//! - It panics on an append with a hole and keeps no entry below its first: a log that continues beyond its end (after
//!   a snapshot) continues in a new group; the floor file says which group is the log, in the same write that says
//!   what is purged. The old group is compacted, at the next start at the latest.
//! - It remembers the block read last per thread, by place in a file alone: another engine of the process, or one
//!   opened anew, would be answered with a stale block. Each read runs in a thread of its own; entries also carry a
//!   checksum.
//! - At the first bad record of the last file it cuts the file, silently: the floor file tells whether that took
//!   anything that was synced.
//! - Its `sync` does nothing when there is nothing to write, and `Compact` is not synced: a start syncs what it found,
//!   and never relies on a `Compact` that it finds.

mod chores;
mod engine;
mod open;
mod options;
mod planted;
mod queue;
mod raft_log;
mod shared;
mod tail;
#[cfg(test)]
mod tests;
mod types;
mod writer;

pub use options::{LogOptions, Threads};
pub use raft_log::RaftLog;
pub use types::{Done, LogId, LogRecord, Vote};
