//! What the handle, the writer and the chores share.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::engine::LogEngine;
use super::options::LogOptions;
use super::queue::Queue;
use super::tail::Tail;
use super::types::LogId;
use crate::error::StorageError;
use crate::floor::Floor;

/// Shared by all threads of one log. Locks are taken in this order: tail, queue; floor, durable.
pub(super) struct Shared {
    engine: RwLock<Option<Arc<LogEngine>>>,
    path: PathBuf,
    pub(super) floor: Floor,
    pub(super) tail: Mutex<Tail>,
    pub(super) queue: Queue,
    /// What is synced as the writer knows it, in the order of its jobs; the floor notes it.
    pub(super) durable: Mutex<Option<LogId>>,
    pub(super) purged_since_reclaim: AtomicBool,
    failed: AtomicBool,
    pub(super) options: LogOptions,
}

impl Shared {
    pub(super) fn new(engine: LogEngine, floor: Floor, tail: Tail, options: LogOptions) -> Shared {
        Shared {
            path: engine.path().to_owned(),
            engine: RwLock::new(Some(Arc::new(engine))),
            durable: Mutex::new(tail.last.or(tail.purged)),
            floor,
            tail: Mutex::new(tail),
            queue: Queue::default(),
            purged_since_reclaim: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            options,
        }
    }

    /// # Errors
    /// The log is closed.
    pub(super) fn engine(&self) -> Result<Arc<LogEngine>, StorageError> {
        self.engine.read().clone().ok_or_else(|| StorageError::Refused {
            path: self.path.clone(),
            detail: "the log is closed".into(),
            remedy: "start the node again",
        })
    }

    /// Gives up the engine. After a failure it is left as it is: to close it would be to write.
    pub(super) fn drop_engine(&self) {
        let engine = self.engine.write().take();
        if self.has_failed() {
            std::mem::forget(engine);
        }
    }

    /// Tells of a failure, the first time; from then on nothing succeeds.
    pub(super) fn fail(&self, error: &StorageError) {
        let is_first = !self.failed.swap(true, Ordering::SeqCst);
        self.queue.close();
        if is_first {
            (self.options.on_fatal)(error);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// What a call on a closed or failed log is answered.
    pub(super) fn refusal(&self) -> io::Error {
        io::Error::other(if self.has_failed() { "the log has failed" } else { "the log is closed" })
    }

    /// Puts the synced log id into the floor file.
    pub(super) fn note_synced(&self) -> Result<(), StorageError> {
        self.floor.note_synced(|| *self.durable.lock())
    }

    /// Recycles the files that purges have left without a live entry.
    pub(super) fn reclaim(&self) -> Result<(), StorageError> {
        if self.purged_since_reclaim.swap(false, Ordering::AcqRel) {
            self.engine()?.reclaim()?;
        }
        Ok(())
    }
}
