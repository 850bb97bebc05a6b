//! The handle of the log, its cache of recent entries, and the checks at start.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::engine::LogEngine;
use super::types::{Done, LogId, LogRecord, Vote};
use super::writer::{Job, Writer};
use crate::data_dir::DataDir;
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::floor::Floor;

/// Sizes of the log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A file is closed and the next begun at this size; that rotation syncs inline.
    pub file_bytes: u64,
    /// raft-engine moves entries out of old files only beyond this.
    pub purge_threshold_bytes: u64,
    /// Files made ready at the first start, so that appends need no allocation; 0: none.
    pub prefill_bytes: u64,
    /// Recent entries kept in memory for replication.
    pub cache_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            file_bytes: 32 << 20,
            purge_threshold_bytes: 1 << 30,
            prefill_bytes: 256 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

/// The log as it is in memory: what may be read, whether synced yet or not.
struct Tail {
    /// Consecutive; ends with the last entry. Older entries are in the engine alone.
    records: VecDeque<LogRecord>,
    bytes: usize,
    first: Option<u64>,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    synced: Option<LogId>,
    group: u64,
}

/// What the handle and the writing thread share.
pub(super) struct Shared {
    pub(super) engine: LogEngine,
    pub(super) floor: Floor,
    tail: Mutex<Tail>,
    cache_bytes: usize,
}

impl Shared {
    pub(super) fn group(&self) -> u64 {
        self.tail.lock().group
    }

    pub(super) fn set_synced(&self, id: LogId) {
        let mut tail = self.tail.lock();
        // What was truncated while it was being written does not count.
        let front = tail.records.front().map_or(u64::MAX, |record| record.id.index);
        let offset = id.index.checked_sub(front).and_then(|offset| usize::try_from(offset).ok());
        if offset.and_then(|offset| tail.records.get(offset)).is_none_or(|record| record.id != id) {
            return;
        }
        tail.synced = Some(id);
        // What is synced need not stay in memory beyond the cache's size.
        while tail.bytes > self.cache_bytes {
            let synced = tail.records.front().is_some_and(|record| record.id.index <= id.index);
            match tail.records.pop_front().filter(|_| synced) {
                Some(record) => tail.bytes -= record.bytes.len(),
                None => break,
            }
        }
    }

    /// After a purge up to `upto`; `all` when nothing is left and the next group begins.
    pub(super) fn forget_upto(&self, upto: LogId, all: bool) {
        let mut tail = self.tail.lock();
        tail.purged = Some(upto);
        while let Some(record) = tail.records.front().filter(|record| record.id.index <= upto.index) {
            let bytes = record.bytes.len();
            tail.records.pop_front();
            tail.bytes -= bytes;
        }
        if all {
            tail.group += 1;
            tail.synced = tail.synced.max(Some(upto));
        }
        match tail.last {
            Some(last) if last.index > upto.index => tail.first = Some(upto.index + 1),
            _ => (tail.first, tail.last) = (None, None),
        }
    }
}

/// The Raft log; clones share it.
#[derive(Clone)]
pub struct RaftLog {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl RaftLog {
    /// Opens the log of `dir`, checks it against `floor`, starts its thread.
    ///
    /// # Errors
    /// Damaged, or below the floor: something that was acknowledged is gone.
    pub fn open(dir: &DataDir, floor: &Floor, options: LogOptions) -> Result<RaftLog, StorageError> {
        let path = dir.log_path();
        let engine = LogEngine::open(&path, &options)?;
        let state = floor.state();
        for group in engine.groups().into_iter().filter(|group| *group != state.group) {
            // Emptied for a snapshot; the process ended before the engine had forgotten it.
            engine.compact(group, u64::MAX);
        }
        let span = engine
            .span(state.group)
            .filter(|(_, last)| state.purged.is_none_or(|purged| purged.index < *last));
        let last = match span {
            Some((_, last)) => engine.read(state.group, last, last + 1, None)?.pop().map(|record| record.id),
            None => None,
        };
        let damaged = |detail| StorageError::Corrupt { path: path.clone(), detail, remedy: REMEDY_NEW_ID };
        if last.max(state.purged) < state.synced {
            let (found, floor) = (last.or(state.purged), state.synced);
            return Err(damaged(format!(
                "the log ends at {}, but entries up to {} were synced and may have been acknowledged",
                describe(found),
                describe(floor)
            )));
        }
        let first = span.map(|(first, _)| state.purged.map_or(first, |purged| first.max(purged.index + 1)));
        if let (Some(first), Some(purged)) = (first, state.purged)
            && first > purged.index + 1
        {
            return Err(damaged(format!("entries {} to {} are missing", purged.index + 1, first - 1)));
        }
        let tail = Tail {
            records: VecDeque::new(),
            bytes: 0,
            first,
            last,
            purged: state.purged,
            vote: state.vote,
            synced: last.or(state.purged),
            group: state.group,
        };
        let shared = Arc::new(Shared {
            engine,
            floor: floor.clone(),
            tail: Mutex::new(tail),
            cache_bytes: options.cache_bytes,
        });
        let (jobs, queue) = channel();
        let writer = Writer::new(Arc::clone(&shared), queue);
        let thread = std::thread::Builder::new()
            .name("quorate-log".into())
            .spawn(move || writer.run())
            .map_err(StorageError::io("start the log's thread for", &path))?;
        Ok(RaftLog { shared, jobs, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// The last purged entry.
    #[must_use]
    pub fn last_purged(&self) -> Option<LogId> {
        self.shared.tail.lock().purged
    }

    /// The last entry, or the last purged one when there is none.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        let tail = self.shared.tail.lock();
        tail.last.or(tail.purged)
    }

    /// The index of the first entry.
    #[must_use]
    pub fn first_index(&self) -> Option<u64> {
        self.shared.tail.lock().first
    }

    /// The last vote, saved or about to be.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.shared.tail.lock().vote
    }

    /// The last entry behind a completed sync.
    #[must_use]
    pub fn synced(&self) -> Option<LogId> {
        self.shared.tail.lock().synced
    }

    /// Bytes that the log takes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.engine.bytes()
    }

    /// Saves a vote: `done` once it is synced. In order with all else.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        self.shared.tail.lock().vote = Some(vote);
        self.send(Job::SaveVote { vote, done });
    }

    /// Appends: readable when this returns, `done` once synced. Consecutive with the last entry, or overwriting
    /// after [`Self::truncate_after`].
    pub fn append(&self, records: Vec<LogRecord>, done: Done) {
        {
            let mut tail = self.shared.tail.lock();
            for record in &records {
                tail.bytes += record.bytes.len();
                tail.first.get_or_insert(record.id.index);
                tail.last = Some(record.id);
                tail.records.push_back(record.clone());
            }
        }
        self.send(Job::Append { records, done });
    }

    /// Entries in `[from, to)`: those that are there, about `bytes_max` bytes of them, at least one.
    ///
    /// # Errors
    /// An unreadable entry, or a hole within the range.
    pub fn read(&self, from: u64, to: u64, bytes_max: u64) -> Result<Vec<LogRecord>, StorageError> {
        let mut records = Vec::new();
        let (group, from, to, cached_from) = {
            let tail = self.shared.tail.lock();
            let (Some(first), Some(last)) = (tail.first, tail.last) else { return Ok(records) };
            let (from, to) = (from.max(first), to.min(last.index + 1));
            if from >= to {
                return Ok(records);
            }
            let cached_from = tail.records.front().map_or(to, |record| record.id.index).min(to);
            if from >= cached_from {
                let skip = usize::try_from(from - cached_from).unwrap_or(usize::MAX);
                let mut bytes = 0;
                for record in tail.records.iter().skip(skip).take_while(|record| record.id.index < to) {
                    bytes += record.bytes.len() as u64;
                    records.push(record.clone());
                    if bytes >= bytes_max {
                        break;
                    }
                }
                return Ok(records);
            }
            (tail.group, from, to, cached_from)
        };
        let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        records = self.shared.engine.read(group, from, cached_from, Some(limit))?;
        let read_to = from + records.len() as u64;
        let bytes: u64 = records.iter().map(|record| record.bytes.len() as u64).sum();
        if read_to < cached_from && bytes < bytes_max {
            return Err(StorageError::Corrupt {
                path: std::path::PathBuf::from("log"),
                detail: format!("entries {read_to} to {} are missing", cached_from - 1),
                remedy: REMEDY_NEW_ID,
            });
        }
        if read_to == cached_from && cached_from < to && bytes < bytes_max {
            records.extend(self.read(cached_from, to, bytes_max - bytes)?);
        }
        Ok(records)
    }

    /// Forgets all entries after `last_kept`; in memory: the next append overwrites them on disk. A tail that
    /// reappears after a crash is one that was never acknowledged by a quorum.
    ///
    /// # Errors
    /// When the new last entry cannot be read.
    pub fn truncate_after(&self, last_kept: Option<LogId>) -> Result<(), StorageError> {
        let mut tail = self.shared.tail.lock();
        let keep_to = last_kept.map_or(0, |id| id.index + 1);
        while let Some(record) = tail.records.back().filter(|record| record.id.index >= keep_to) {
            let bytes = record.bytes.len();
            tail.records.pop_back();
            tail.bytes -= bytes;
        }
        if tail.last.is_some_and(|last| last.index >= keep_to) {
            let left = tail.first.is_some_and(|first| first < keep_to);
            (tail.first, tail.last) = if left { (tail.first, last_kept) } else { (None, None) };
            if tail.synced.is_some_and(|synced| synced.index >= keep_to) {
                tail.synced = last_kept.or(tail.purged);
            }
        }
        Ok(())
    }

    /// Purges up to `upto`, inclusive; `done` once recorded. `upto` may lie beyond the last entry: then the log is
    /// empty and goes on after it.
    pub fn purge(&self, upto: LogId, done: Done) {
        let emptied = self.shared.tail.lock().last.is_none_or(|last| last.index <= upto.index);
        self.send(Job::Purge { upto, emptied, done });
    }

    /// Writes what is queued, syncs, ends the thread. Appends after this are refused.
    pub fn close(self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.send(Job::Close { done: Box::new(drop) });
        if thread.join().is_err() {
            tracing::error!("the log's thread panicked while closing");
        }
    }

    fn send(&self, job: Job) {
        if let Err(refused) = self.jobs.send(job) {
            let (Job::Append { done, .. }
            | Job::SaveVote { done, .. }
            | Job::Purge { done, .. }
            | Job::Close { done }) = refused.0;
            done(Err(std::io::Error::other("the log is closed")));
        }
    }
}

fn describe(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| format!("index {} of term {}", id.index, id.term))
}
