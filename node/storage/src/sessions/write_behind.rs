//! The one thread that owns the session store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use quorate_state::Frozen;

use super::cut::{AppliedPosition, Cut};
use super::sled_store::SledStore;
use crate::error::{StorageError, fatal};

/// Called with the log index of each synced cut.
type OnPersisted = Box<dyn Fn(u64) + Send>;
type Installed = Result<(), StorageError>;

/// Behind consensus and the log in every queue: its thread yields to them.
const NICENESS: i32 = 10;

enum Job {
    Write(Cut),
    Install { position: AppliedPosition, frozen: Frozen, done: std::sync::mpsc::SyncSender<Installed> },
    Close,
}

/// The way to the session store's thread; clones share it.
#[derive(Clone)]
pub struct WriteBehind {
    jobs: Sender<Job>,
    persisted: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl WriteBehind {
    /// Starts the thread. A failed write ends the process.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(store: SledStore, on_persisted: OnPersisted) -> Result<WriteBehind, std::io::Error> {
        let persisted = Arc::new(AtomicU64::new(store.index()));
        let (jobs, queue) = channel();
        let seen = Arc::clone(&persisted);
        let thread = std::thread::Builder::new().name("quorate-sessions".into()).spawn(move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "the session store's thread keeps its priority");
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                serve(store, &queue, &seen, &on_persisted)
            }));
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => fatal(&error),
                Err(_) => fatal(&"the session store's thread panicked; see above"),
            }
        })?;
        Ok(WriteBehind { jobs, persisted, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Hands a cut over; returns at once. Cuts are written in order.
    pub fn submit(&self, cut: Cut) {
        if self.jobs.send(Job::Write(cut)).is_err() {
            tracing::debug!("a cut came after the session store was closed");
        }
    }

    /// The log index of the last synced cut.
    #[must_use]
    pub fn persisted(&self) -> u64 {
        self.persisted.load(Ordering::Acquire)
    }

    /// Replaces the store's content; blocks until that is durable.
    ///
    /// # Errors
    /// When the store was closed.
    pub fn install(&self, position: AppliedPosition, frozen: Frozen) -> Result<(), StorageError> {
        let (done, installed) = sync_channel(1);
        let closed = || StorageError::Io {
            path: "sessions".into(),
            action: "install a snapshot in",
            source: std::io::Error::other("the session store is closed"),
        };
        self.jobs.send(Job::Install { position, frozen, done }).map_err(|_| closed())?;
        installed.recv().map_err(|_| closed())?
    }

    /// Writes what is queued and ends the thread; blocks until then.
    pub fn close(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        if self.jobs.send(Job::Close).is_err() || thread.join().is_err() {
            tracing::error!("the session store's thread was gone before it was closed");
        }
    }
}

fn serve(
    mut store: SledStore,
    jobs: &Receiver<Job>,
    persisted: &AtomicU64,
    on_persisted: &OnPersisted,
) -> Result<(), StorageError> {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Write(cut) => {
                // A cut from before an installation has nothing to say any more.
                if cut.position.index <= store.index() {
                    continue;
                }
                store.write(&cut)?;
            }
            Job::Install { position, frozen, done } => {
                store.install(&position, &frozen)?;
                // The asker may have gone; the installation stands all the same.
                let _ = done.send(Ok(()));
            }
            Job::Close => return Ok(()),
        }
        persisted.store(store.index(), Ordering::Release);
        on_persisted(store.index());
    }
    Ok(())
}
