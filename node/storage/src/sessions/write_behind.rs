//! The thread that owns the store: cuts go in, persisted positions come out, applying never waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use quorate_state::{Changes, Client, Frozen};

use crate::error::{StorageError, fatal};
use crate::sessions::{AppliedPosition, Cut, StateStore, WriteReport, priority, watchdog};

/// Told, on the store's thread, of each position that has become durable.
pub type OnPersisted = Box<dyn FnMut(u64) + Send>;

/// Told of the first failure. Nothing is written after it; in production it ends the process.
pub type OnFatal = Arc<dyn Fn(&StorageError) + Send + Sync>;

/// A cut is a second's work: one that takes this long never ends,
const CUT_STALLED: Duration = Duration::from_secs(60);
/// unless it is large, because the disk was slow before: then an item may take this long, thirty times what a
/// record does.
const ITEM_STALLED: Duration = Duration::from_millis(1);
/// So many remembered outcomes of a client take what an item does.
const OUTCOMES_OF_ITEM: usize = 16;
/// An install writes everything.
const INSTALL_STALLED: Duration = Duration::from_secs(1800);

/// A handle on the store's thread. Clones are handles on the same one; when the last is dropped, the thread writes
/// what waits and ends.
#[derive(Clone)]
pub struct WriteBehind {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// The store's thread and the watchdog.
struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

/// Between the handles, the store's thread and the watchdog.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    /// Rung whenever the queue changes.
    changed: Condvar,
    persisted: AtomicU64,
    on_fatal: OnFatal,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// When the job in hand is overdue.
    overdue_at: Option<Instant>,
    closing: bool,
    /// The thread is gone: closed, or failed.
    ended: bool,
    /// A failure was told.
    failed: bool,
}

enum Job {
    Cut(Cut),
    Install { position: AppliedPosition, frozen: Frozen, done: mpsc::SyncSender<Result<(), StorageError>> },
}

impl WriteBehind {
    /// Starts the thread `quorate-sessions` (at low priority), which owns `store`. A failure ends the process.
    ///
    /// # Panics
    /// The system has no thread to spare.
    #[must_use]
    pub fn start(store: impl StateStore + 'static, on_persisted: OnPersisted) -> WriteBehind {
        Self::start_with(store, on_persisted, Arc::new(|error| fatal(error)))
    }

    /// As [`WriteBehind::start`], with a say in what a failure does.
    ///
    /// # Panics
    /// The system has no thread to spare.
    #[must_use]
    pub fn start_with(
        store: impl StateStore + 'static,
        on_persisted: OnPersisted,
        on_fatal: OnFatal,
    ) -> WriteBehind {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            changed: Condvar::new(),
            persisted: AtomicU64::new(store.index()),
            on_fatal,
        });
        let (health, watched) = (store.health(), Arc::clone(&shared));
        let watching = spawn("quorate-watch", move || watchdog::run(&watched, &health));
        let owned = Arc::clone(&shared);
        let owning = spawn("quorate-sessions", move || own(&owned, store, on_persisted));
        let threads = Threads { shared: Arc::clone(&shared), running: Mutex::new(vec![owning, watching]) };
        WriteBehind { shared, threads: Arc::new(threads) }
    }

    /// Hands over a cut and returns at once. At most one is being written and one waits: a cut that comes while
    /// another waits takes that one's changes along. (After a failure or [`WriteBehind::close`] it is dropped.)
    pub fn submit(&self, cut: Cut) {
        let mut queue = self.shared.queue.lock();
        if queue.ended || queue.closing {
            return;
        }
        let job = match queue.jobs.pop_back() {
            Some(Job::Cut(waiting)) => Job::Cut(cut.after(waiting)),
            other => {
                queue.jobs.extend(other);
                Job::Cut(cut)
            }
        };
        queue.jobs.push_back(job);
        self.shared.changed.notify_all();
    }

    /// Whether nothing is being written and nothing waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.jobs.is_empty() && queue.overdue_at.is_none()
    }

    /// The log index that the store holds durably; 0 when it holds nothing.
    #[must_use]
    pub fn persisted(&self) -> u64 {
        self.shared.persisted.load(Ordering::Acquire)
    }

    /// Replaces all that is in the store; blocks until that is durable.
    ///
    /// # Errors
    /// The store failed (which also ends the process), or is closed.
    pub fn install(&self, position: AppliedPosition, frozen: Frozen) -> Result<(), StorageError> {
        let (done, result) = mpsc::sync_channel(1);
        {
            let mut queue = self.shared.queue.lock();
            if queue.ended || queue.closing {
                return Err(stopped());
            }
            queue.jobs.push_back(Job::Install { position, frozen, done });
            self.shared.changed.notify_all();
        }
        result.recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// Whether nothing more is written: closed, or failed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.queue.lock().ended
    }

    /// Writes what waits, closes the store, ends the threads. Blocks until all of that is done.
    pub fn close(&self) {
        self.shared.begin_close();
        let mut queue = self.shared.queue.lock();
        while !queue.ended {
            self.shared.changed.wait(&mut queue);
        }
        drop(queue);
        let threads = std::mem::take(&mut *self.threads.running.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the session store panicked");
            }
        }
    }
}

/// How long a job may take before it counts as stuck.
fn patience(job: &Job) -> Duration {
    match job {
        Job::Cut(cut) => {
            let Changes { slots, clients, events } = &cut.changes;
            // A client is as large as what is remembered of it.
            let outcomes = clients.iter().filter_map(|id| cut.frozen.client(*id)).map(Client::outcomes);
            let items =
                slots.len() + clients.len() + events.len() + outcomes.sum::<usize>() / OUTCOMES_OF_ITEM;
            CUT_STALLED + ITEM_STALLED * u32::try_from(items).unwrap_or(u32::MAX)
        }
        Job::Install { .. } => INSTALL_STALLED,
    }
}

impl Shared {
    fn begin_close(&self) {
        self.queue.lock().closing = true;
        self.changed.notify_all();
    }

    /// Waits until `deadline` or until the thread is gone; says whether it is.
    pub(crate) fn ended_by(&self, deadline: Instant) -> bool {
        let mut queue = self.queue.lock();
        while !queue.ended {
            if self.changed.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.ended
    }

    /// Whether the job in hand takes longer than any should.
    pub(crate) fn is_stalled(&self) -> bool {
        self.queue.lock().overdue_at.is_some_and(|at| at <= Instant::now())
    }

    /// Tells of a failure, the first time.
    pub(crate) fn fail(&self, error: &StorageError) {
        if !std::mem::replace(&mut self.queue.lock().failed, true) {
            (self.on_fatal)(error);
        }
    }

    /// The next job; `None` once closing and all is done.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        queue.overdue_at = None;
        self.changed.notify_all();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.overdue_at = Some(Instant::now() + patience(&job));
                return Some(job);
            }
            if queue.closing {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let started = std::thread::Builder::new().name(name.into()).spawn(run);
    started.expect("a process that is starting can start a thread; without it nothing can be kept")
}

fn stopped() -> StorageError {
    StorageError::Refused {
        path: "sessions".into(),
        detail: "the session store is closed".into(),
        remedy: "start the node again",
    }
}

/// Says that the thread is gone, however it went. Drops what still waits, so that nobody waits for it.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&StorageError::Refused {
                path: "sessions".into(),
                detail: "the session store's thread panicked".into(),
                remedy: "see the panic's message above",
            });
        }
        let mut queue = self.0.queue.lock();
        queue.ended = true;
        queue.overdue_at = None;
        queue.jobs.clear();
        self.0.changed.notify_all();
    }
}

fn own(shared: &Shared, mut store: impl StateStore, mut on_persisted: OnPersisted) {
    let _ending = Ending(shared);
    priority::lower();
    while let Some(job) = shared.next() {
        let (index, result, done) = match job {
            Job::Cut(cut) => (cut.position.index, store.write(cut), None),
            Job::Install { position, frozen, done } => {
                (position.index, store.install(position, frozen), Some(done))
            }
        };
        let result = match result {
            Ok(report) => {
                log(index, done.is_some(), &report);
                shared.persisted.store(store.index(), Ordering::Release);
                on_persisted(store.index());
                Ok(())
            }
            Err(error) => {
                shared.fail(&error);
                // Closing could wait for ever on what has failed, and the process is ending.
                std::mem::forget(store);
                if let Some(done) = done {
                    let _ = done.send(Err(error));
                }
                return;
            }
        };
        if let Some(done) = done {
            // The caller may have gone away: what is installed is installed.
            let _ = done.send(result);
        }
    }
    store.close();
}

fn log(index: u64, installed: bool, report: &WriteReport) {
    let WriteReport { written, removed, bytes, took } = *report;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if installed {
        tracing::info!(index, written, bytes, took_ms, "installed a snapshot in the session store");
    } else {
        tracing::debug!(index, written, removed, bytes, took_ms, "the session store caught up");
    }
}
