//! What the writer is to do, in the order in which it was asked.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::types::{Done, LogId, LogRecord, Vote};

/// One thing to do.
pub(super) enum Job {
    /// `start`: where the log begins, if these are its very first records.
    Append {
        group: u64,
        start: Option<u64>,
        records: Vec<LogRecord>,
        done: Done,
    },
    SaveVote {
        vote: Vote,
        done: Done,
    },
    /// What comes after overwrites all behind `kept`.
    Truncate {
        kept: Option<LogId>,
    },
    /// `emptied`: nothing is left of `group`, the log goes on in the next one.
    Purge {
        upto: LogId,
        group: u64,
        emptied: bool,
        done: Done,
    },
}

impl Job {
    /// The callback, if it has one.
    pub(super) fn into_done(self) -> Option<Done> {
        match self {
            Job::Append { done, .. } | Job::SaveVote { done, .. } | Job::Purge { done, .. } => Some(done),
            Job::Truncate { .. } => None,
        }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// The jobs that wait.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// Adds a job; gives it back when the queue is closed.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(job);
        }
        state.jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().jobs.is_empty()
    }

    /// Takes no further jobs; those that wait stay.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// All that waits, at once.
    pub(super) fn take(&self) -> VecDeque<Job> {
        std::mem::take(&mut self.state.lock().jobs)
    }

    /// All that waits, once there is something; `None` when closed and empty.
    pub(super) fn wait(&self) -> Option<VecDeque<Job>> {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
        Some(std::mem::take(&mut state.jobs))
    }
}
