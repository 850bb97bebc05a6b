//! Load: writers whose every acknowledged write stands in the ledger.
//!
//! # Layout
//!
//! ```text
//! writer     one writer: one operation after the other, each noted
//! workload   many writers, started and stopped together
//! timeline   when writes were acknowledged, and the longest gap between two
//! ```

mod timeline;
mod workload;
mod writer;

pub use timeline::{Gap, Timeline};
pub use workload::{Counts, Workload};
pub use writer::Writer;
