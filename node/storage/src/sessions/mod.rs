//! The session store on disk: what the log need not replay.
//!
//! # Layout
//!
//! ```text
//! the seam
//!   store          what consensus needs of a store        cut            a position and what changed up to it
//!   write_behind   the thread that owns the store         watchdog       notices errors that sled only logs
//! sled, and what it takes to rely on it
//!   sled_store     open, write, install                   directory      sessions/CURRENT and sessions/state-N
//!   database       one sled database, guarded             real_sync      makes its syncs real
//!   load           from a database back to a state
//! what is written
//!   item           what is kept, under which key          parts          long values in parts, with checksums
//! elsewhere
//!   memory_store   the same seam without a disk           priority       low priority for the threads above
//! ```
//!
//! # Durability
//!
//! A batch is *written* when sled has taken it, *synced* when `fdatasync` has returned for it, and *promised* when
//! the floor file names it. [`StateStore::write`] returns after all three, in this order: a kill in between leaves
//! the store ahead of the floor, which is legal (the store checks itself by count and digest); behind it is not.

mod cut;
mod database;
mod directory;
mod item;
mod load;
mod memory_store;
mod parts;
mod priority;
mod real_sync;
mod sled_store;
mod store;
mod watchdog;
mod write_behind;

#[cfg(test)]
pub(crate) mod tests;

pub use cut::{AppliedPosition, Cut, WriteReport};
pub use load::Loaded;
pub use memory_store::MemoryStore;
pub use sled_store::{SessionOptions, SledStore};
pub use store::{Health, StateStore};
pub use write_behind::{OnFatal, OnPersisted, WriteBehind};
