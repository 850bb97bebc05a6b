//! The session store: what the log need not replay. Written behind, never read while serving.
//!
//! ```text
//! sled_store    one sled database: load, write a cut, install a snapshot   write_behind   the one thread that owns it
//! chunked       values over sled's comfort split into parts, checksummed   real_sync      sled's syncs made real
//! current       which state-N directory is the one                         cut            what is handed over
//! ```

mod chunked;
mod current;
mod cut;
mod real_sync;
mod sled_store;
mod write_behind;

pub use cut::{AppliedPosition, Cut, Loaded};
pub use sled_store::{SessionOptions, SledStore};
pub use write_behind::WriteBehind;
