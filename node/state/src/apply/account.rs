//! What every change has in common: the records, the deadlines, the counters, the events.

use std::sync::Arc;

use crate::digest::Digest;
use crate::event::{Cursor, EndReason, Event, Happening};
use crate::key::SessionKey;
use crate::namespace::Counters;
use crate::outcome::Refusal;
use crate::policy::NamespaceId;
use crate::record::{Record, Slot};
use crate::session::Session;
use crate::state::State;

/// From this apply version on there are counters, events and sign-ins.
pub(super) const ACCOUNTS_FROM: u32 = 2;

impl State {
    /// The session of a key in a namespace.
    pub(super) fn find_in(&self, namespace: &str, key: &SessionKey) -> Result<(Slot, &Session), Refusal> {
        let (id, _) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        self.find(id, key, self.clocks)
    }

    pub(super) fn session_at(&self, slot: Slot) -> Option<&Session> {
        match &self.table.entry(slot)?.record {
            Record::Live(session) => Some(session),
            Record::Tombstone(_) => None,
        }
    }

    /// Sets what a key stands for.
    pub(super) fn put(&mut self, key: SessionKey, record: Record) {
        let slot = self.table.put(key, record);
        self.expiry.set(slot, self.table.entry(slot).map(|entry| &entry.record), self.clocks);
    }

    /// After a session's timeouts changed.
    pub(super) fn reschedule(&mut self, slot: Slot) {
        if let Some(entry) = self.table.entry(slot) {
            self.expiry.lower(slot, &entry.record, self.clocks);
        }
    }

    /// What this entry's sign-ins are known by: those of later entries are above it.
    pub(super) fn sign_in_index(&self) -> u64 {
        if self.apply_version < ACCOUNTS_FROM { 0 } else { self.index }
    }

    /// Counts in a namespace, unless that was deleted.
    pub(super) fn count(&mut self, namespace: NamespaceId, change: impl FnOnce(&mut Counters)) {
        if self.apply_version < ACCOUNTS_FROM {
            return;
        }
        let Some(name) = self.namespace_names.get(&namespace) else { return };
        if let Some(namespace) = Arc::make_mut(&mut self.namespaces).get_mut(name) {
            change(&mut namespace.counters);
        }
    }

    /// Tells watchers what happened to a session, as it is after the event.
    pub(super) fn tell(&mut self, key: SessionKey, session: &Session, what: Happening) {
        let event = self.event(key, session, what);
        self.push_event(session.namespace, event, None);
    }

    /// Tells watchers that a session is gone. `attributes` is the digest of what it held.
    pub(super) fn tell_end(
        &mut self,
        key: SessionKey,
        session: &Session,
        why: EndReason,
        attributes: Digest,
    ) {
        let what = Happening::Ended { why, attributes: Arc::clone(&session.attributes) };
        let event = self.event(key, session, what);
        self.push_event(session.namespace, event, Some(attributes));
    }

    /// As [`Self::tell`], of the session in a slot.
    pub(super) fn tell_of(&mut self, slot: Slot, what: Happening) {
        let Some(entry) = self.table.entry(slot) else { return };
        if let Record::Live(session) = &entry.record {
            let (namespace, event) = (session.namespace, self.event(entry.key, session, what));
            self.push_event(namespace, event, None);
        }
    }

    fn event(&self, key: SessionKey, session: &Session, what: Happening) -> Event {
        Event {
            // The ring knows how many there were of this entry.
            cursor: Cursor { index: self.index, ordinal: 0 },
            at: self.clocks.cluster,
            key,
            version: session.version,
            principal: session.principal.clone(),
            what,
        }
    }

    /// Adds to the namespace's events, unless that was deleted.
    fn push_event(&mut self, namespace: NamespaceId, event: Event, attributes: Option<Digest>) {
        if self.apply_version < ACCOUNTS_FROM {
            return;
        }
        let name = self.namespace_names.get(&namespace);
        if let Some(namespace) = name.and_then(|name| self.namespaces.get(name)) {
            self.events.push(namespace.id, event, attributes, &namespace.policy);
        }
    }
}
