//! The disk as the log and the floor file see it: the seam for fault injection and simulation.
//!
//! ```text
//! file       Disk, DiskFile, DiskCursor: raft-engine's `FileSystem` over the operating system's files
//! watch      what may look on, and refuse: every write, sync, rename...
//! simulated  a watch that knows what a power cut would leave (tests and the feature `simulation`)
//! ```

mod file;
#[cfg(any(test, feature = "simulation"))]
mod simulated;
mod watch;

pub use file::{Disk, DiskCursor, DiskFile};
#[cfg(any(test, feature = "simulation"))]
pub use simulated::{Files, Image, Loss, SimulatedDisk};
pub use watch::{DiskEvent, DiskWatch};
