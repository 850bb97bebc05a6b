//! Replication: the one place that knows openraft.
//!
//! # Layout
//!
//! ```text
//! handle         Consensus: propose, read, wait, forward        types      openraft's generics, aliased once
//! start          opens storage and raft, joins the cluster      payload    a log entry's payload as bytes
//! log_store      the log behind openraft's traits               timers     all timers
//! state_machine  the state behind openraft's traits             clock      cluster time: where stamps come from
//! replica        this node's copy of the state                  error      what callers may conclude
//! persister      write-behind, budget, purge                    status     what a node tells of itself
//! network        openraft's calls to peers                      identity   the envelope of every peer call
//! peers          long-lived channels                            maintenance ticks, reaping, announcement
//! peer_service   the peer listener                              timekeeping who asks whom what time it is
//! lock_clock     lapsed locks, the apply version                lock_waits who waits for a lock on this node
//! in_flight      what is submitted and has no result yet
//! ```

mod clock;
mod error;
mod handle;
mod identity;
mod in_flight;
mod lock_clock;
mod lock_waits;
mod log_store;
mod maintenance;
mod network;
mod payload;
mod peer_service;
mod peers;
mod persister;
mod replica;
mod snapshot_data;
mod start;
mod state_machine;
mod status;
#[cfg(test)]
mod submit_tests;
#[cfg(test)]
mod suite_tests;
mod timekeeping;
mod timers;
mod types;

pub use error::{ForwardError, ProposeError, ReadError, WaitError};
pub(crate) use handle::is_throttled;
pub use handle::{Applied, Consensus, Leader};
pub(crate) use lock_waits::LockWaits;
pub use peer_service::ForwardHandler;
pub use start::{Running, StartError};
pub use status::{MemberStatus, Status};
