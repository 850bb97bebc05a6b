//! Does the log's work: drains what is queued into one batch, syncs once, calls back in order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::engine::message;
use super::options::Threads;
use super::planted::Bug;
use super::queue::Job;
use super::shared::Shared;
use super::types::{Done, LogId, LogRecord};
use crate::error::StorageError;

/// One batch takes at most this many bytes of payload, or a single larger append.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// The writer's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Taken from the queue, not yet begun.
    backlog: VecDeque<Job>,
    /// Begun, not yet called back.
    waiting: VecDeque<Done>,
    bug: Bug,
}

fn size(records: &[LogRecord]) -> usize {
    records.iter().map(|record| record.bytes.len()).sum()
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, bug: Bug) -> Self {
        Writer { shared, backlog: VecDeque::new(), waiting: VecDeque::new(), bug }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.shared.queue.wait() {
            self.backlog = jobs;
            self.work();
        }
    }

    /// Works until the queue is empty.
    pub(super) fn drain(&mut self) {
        loop {
            self.backlog = self.shared.queue.take();
            if self.backlog.is_empty() {
                return;
            }
            self.work();
        }
    }

    /// Does the backlog. After a failure nothing of it succeeds, in order still.
    fn work(&mut self) {
        if !self.shared.has_failed() {
            let error = match catch_unwind(AssertUnwindSafe(|| self.serve())) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(panic) => StorageError::Refused {
                    path: "log".into(),
                    detail: format!("its writer panicked: {}", message(&*panic)),
                    remedy: "start the node again",
                },
            };
            self.shared.fail(&error);
        }
        let rest = self.shared.queue.take();
        let unbegun = self.backlog.drain(..).chain(rest).filter_map(Job::into_done);
        for done in self.waiting.drain(..).chain(unbegun) {
            done(Err(self.shared.refusal()));
        }
    }

    fn serve(&mut self) -> Result<(), StorageError> {
        while let Some(job) = self.backlog.pop_front() {
            match job {
                Job::Append { group, start, records, done } => self.append(group, start, records, done)?,
                Job::SaveVote { vote, done } => {
                    self.waiting.push_back(done);
                    self.shared.floor.promise(|floor| floor.vote = Some(vote))?;
                }
                Job::Truncate { kept } => self.truncate(kept)?,
                Job::Purge { upto, group, emptied, done } => {
                    self.waiting.push_back(done);
                    self.purge(upto, group, emptied)?;
                }
            }
            self.call_back()?;
        }
        Ok(())
    }

    /// Tells all that wait that they succeeded.
    fn call_back(&mut self) -> Result<(), StorageError> {
        while let Some(done) = self.waiting.pop_front() {
            if self.shared.has_failed() {
                self.waiting.push_front(done);
                return Err(StorageError::Refused {
                    path: "log".into(),
                    detail: "it has failed".into(),
                    remedy: "start the node again",
                });
            }
            done(Ok(()));
        }
        Ok(())
    }

    /// Writes these records and the appends right behind them: one batch, one sync.
    fn append(
        &mut self,
        group: u64,
        start: Option<u64>,
        records: Vec<LogRecord>,
        done: Done,
    ) -> Result<(), StorageError> {
        self.waiting.push_back(done);
        let mut bytes = size(&records);
        let mut batch = vec![records];
        while bytes < BATCH_BYTES_MAX
            && let Some(Job::Append { records, done, .. }) = self
                .backlog
                .pop_front_if(|job| matches!(job, Job::Append { group: of, start: None, .. } if *of == group))
        {
            bytes += size(&records);
            batch.push(records);
            self.waiting.push_back(done);
        }
        if self.bug.acknowledges_before_sync() {
            // Planted: acknowledged although a crash in the next moment loses it.
            self.call_back()?;
            self.bug.linger();
        }
        let Some(last) = batch.iter().rev().find_map(|records| records.last()) else { return Ok(()) };
        let last = last.id;
        if let Some(start) = start {
            self.shared.floor.promise(|floor| floor.first = Some(start))?;
        }
        self.shared.engine()?.append(group, batch.iter().flatten())?;
        self.set_durable(last);
        self.settle()
    }

    fn set_durable(&self, id: LogId) {
        *self.shared.durable.lock() = Some(id);
        self.shared.tail.lock().set_synced(id, self.shared.options.cache_bytes);
    }

    /// The floor must be at or below what the next append overwrites, before it does.
    fn truncate(&self, kept: Option<LogId>) -> Result<(), StorageError> {
        let is_above = |id: LogId| kept.is_none_or(|kept| id.index > kept.index);
        {
            let mut durable = self.shared.durable.lock();
            if durable.is_some_and(is_above) {
                *durable = kept;
            }
        }
        if let Some(kept) = kept {
            self.shared.tail.lock().set_synced(kept, self.shared.options.cache_bytes);
        }
        self.shared.floor.promise(|floor| {
            if floor.synced.is_some_and(is_above) {
                floor.synced = kept;
            }
        })
    }

    fn purge(&self, upto: LogId, group: u64, emptied: bool) -> Result<(), StorageError> {
        let engine = self.shared.engine()?;
        self.shared.floor.promise(|floor| {
            floor.purged = Some(upto);
            if emptied {
                // The log is empty and may go on with a hole: a fresh group has no old tail.
                floor.group = group + 1;
                floor.synced = Some(upto);
            }
        })?;
        // Only now: noted any earlier, a crash would find entries promised that the log never held. What is noted
        // meanwhile the log still holds, or it lies at or below the purge, where nothing is looked for.
        {
            let mut durable = self.shared.durable.lock();
            if emptied || durable.is_none_or(|durable| durable.index < upto.index) {
                *durable = Some(upto);
            }
        }
        match engine.span(group) {
            Some((_, last)) if emptied => engine.compact(group, last + 1)?,
            Some(_) => engine.compact(group, upto.index + 1)?,
            None => {}
        }
        self.shared.tail.lock().set_synced(upto, self.shared.options.cache_bytes);
        self.shared.purged_since_reclaim.store(true, Ordering::Release);
        self.settle()
    }

    /// Without threads, the chores are done at once.
    fn settle(&self) -> Result<(), StorageError> {
        if self.shared.options.threads == Threads::Inline {
            self.shared.note_synced()?;
            self.shared.reclaim()?;
        }
        Ok(())
    }
}
