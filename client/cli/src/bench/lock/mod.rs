//! The workload `lock`: how long it takes until a lock that is given back is with the next in line.
//!
//! # Layout
//!
//! - `turns`: the callers. `witness`: what they see of the lock, timed and checked. `report`: the result.

mod report;
mod turns;
mod witness;

pub(crate) use report::LockReport;
pub(crate) use turns::measure;
pub(crate) use witness::Disorder;
