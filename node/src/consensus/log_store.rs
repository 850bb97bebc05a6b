//! The Raft log behind openraft's traits: a translation, nothing more. Durability lives in `quorate_storage`.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

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

    fn read(&self, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Entry>, io::Error> {
        let records = self.log.read(from, to, bytes_max).map_err(io::Error::other)?;
        records.into_iter().map(|record| decode_entry(log_id_from_storage(record.id), record.bytes)).collect()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
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
        self.read(from, to, u64::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX)
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
        let (done, purged) = oneshot::channel();
        self.log.purge(log_id_to_storage(&log_id), Box::new(move |result| drop(done.send(result))));
        purged.await.map_err(io::Error::other)?
    }
}
