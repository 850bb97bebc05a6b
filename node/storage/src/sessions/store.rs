//! The seam between consensus and whatever keeps the sessions: sled in production, memory in simulation.

use quorate_state::Frozen;

use crate::error::StorageError;
use crate::sessions::{AppliedPosition, Cut, WriteReport};

/// Asks a store, from another thread, whether it is still sound while a call may be stuck in it.
pub type Health = Box<dyn Fn() -> Result<(), StorageError> + Send>;

/// Keeps one state and its position. After an error it must not be used again: the process stops.
pub trait StateStore: Send {
    /// The log index that the store holds durably; 0 when it holds nothing.
    fn index(&self) -> u64;

    /// Puts a cut on top of what is there, as one atomic batch. Durable when it returns. A cut at or below
    /// [`StateStore::index`] (taken before a snapshot was installed) is left out.
    ///
    /// # Errors
    /// The disk failed, or what is on it is damaged.
    fn write(&mut self, cut: Cut) -> Result<WriteReport, StorageError>;

    /// Replaces all that is there. Durable when it returns; killed before, either the old or the new is found.
    ///
    /// # Errors
    /// The disk failed, or did not keep what was written.
    fn install(&mut self, position: AppliedPosition, frozen: Frozen) -> Result<WriteReport, StorageError>;

    /// Lets go of what is open. Everything written is already durable.
    fn close(&mut self);

    /// See [`Health`].
    fn health(&self) -> Health;
}
