//! The handle of the log.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::chores::Chores;
use super::engine::LogEngine;
use super::open;
use super::options::{LogOptions, Threads};
use super::planted::Bug;
use super::queue::Job;
use super::shared::Shared;
use super::types::{Done, LogId, LogRecord, Vote};
use super::writer::Writer;
use crate::data_dir::DataDir;
use crate::error::StorageError;
use crate::floor::Floor;

/// Who works for one log.
enum Workers {
    Threads { writer: JoinHandle<()>, chores: Chores },
    Inline,
}

/// Shared by all handles; the last one to go closes the log.
struct Owner {
    shared: Arc<Shared>,
    workers: Mutex<Option<Workers>>,
    /// Used with [`Threads::Inline`] alone.
    inline: Mutex<Writer>,
    /// Keeps the directory locked while the log is open.
    _dir: DataDir,
}

impl Owner {
    fn close(&self) {
        let mut workers = self.workers.lock();
        let Some(working) = workers.take() else { return };
        self.shared.queue.close();
        match working {
            Workers::Inline => self.inline.lock().drain(),
            // A callback dropped the last handle: the writer ends by itself, after what is queued.
            Workers::Threads { writer, .. } if writer.thread().id() == std::thread::current().id() => return,
            Workers::Threads { writer, chores } => {
                if writer.join().is_err() {
                    tracing::error!("the log's writer panicked");
                }
                chores.stop();
            }
        }
        if !self.shared.has_failed()
            && let Err(error) = self.shared.note_synced()
        {
            self.shared.fail(&error);
        }
        self.shared.drop_engine();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

/// The Raft log and the vote; clones share it.
///
/// Calls that take a [`Done`] only queue: what they ask is done in the order of the calls, votes and purges among
/// appends, and called back in that order. A failed write or sync ends the process (see [`LogOptions::on_fatal`]); no
/// callback succeeds after it.
#[derive(Clone)]
pub struct RaftLog {
    owner: Arc<Owner>,
}

impl RaftLog {
    /// Opens the log of `dir`, checks it against `floor`, starts its threads.
    ///
    /// # Errors
    /// Damaged, or below the floor: something that was acknowledged may be gone.
    pub fn open(dir: &DataDir, floor: &Floor, options: LogOptions) -> Result<RaftLog, StorageError> {
        Self::open_with(dir, floor, options, Bug::from_environment())
    }

    pub(super) fn open_with(
        dir: &DataDir,
        floor: &Floor,
        options: LogOptions,
        bug: Bug,
    ) -> Result<RaftLog, StorageError> {
        let path = dir.log_path();
        let state = floor.state();
        let engine = LogEngine::open(&path, dir.disk(), &options)?;
        let tail = open::check(&engine, &state)?;
        open::forget_purged(&engine, &state)?;
        let threads = options.threads;
        let shared = Arc::new(Shared::new(engine, floor.clone(), tail, options));
        let owner = Owner {
            workers: Mutex::new(None),
            inline: Mutex::new(Writer::new(Arc::clone(&shared), bug)),
            shared: Arc::clone(&shared),
            _dir: dir.clone(),
        };
        let workers = match threads {
            Threads::Inline => Workers::Inline,
            Threads::Dedicated => {
                let chores = Chores::start(&shared).map_err(StorageError::io("start a thread for", &path))?;
                let writing = Writer::new(shared, bug);
                let writer = std::thread::Builder::new()
                    .name("quorate-log".into())
                    .spawn(move || writing.run())
                    .map_err(StorageError::io("start a thread for", &path))?;
                Workers::Threads { writer, chores }
            }
        };
        *owner.workers.lock() = Some(workers);
        Ok(RaftLog { owner: Arc::new(owner) })
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// The last purged entry.
    #[must_use]
    pub fn last_purged(&self) -> Option<LogId> {
        self.shared().tail.lock().purged
    }

    /// The last entry, or the last purged one when there is none.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        let tail = self.shared().tail.lock();
        tail.last.or(tail.purged)
    }

    /// The index of the first entry.
    #[must_use]
    pub fn first_index(&self) -> Option<u64> {
        self.shared().tail.lock().first
    }

    /// The last vote, saved or about to be.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.shared().tail.lock().vote
    }

    /// The last entry behind a completed sync.
    #[must_use]
    pub fn synced(&self) -> Option<LogId> {
        self.shared().tail.lock().synced
    }

    /// Bytes that the log takes on disk, in whole files; 0 once closed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared().engine().map_or(0, |engine| engine.bytes())
    }

    /// Saves a vote: `done` once it is synced.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        let mut tail = self.shared().tail.lock();
        let queued = self.shared().queue.push(Job::SaveVote { vote, done });
        if queued.is_ok() {
            tail.vote = Some(vote);
        }
        drop(tail);
        self.go(queued);
    }

    /// Appends: readable when this returns, `done` once synced. `done` fails at once, and nothing is appended, if the
    /// records do not follow the last entry (after a purge: the last purged one; an empty log takes any index).
    pub fn append(&self, records: Vec<LogRecord>, done: Done) {
        let mut tail = self.shared().tail.lock();
        if self.shared().queue.is_closed() {
            drop(tail);
            return done(Err(self.shared().refusal()));
        }
        let begins = tail.purged.is_none() && tail.start.is_none();
        if let Err(error) = tail.append(&records) {
            drop(tail);
            return done(Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)));
        }
        let start = tail.start.filter(|_| begins);
        let queued = self.shared().queue.push(Job::Append { group: tail.group, start, records, done });
        drop(tail);
        self.go(queued);
    }

    /// Entries in `[from, to)`: those that are there, at most `bytes_max` bytes of payload, at least one.
    ///
    /// # Errors
    /// An unreadable entry, or a hole within the range.
    pub fn read(&self, from: u64, to: u64, bytes_max: u64) -> Result<Vec<LogRecord>, StorageError> {
        loop {
            let (plan, changes) = {
                let tail = self.shared().tail.lock();
                (tail.plan(from, to, bytes_max), tail.changes())
            };
            let Some(plan) = plan else { return Ok(Vec::new()) };
            if plan.from == plan.to {
                return Ok(plan.cached);
            }
            let engine = self.shared().engine()?;
            let read = engine.read(plan.group, plan.from, plan.to, bytes_max);
            if self.shared().tail.lock().changes() != changes {
                // Purged or truncated meanwhile: what was read may be a mixture.
                continue;
            }
            let mut records = read?;
            if plan.from + records.len() as u64 == plan.to {
                let mut bytes: u64 = records.iter().map(|record| record.bytes.len() as u64).sum();
                records.extend(plan.cached.into_iter().take_while(|record| {
                    bytes += record.bytes.len() as u64;
                    bytes <= bytes_max
                }));
            }
            return Ok(records);
        }
    }

    /// Forgets all entries after `last_kept`; in memory: the next append overwrites them on disk. A tail that
    /// reappears after a crash was never acknowledged by a quorum.
    ///
    /// # Errors
    /// What is purged cannot be truncated; the log is closed.
    pub fn truncate_after(&self, last_kept: Option<LogId>) -> Result<(), StorageError> {
        let mut tail = self.shared().tail.lock();
        let refused = |detail: String| StorageError::Refused {
            path: "log".into(),
            detail,
            remedy: "this is a fault of the program: please report it",
        };
        if self.shared().queue.is_closed() {
            return Err(refused(self.shared().refusal().to_string()));
        }
        if !tail.truncate_after(last_kept).map_err(refused)? {
            return Ok(());
        }
        let queued = self.shared().queue.push(Job::Truncate { kept: tail.last.or(tail.purged) });
        drop(tail);
        self.go(queued);
        Ok(())
    }

    /// Purges up to `upto`, inclusive: gone when this returns, `done` once that is durable. `upto` may lie beyond the
    /// last entry: then the log is empty and goes on after it.
    pub fn purge(&self, upto: LogId, done: Done) {
        let mut tail = self.shared().tail.lock();
        if self.shared().queue.is_closed() {
            drop(tail);
            return done(Err(self.shared().refusal()));
        }
        let group = tail.group;
        let upto = tail.purged.filter(|purged| purged.index > upto.index).unwrap_or(upto);
        // A log that has never held anything needs no new group, but one more does no harm.
        let emptied = tail.purged != Some(upto) && tail.purge(upto);
        let queued = self.shared().queue.push(Job::Purge { upto, group, emptied, done });
        drop(tail);
        self.go(queued);
    }

    /// At start: empties the log when it holds another entry where `applied`, which is committed, belongs; says whether
    /// it did. A crash in the middle of a snapshot's install leaves a log like that: a truncation is in memory alone
    /// until something overwrites the tail, and the purge that would have removed it comes after the install.
    ///
    /// # Errors
    /// The log cannot be read, or has failed.
    pub fn agree_with(&self, applied: LogId) -> Result<bool, StorageError> {
        let is_before = |id: LogId| id.index < applied.index;
        if self.last().is_none_or(is_before) || !self.last_purged().is_none_or(is_before) {
            return Ok(false);
        }
        let id_at = |index| self.read(index, index + 1, 0).map(|found| found.first().map(|record| record.id));
        if id_at(applied.index)? == Some(applied) {
            return Ok(false);
        }
        let before = applied.index.checked_sub(1).map(id_at).transpose()?.flatten();
        self.truncate_after(before.or(self.last_purged()))?;
        let (done, purged) = std::sync::mpsc::sync_channel(1);
        self.purge(applied, Box::new(move |result| drop(done.send(result))));
        let purged = purged.recv().unwrap_or_else(|_| Err(self.shared().refusal()));
        purged.map_err(StorageError::io("empty", std::path::Path::new("log")))?;
        Ok(true)
    }

    /// Whether the entry at `index` is read from memory, without touching the disk.
    #[must_use]
    pub fn is_cached(&self, index: u64) -> bool {
        self.shared().tail.lock().is_cached(index)
    }

    /// Does what is queued, syncs, notes it, ends the threads, closes the files. Calls after this fail, those on
    /// clones too.
    pub fn close(self) {
        self.owner.close();
    }

    /// After a job was queued, or was not.
    fn go(&self, queued: Result<(), Job>) {
        if let Err(job) = queued
            && let Some(done) = job.into_done()
        {
            return done(Err(self.shared().refusal()));
        }
        if self.shared().options.threads == Threads::Inline {
            // A callback that calls again only queues: whoever works already does that too.
            while let Some(mut writer) = self.owner.inline.try_lock() {
                writer.drain();
                drop(writer);
                if self.shared().queue.is_empty() {
                    return;
                }
            }
        }
    }
}
