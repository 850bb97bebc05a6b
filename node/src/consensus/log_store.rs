//! The Raft log behind openraft's traits: a translation, nothing more. Durability lives in `quorate_storage`.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures_util::{Stream, TryStreamExt as _, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorate_storage::{LogRecord, RaftLog};
use tokio::sync::oneshot;

use super::payload::{decode_entry, encode_payload};
use super::types::{
    Entry, LogId, TypeConfig, Vote, log_id_from_storage, log_id_to_storage, vote_from_storage,
    vote_to_storage,
};

/// One replication message carries at most this many bytes of entries (or a single larger entry).
const READ_BYTES_MAX: u64 = 1 << 20;

/// The log as openraft sees it; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: RaftLog,
}

impl LogStore {
    pub(crate) fn new(log: RaftLog) -> Self {
        LogStore { log }
    }

    /// Entries in `[from, to)`, at most `bytes_max` of payload or a single larger one. What is not in memory is read
    /// by a thread that may wait for the disk.
    async fn read(&self, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Entry>, io::Error> {
        let log = self.log.clone();
        let read = move || log.read(from, to, bytes_max).map_err(io::Error::other);
        let records = if self.log.is_cached(from) {
            read()?
        } else {
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??
        };
        records.into_iter().map(|record| decode_entry(log_id_from_storage(record.id), record.bytes)).collect()
    }

    /// Entries from `next` on, of which those before `to` are wanted, a page at a time; ends at the log's end.
    async fn page(
        self,
        next: u64,
        to: u64,
    ) -> Result<Option<(impl Stream<Item = io::Result<Entry>>, (Self, u64))>, io::Error> {
        if next >= to {
            return Ok(None);
        }
        let entries = self.read(next, to, READ_BYTES_MAX).await?;
        let Some(last) = entries.last() else { return Ok(None) };
        let after = last.log_id.index + 1;
        Ok(Some((stream::iter(entries.into_iter().map(Ok)), (self, after))))
    }
}

/// The half-open range of indexes that `range` means.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        self.read(from, to, u64::MAX).await
    }

    /// In pages: after a crash there may be a whole log budget to apply again.
    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend {
        let (from, to) = bounds(&range);
        let pages = stream::try_unfold((self.clone(), from), move |(store, next)| store.page(next, to));
        Box::pin(pages.try_flatten())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.vote().map(vote_from_storage))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(LogState {
            last_purged_log_id: self.log.last_purged().map(log_id_from_storage),
            last_log_id: self.log.last().map(log_id_from_storage),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, saved) = oneshot::channel();
        self.log.save_vote(vote_to_storage(vote), Box::new(move |result| drop(done.send(result))));
        saved.await.map_err(io::Error::other)?
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries
            .into_iter()
            .map(|entry| LogRecord {
                id: log_id_to_storage(&entry.log_id),
                bytes: encode_payload(&entry.payload),
            })
            .collect();
        self.log.append(records, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last_log_id.as_ref().map(log_id_to_storage)).map_err(io::Error::other)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        // Not waited for: raft's core would stand still for two syncs. The log does its work in the order in which it was
        // asked, so whatever is appended next finds the purge done; after a failure the process ends.
        self.log.purge(log_id_to_storage(&log_id), Box::new(drop));
        Ok(())
    }
}
