//! The records of a node, by key and by slot.

use crate::changes::ChangedSlots;
use crate::chunks::Chunks;
use crate::digest::Digest;
use crate::index::Index;
use crate::key::SessionKey;
use crate::keymap::KeyMap;
use crate::record::{Entry, Record, Slot};
use crate::session::Session;

/// Keeps counts, index, digest and the changed slots up with every change.
pub(crate) struct Table {
    chunks: Chunks,
    slots: KeyMap,
    /// Freed slots, the last freed first; then `end`.
    free: Vec<Slot>,
    /// One beyond the highest slot ever used.
    end: Slot,
    records: u64,
    sessions: u64,
    index: Index,
    digest: Digest,
    changed: ChangedSlots,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table {
            chunks: Chunks::default(),
            slots: KeyMap::new(),
            free: Vec::new(),
            end: 0,
            records: 0,
            sessions: 0,
            index: Index::default(),
            digest: Digest::default(),
            changed: ChangedSlots::default(),
        }
    }

    /// Sessions and tombstones.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Sessions, those expired and not yet reaped included.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    pub(crate) fn find(&self, key: &SessionKey) -> Option<(Slot, &Entry)> {
        let slot = self.slots.get(key)?;
        Some((slot, self.chunks.get(slot)?))
    }

    pub(crate) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.chunks.get(slot)
    }

    pub(crate) fn take_changed(&mut self) -> Vec<Slot> {
        self.changed.take()
    }

    /// Sets what `key` stands for, in the slot it has or in a free one.
    pub(crate) fn put(&mut self, key: SessionKey, record: Record) -> Slot {
        let slot = self.slots.get(&key).or_else(|| self.free.pop()).unwrap_or(self.end);
        self.put_at(slot, key, record);
        slot
    }

    /// Sets what `key` stands for, in `slot`, which is its own or free.
    pub(crate) fn put_at(&mut self, slot: Slot, key: SessionKey, record: Record) {
        let entry = Entry::new(key, record);
        self.chunks.grow_to(slot);
        self.end = self.end.max(slot.saturating_add(1));
        if let Some(old) = self.chunks.replace(slot, None) {
            self.discount(&old);
        }
        self.count(&entry);
        self.slots.insert(key, slot);
        self.chunks.replace(slot, Some(entry));
        self.changed.mark(slot);
    }

    /// Forgets `key`; its slot becomes free.
    pub(crate) fn remove(&mut self, key: &SessionKey) -> Option<Slot> {
        let slot = self.slots.remove(key)?;
        let old = self.chunks.replace(slot, None)?;
        self.discount(&old);
        self.free.push(slot);
        self.changed.mark(slot);
        Some(slot)
    }

    /// Changes a session in place, but for its principal. Says whether attributes are among what changes: then they are
    /// hashed anew.
    pub(crate) fn update(&mut self, slot: Slot, attributes: bool, change: impl FnOnce(&mut Session)) {
        let Some(entry) = self.chunks.get_mut(slot) else { return };
        let Record::Live(session) = &mut entry.record else { return };
        let mark = |session: &Session| session.lock.as_ref().map(|lock| lock.mark());
        let lock = mark(session);
        change(session);
        let lock_changed = lock != mark(session);
        let (namespace, before) = (session.namespace, entry.attribute_bytes);
        self.digest.remove(entry.digest);
        entry.settle(attributes, lock_changed);
        self.digest.add(entry.digest);
        if attributes {
            self.index.resize(namespace, before, entry.attribute_bytes);
        }
        self.changed.mark(slot);
    }

    /// Signs another principal in, or out when it is empty. To be followed by an [`Self::update`].
    pub(crate) fn sign_in(&mut self, slot: Slot, principal: Box<str>, since: u64) {
        let Some(entry) = self.chunks.get_mut(slot) else { return };
        let Record::Live(session) = &mut entry.record else { return };
        self.index.sign_out(&entry.key, session);
        session.signed_in = if principal.is_empty() { 0 } else { since };
        session.principal = principal;
        self.index.sign_in(&entry.key, session);
    }

    /// After a restore: the holes are free, the lowest first, and nothing counts as changed.
    pub(crate) fn settle_restored(&mut self) {
        self.free = (0..self.end).rev().filter(|slot| self.chunks.get(*slot).is_none()).collect();
        self.changed.take();
    }

    fn count(&mut self, entry: &Entry) {
        self.records += 1;
        self.sessions += u64::from(matches!(entry.record, Record::Live(_)));
        self.index.add(entry);
        self.digest.add(entry.digest);
    }

    fn discount(&mut self, entry: &Entry) {
        self.records -= 1;
        self.sessions -= u64::from(matches!(entry.record, Record::Live(_)));
        self.index.remove(entry);
        self.digest.remove(entry.digest);
    }
}
