//! The sessions that all clients of one recording work on, a few at a time, and what they did together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::operation::Number;
use super::subject::Subject;

/// Operations on one session, so that its history is checked in no time.
const OPERATIONS_MAX: Number = 300;
/// Of so many sessions one has an absolute timeout that passes.
const EXPIRING_EVERY: usize = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct Arena {
    began: Instant,
    /// Of the sessions that expire.
    absolute_timeout: Duration,
    /// Those that are worked on, of all that there ever were.
    slots: Vec<Mutex<Arc<Subject>>>,
    all: Mutex<Vec<Arc<Subject>>>,
    stopped: AtomicBool,
    changes: AtomicU64,
    operations: AtomicU64,
    not_applied: AtomicU64,
    unexpected: Mutex<Vec<String>>,
}

impl Arena {
    pub(crate) fn new(slots: usize, absolute_timeout: Duration) -> Arena {
        let mut arena = Arena {
            began: Instant::now(),
            absolute_timeout,
            slots: Vec::new(),
            all: Mutex::default(),
            stopped: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            not_applied: AtomicU64::new(0),
            unexpected: Mutex::default(),
        };
        arena.slots = (0..slots).map(|_| Mutex::new(arena.another())).collect();
        arena
    }

    fn another(&self) -> Arc<Subject> {
        let mut all = self.all.lock();
        let expires = all.len() % EXPIRING_EVERY == EXPIRING_EVERY - 1;
        let subject = Arc::new(Subject::new(expires.then_some(self.absolute_timeout), OPERATIONS_MAX));
        all.push(Arc::clone(&subject));
        subject
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The session in a slot; another one once it is used up.
    pub(crate) fn subject(&self, slot: usize) -> Option<Arc<Subject>> {
        let mut subject = self.slots.get(slot)?.lock();
        if subject.is_used_up() {
            *subject = self.another();
        }
        Some(Arc::clone(&subject))
    }

    /// All sessions so far.
    pub(crate) fn subjects(&self) -> Vec<Arc<Subject>> {
        self.all.lock().clone()
    }

    /// Since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// An operation was recorded; `changed`: it changed a session, by its answer.
    pub(crate) fn count(&self, changed: bool) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(u64::from(changed), Ordering::Relaxed);
    }

    /// Operations recorded so far.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Acknowledged changes so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// A call failed and certainly had no effect.
    pub(crate) fn count_not_applied(&self) {
        self.not_applied.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn not_applied(&self) -> u64 {
        self.not_applied.load(Ordering::Relaxed)
    }

    /// An answer came that no state of a session explains.
    pub(crate) fn report(&self, what: String) {
        self.unexpected.lock().push(what);
    }

    pub(crate) fn unexpected(&self) -> Vec<String> {
        self.unexpected.lock().clone()
    }
}
