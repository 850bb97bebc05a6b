//! Load: writers whose every acknowledged write stands in the ledger.
//!
//! # Layout
//!
//! ```text
//! writer     one writer: one operation after the other, each noted
//! workload   many writers, started and stopped together
//! timeline   when writes were acknowledged, and the longest gap between two
//! stall      when they stop and go on, told as it happens
//! ```

mod stall;
mod timeline;
mod workload;
mod writer;

pub use stall::{STALL_MIN, Turn, watch_turns};
pub use timeline::{Gap, Timeline};
pub use workload::{Counts, Workload};
pub use writer::Writer;
