//! The fault harness of Quorate: real processes, what was acknowledged, and the checks between both.
//!
//! # Layout
//!
//! ```text
//! process    one quorated process: start, kill -9, SIGTERM, SIGSTOP, SIGCONT; ends with its owner
//! cluster    several of them on a loopback address of their own
//! status     what nodes say of themselves, asked without the client library
//! proxy      a TCP proxy in front of a node, which loses requests or answers on command
//! digests    whether replicas are equal
//! ledger     every acknowledged write, and the check that it is still there
//! load/      writers that create, change, end and rename sessions, and note it in the ledger
//! linearizable/  histories of sessions while nodes are killed and paused, and whether they are linearizable
//! sabotage   one record of a stopped node, changed behind Raft's back
//! trace/     what strace recorded, and the check that replies follow syncs
//! interrupt  Ctrl-C and SIGTERM
//! error      why the harness itself could not go on
//! ```
//!
//! Binaries: `quorate-demo`, `quorate-docker-demo`, `quorate-expiry-storm`, `quorate-kill-loop`,
//! `quorate-linearizability`, `quorate-strace-durability`, each behind a script of `scripts/`.

mod cluster;
mod digests;
mod error;
mod interrupt;
mod ledger;
pub mod linearizable;
pub mod load;
mod process;
mod proxy;
mod sabotage;
mod status;
pub mod trace;

pub use cluster::{ClusterOptions, PATIENCE, ProcessCluster, until};
pub use digests::Digests;
pub use error::HarnessError;
pub use interrupt::interrupted;
pub use ledger::{Fate, Ledger, Source, Verdict, new_id};
pub use process::{NodeProcess, NodeSpec, Ports};
pub use proxy::{Lost, Proxy};
pub use sabotage::change_one_principal;
pub use status::{channel, is_ready, status_of};
