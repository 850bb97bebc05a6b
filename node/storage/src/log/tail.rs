//! The log as it is in memory: what may be read, whether synced yet or not. No IO.

use std::collections::VecDeque;

use super::types::{LogId, LogRecord, Vote};
use crate::floor::FloorState;

/// What a record costs in memory beside its payload.
const RECORD_BYTES: usize = 64;

/// Where the entries of a range are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadPlan {
    /// To be read from the engine: this group, `[from, to)`; empty if `from == to`.
    pub(super) group: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    /// What follows, from memory.
    pub(super) cached: Vec<LogRecord>,
}

/// The log in memory.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Consecutive; ends with the last entry. Older entries are in the engine alone.
    records: VecDeque<LogRecord>,
    bytes: usize,
    /// Index of the first entry.
    pub(super) first: Option<u64>,
    /// The last entry.
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    /// The last entry behind a completed sync.
    pub(super) synced: Option<LogId>,
    /// raft-engine's group that holds the log.
    pub(super) group: u64,
    /// Where a log that was never purged began: raft-engine takes nothing below it.
    pub(super) start: Option<u64>,
    /// Purges and truncations so far.
    changes: u64,
}

fn cost(record: &LogRecord) -> usize {
    record.bytes.len() + RECORD_BYTES
}

impl Tail {
    /// As found at start: all of it in the engine, synced.
    pub(super) fn found(first: Option<u64>, last: Option<LogId>, floor: &FloorState) -> Tail {
        Tail {
            first,
            last,
            purged: floor.purged,
            vote: floor.vote,
            synced: last.or(floor.purged),
            group: floor.group,
            // An empty one may begin anywhere again: its first entries never got to the disk.
            start: first.filter(|_| floor.purged.is_none()),
            ..Tail::default()
        }
    }

    /// The only index that may be appended next; `None`: any.
    fn next_index(&self) -> Option<u64> {
        self.last.or(self.purged).map(|id| id.index + 1).or(self.start)
    }

    /// Takes up `records`, or says why they do not follow.
    pub(super) fn append(&mut self, records: &[LogRecord]) -> Result<(), String> {
        let Some(first) = records.first() else { return Ok(()) };
        let next = self.next_index().unwrap_or(first.id.index);
        for (record, next) in records.iter().zip(next..) {
            if record.id.index != next {
                return Err(format!("entry {} does not follow: {next} comes next", record.id.index));
            }
        }
        if self.purged.is_none() {
            self.start.get_or_insert(first.id.index);
        }
        for record in records {
            self.bytes += cost(record);
            self.first.get_or_insert(record.id.index);
            self.last = Some(record.id);
            self.records.push_back(record.clone());
        }
        Ok(())
    }

    /// Rises with each purge and truncation: what was planned before may not hold after.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Forgets all after `kept`; whether there was anything.
    pub(super) fn truncate_after(&mut self, kept: Option<LogId>) -> Result<bool, String> {
        let end = kept.map_or(0, |id| id.index + 1);
        if self.purged.is_some_and(|purged| end <= purged.index) {
            return Err("what is purged cannot be truncated".into());
        }
        if self.last.is_none_or(|last| last.index < end) {
            return Ok(false);
        }
        self.changes += 1;
        while let Some(record) = self.records.pop_back_if(|record| record.id.index >= end) {
            self.bytes -= cost(&record);
        }
        let left = self.first.is_some_and(|first| first < end);
        (self.first, self.last) = if left { (self.first, kept) } else { (None, None) };
        if self.synced.is_some_and(|synced| synced.index >= end) {
            self.synced = self.last.or(self.purged);
        }
        Ok(true)
    }

    /// Forgets all up to `upto`. True: nothing is left, and the log goes on in a new group.
    pub(super) fn purge(&mut self, upto: LogId) -> bool {
        self.changes += 1;
        while let Some(record) = self.records.pop_front_if(|record| record.id.index <= upto.index) {
            self.bytes -= cost(&record);
        }
        self.purged = Some(upto);
        let emptied = self.last.is_none_or(|last| last.index <= upto.index);
        if emptied {
            self.group += 1;
            (self.first, self.last) = (None, None);
        } else {
            self.first = Some(upto.index + 1);
        }
        emptied
    }

    /// Notes that `id` is synced, unless it was truncated meanwhile; then frees memory down to `cache_bytes`.
    pub(super) fn set_synced(&mut self, id: LogId, cache_bytes: usize) {
        let is_there = self.last == Some(id) || self.purged == Some(id) || self.cached(id.index) == Some(id);
        if is_there && self.synced.is_none_or(|synced| synced.index < id.index) {
            self.synced = Some(id);
        }
        let Some(synced) = self.synced else { return };
        while self.bytes > cache_bytes
            && let Some(record) = self.records.pop_front_if(|record| record.id.index <= synced.index)
        {
            self.bytes -= cost(&record);
        }
    }

    pub(super) fn is_cached(&self, index: u64) -> bool {
        self.cached(index).is_some()
    }

    fn cached(&self, index: u64) -> Option<LogId> {
        let offset = index.checked_sub(self.records.front()?.id.index)?;
        Some(self.records.get(usize::try_from(offset).ok()?)?.id)
    }

    /// What of `[from, to)` is there, and where; from memory at most about `bytes_max`, at least one.
    pub(super) fn plan(&self, from: u64, to: u64, bytes_max: u64) -> Option<ReadPlan> {
        let (first, last) = (self.first?, self.last?);
        let (from, to) = (from.max(first), to.min(last.index + 1));
        if from >= to {
            return None;
        }
        let cached_from = self.records.front().map_or(to, |record| record.id.index).clamp(from, to);
        let skip = self.records.partition_point(|record| record.id.index < cached_from);
        let mut bytes = 0;
        let fits = |record: &&LogRecord| {
            let room = bytes == 0 || bytes + record.bytes.len() as u64 <= bytes_max;
            bytes += record.bytes.len().max(1) as u64;
            room && record.id.index < to
        };
        let cached = self.records.iter().skip(skip).take_while(fits).cloned().collect();
        Some(ReadPlan { group: self.group, from, to: cached_from, cached })
    }

    #[cfg(test)]
    pub(super) fn cached_bytes(&self) -> usize {
        self.bytes
    }
}
