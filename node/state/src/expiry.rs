//! When records can leave memory. Local, in no digest: what is expired is decided by the clocks alone.
//!
//! Each slot with a deadline stands in `schedule` once, under a lower bound of its due time. A touch does not move
//! it: when the bound is reached the record is looked at again, and either rescheduled or kept as expired.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Record, Slot};
use crate::table::Table;
use crate::time::{Clocks, ClusterTime};

#[derive(Default)]
pub(crate) struct Expiry {
    schedule: BTreeSet<(ClusterTime, Slot)>,
    /// By slot: where it stands in `schedule`, if it does.
    bounds: Vec<Option<ClusterTime>>,
    expired_sessions: BTreeSet<Slot>,
    lapsed_tombstones: BTreeSet<Slot>,
    /// When locks for which somebody waits go on to the next.
    locks: BTreeSet<(ClusterTime, Slot)>,
    lock_bounds: BTreeMap<Slot, ClusterTime>,
}

impl Expiry {
    /// A slot has this record now, or none.
    pub(crate) fn set(&mut self, slot: Slot, record: Option<&Record>, now: Clocks) {
        self.expired_sessions.remove(&slot);
        self.lapsed_tombstones.remove(&slot);
        self.set_lock(slot, record);
        match record {
            Some(record) if !record.is_due(now) => return self.schedule(slot, record.due_earliest(now)),
            Some(Record::Live(_)) => self.expired_sessions.insert(slot),
            Some(Record::Tombstone(_)) => self.lapsed_tombstones.insert(slot),
            None => false,
        };
        self.schedule(slot, None);
    }

    /// A record's deadline changed: only an earlier one matters now.
    pub(crate) fn lower(&mut self, slot: Slot, record: &Record, now: Clocks) {
        let due = record.due_earliest(now);
        if due.is_some_and(|due| self.bound(slot).is_none_or(|bound| due < bound)) {
            self.set(slot, Some(record), now);
        }
    }

    /// A record's lock changed, or its line.
    pub(crate) fn set_lock(&mut self, slot: Slot, record: Option<&Record>) {
        let lock = match record {
            Some(Record::Live(session)) => session.lock.as_deref(),
            _ => None,
        };
        let until = lock.filter(|lock| !lock.waiting.is_empty()).map(|lock| lock.holder.until);
        // Most sessions are not locked.
        if until.is_none() && self.lock_bounds.is_empty() {
            return;
        }
        let old = match until {
            Some(until) => self.lock_bounds.insert(slot, until),
            None => self.lock_bounds.remove(&slot),
        };
        if let Some(old) = old {
            self.locks.remove(&(old, slot));
        }
        if let Some(until) = until {
            self.locks.insert((until, slot));
        }
    }

    /// When the first lock for which somebody waits lapses.
    pub(crate) fn next_lock(&self) -> Option<ClusterTime> {
        self.locks.first().map(|(until, _)| *until)
    }

    /// Locks that have lapsed and for which somebody waits.
    pub(crate) fn lapsed_locks(&self, now: ClusterTime) -> impl Iterator<Item = Slot> {
        self.locks.iter().take_while(move |(until, _)| *until <= now).map(|(_, slot)| *slot)
    }

    fn schedule(&mut self, slot: Slot, due_earliest: Option<ClusterTime>) {
        let Ok(index) = usize::try_from(slot) else { return };
        if index >= self.bounds.len() {
            self.bounds.resize(index + 1, None);
        }
        let Some(bound) = self.bounds.get_mut(index) else { return };
        if let Some(old) = std::mem::replace(bound, due_earliest) {
            self.schedule.remove(&(old, slot));
        }
        if let Some(due) = due_earliest {
            self.schedule.insert((due, slot));
        }
    }

    /// Sorts out records whose bound the clocks have reached, at most so many: what is left over is for the next entry.
    pub(crate) fn advance(&mut self, now: Clocks, table: &Table, looks_max: usize) {
        let reached = self.schedule.iter().take_while(|(due, _)| *due <= now.cluster).take(looks_max);
        let reached: Vec<Slot> = reached.map(|(_, slot)| *slot).collect();
        for slot in reached {
            self.set(slot, table.entry(slot).map(|entry| &entry.record), now);
        }
    }

    /// The earliest bound: no deadline is earlier.
    pub(crate) fn next_due(&self) -> Option<ClusterTime> {
        self.schedule.first().map(|(due, _)| *due)
    }

    /// Slots whose records can leave memory.
    pub(crate) fn due(&self) -> impl Iterator<Item = Slot> {
        self.expired_sessions.iter().chain(&self.lapsed_tombstones).copied()
    }

    pub(crate) fn expired_sessions(&self) -> usize {
        self.expired_sessions.len()
    }

    fn bound(&self, slot: Slot) -> Option<ClusterTime> {
        *self.bounds.get(usize::try_from(slot).ok()?)?
    }
}
