//! Cluster time: what it is now, on every node, without asking anybody and without trusting any one wall clock.
//!
//! Each node holds an *anchor*: cluster time at a moment of its own boot clock, from which it goes on by that clock. The
//! leader's anchor is where stamps come from; the others take theirs from it now and then, and are raised by the Ticks they
//! apply, so that whoever leads next goes on from its own. Wall clocks come in at two places only, always as the median of a majority: after an outage of the
//! whole cluster, and to slew by at most a thousandth.
//!
//! # Layout
//!
//! ```text
//! machine        the clocks of the machine: a seam            anchor   one node's estimate, by its boot clock
//! cluster_clock  the estimate, and the leader's stamps        walls    medians of wall clocks, and how long an outage was
//! ```
//!
//! Nothing here does any IO, or waits; who asks the other nodes, and when, is in `timekeeping`.

mod anchor;
mod cluster_clock;
#[cfg(test)]
mod cluster_clock_tests;
mod machine;
mod walls;

pub(crate) use anchor::Anchor;
pub(crate) use cluster_clock::{ClusterClock, Gap};
pub(crate) use machine::SystemClock;
#[cfg(test)]
pub(crate) use machine::scripted;
pub(crate) use walls::{WallReading, Walls, outage_ms};
