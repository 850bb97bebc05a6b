//! The one thread that writes the log: drains what is queued into one batch, syncs once, calls back in order.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::raft_log::Shared;
use super::types::{Done, LogId, LogRecord, Vote};
use crate::error::{StorageError, fatal};

/// The floor's synced log id lags the log by at most this.
const FLOOR_INTERVAL: Duration = Duration::from_millis(100);
/// Space is reclaimed at most this often.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(5);
/// One batch takes at most this many bytes of payload.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// What the thread is asked to do.
pub(super) enum Job {
    Append {
        records: Vec<LogRecord>,
        done: Done,
    },
    SaveVote {
        vote: Vote,
        done: Done,
    },
    /// `emptied`: nothing is left after `upto`.
    Purge {
        upto: LogId,
        emptied: bool,
        done: Done,
    },
    Close {
        done: Done,
    },
}

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    /// Synced, but not yet noted in the floor.
    unnoted: Option<LogId>,
    noted_at: Instant,
    reclaimed_at: Instant,
    purged_since_reclaim: bool,
    bug: super::planted::Bug,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: Receiver<Job>) -> Self {
        let now = Instant::now();
        Writer {
            shared,
            jobs,
            unnoted: None,
            noted_at: now,
            reclaimed_at: now,
            purged_since_reclaim: false,
            bug: super::planted::Bug::from_environment(),
        }
    }

    /// Runs until closed. Any failure ends the process: what waits is never acknowledged.
    pub(super) fn run(mut self) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve()));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => fatal(&error),
            Err(_) => fatal(&"the log's thread panicked (a failed sync panics in raft-engine; see above)"),
        }
    }

    fn serve(&mut self) -> Result<(), StorageError> {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => match self.jobs.recv_timeout(FLOOR_INTERVAL) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.housekeep()?;
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return self.note_synced(),
                },
            };
            match job {
                Job::Append { records, done } => next = self.append(records, done)?,
                Job::SaveVote { vote, done } => {
                    self.shared.floor.update(|floor| floor.vote = Some(vote))?;
                    done(Ok(()));
                }
                Job::Purge { upto, emptied, done } => {
                    self.purge(upto, emptied)?;
                    done(Ok(()));
                }
                Job::Close { done } => {
                    self.note_synced()?;
                    done(Ok(()));
                    return Ok(());
                }
            }
            if self.noted_at.elapsed() >= FLOOR_INTERVAL {
                self.housekeep()?;
            }
        }
    }

    /// Writes these records and all other appends already queued behind them; returns the first job that is none.
    fn append(&mut self, records: Vec<LogRecord>, done: Done) -> Result<Option<Job>, StorageError> {
        let size = |records: &[LogRecord]| records.iter().map(|record| record.bytes.len()).sum::<usize>();
        let mut bytes = size(&records);
        let mut appends = vec![(records, done)];
        let mut other = None;
        while bytes < BATCH_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(Job::Append { records, done }) => {
                    bytes += size(&records);
                    appends.push((records, done));
                }
                Ok(job) => {
                    other = Some(job);
                    break;
                }
                Err(_) => break,
            }
        }
        let mut dones = Vec::with_capacity(appends.len());
        let mut groups = Vec::with_capacity(appends.len());
        for (records, done) in appends {
            groups.push(records);
            dones.push(done);
        }
        if self.bug.acknowledges_before_sync() {
            // Planted: acknowledged although a kill in the next moment loses it.
            for done in dones.drain(..) {
                done(Ok(()));
            }
            self.bug.linger();
        }
        // A truncated and rewritten tail makes indexes fall back within one batch: each run is its own write.
        for run in contiguous_runs(&groups) {
            self.shared.engine.append(self.shared.group(), run.iter().copied())?;
        }
        if let Some(last) = groups.iter().rev().find_map(|records| records.last()) {
            self.shared.set_synced(last.id);
            self.unnoted = Some(last.id);
        }
        for done in dones {
            done(Ok(()));
        }
        Ok(other)
    }

    fn purge(&mut self, upto: LogId, emptied: bool) -> Result<(), StorageError> {
        self.note_synced()?;
        let group = self.shared.group();
        if emptied {
            // The log is empty from here on and may continue with a hole: a fresh group has no old tail.
            self.shared.floor.update(|floor| {
                floor.purged = Some(upto);
                floor.synced = Some(upto);
                floor.group = group + 1;
            })?;
            self.shared.engine.compact(group, u64::MAX);
        } else {
            self.shared.floor.update(|floor| floor.purged = Some(upto))?;
            self.shared.engine.compact(group, upto.index + 1);
        }
        self.shared.forget_upto(upto, emptied);
        self.purged_since_reclaim = true;
        Ok(())
    }

    fn note_synced(&mut self) -> Result<(), StorageError> {
        self.noted_at = Instant::now();
        match self.unnoted.take() {
            Some(synced) => self.shared.floor.update(|floor| floor.synced = Some(synced)),
            None => Ok(()),
        }
    }

    fn housekeep(&mut self) -> Result<(), StorageError> {
        self.note_synced()?;
        if self.purged_since_reclaim && self.reclaimed_at.elapsed() >= RECLAIM_INTERVAL {
            self.purged_since_reclaim = false;
            self.reclaimed_at = Instant::now();
            self.shared.engine.reclaim()?;
        }
        Ok(())
    }
}

/// Splits records into runs of consecutive indexes.
fn contiguous_runs(groups: &[Vec<LogRecord>]) -> Vec<Vec<&LogRecord>> {
    let mut runs: Vec<Vec<&LogRecord>> = Vec::new();
    for record in groups.iter().flatten() {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| last.id.index + 1 == record.id.index) => {
                run.push(record)
            }
            _ => runs.push(vec![record]),
        }
    }
    runs
}
