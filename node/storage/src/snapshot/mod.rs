//! A state as a stream of bytes: what one node sends another that is too far behind for the log.
//!
//! # Layout
//!
//! ```text
//! format    magic, frames, items      writer    from a frozen view, lazily
//! error     why a stream is refused   reader    back to a state, checked
//! ```

mod error;
mod format;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use error::SnapshotError;
pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;
