//! How sessions leave their keys: Delete, Regenerate, Reap.

use crate::command::RegenerateSession;
use crate::digest::Digest;
use crate::event::{EndReason, Happening};
use crate::key::SessionKey;
use crate::lock;
use crate::outcome::{Outcome, Refusal};
use crate::policy::{Limits, NamespaceId};
use crate::record::{Ending, Record, Tombstone};
use crate::revocation::Revocation;
use crate::session::Session;
use crate::state::State;
use crate::time::{ClusterTime, Millis};

impl State {
    /// Logout: nothing brings the session back, and its id is refused for a while. A lock is no obstacle.
    pub(super) fn delete(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        self.find_in(namespace, &key)?;
        let (_, policy) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        let tombstone_ms = policy.tombstone_ms;
        self.end(key, EndReason::Logout, tombstone_ms);
        Ok(Outcome::Done)
    }

    /// Moves a session to a new key; a touch too. Its lock stays with its holder, those who wait for it are sent away.
    pub(super) fn regenerate(&mut self, regenerate: &RegenerateSession) -> Result<Outcome, Refusal> {
        let (_, session) = self.find_in(&regenerate.namespace, &regenerate.key)?;
        let mut session = session.clone();
        let line = session.lock.clone();
        lock::settle(&mut session.lock, self.clocks.cluster);
        lock::check(&session.lock, regenerate.fence, self.clocks.cluster)?;
        self.reap_gone(&regenerate.new_key);
        self.check_free(&regenerate.new_key)?;
        self.wake_line(line.as_deref());
        if let Some(lock) = &mut session.lock {
            lock.waiting.clear();
        }
        session.version = session.version.saturating_add(1);
        session.last_touch = self.clocks.served;
        let version = session.version;
        self.move_revocation(&session, regenerate.key, regenerate.new_key);
        self.tell(regenerate.key, &session, Happening::Renamed { to: regenerate.new_key });
        self.bury(regenerate.key, Ending::Renamed, Limits::RENAMED_MS);
        self.put(regenerate.new_key, Record::Live(session));
        Ok(Outcome::Written { version })
    }

    /// The session that a revocation spared stays spared under its new key.
    fn move_revocation(&mut self, session: &Session, from: SessionKey, to: SessionKey) {
        let revocation = self.revocations.get(session.namespace, &session.principal);
        if let Some(Revocation { before, except }) = revocation.copied()
            && except == Some(from)
        {
            let moved = Revocation { before, except: Some(to) };
            self.revocations.set(session.namespace, &session.principal, moved);
        }
    }

    /// Frees the memory of what is gone; leaves all else alone.
    pub(super) fn reap(&mut self, keys: &[SessionKey]) -> Outcome {
        for key in keys.iter().take(Limits::REAP_MAX) {
            self.reap_gone(key);
        }
        Outcome::Done
    }

    /// Frees a key whose record is gone, and tells and counts what became of it. A revoked one leaves a tombstone.
    pub(super) fn reap_gone(&mut self, key: &SessionKey) -> bool {
        let Some((slot, entry)) = self.table.find(key) else { return false };
        if !self.is_gone(entry, self.clocks) {
            return false;
        }
        let session = match &entry.record {
            Record::Live(session) => Some((session.clone(), entry.attributes_digest)),
            Record::Tombstone(_) => None,
        };
        self.table.remove(key);
        self.expiry.set(slot, None, self.clocks);
        if let Some((session, attributes)) = session {
            self.settle_end(*key, &session, attributes);
        }
        true
    }

    /// Counts and tells the end of a session that has just left memory. `attributes` is the digest of what it held.
    fn settle_end(&mut self, key: SessionKey, session: &Session, attributes: Digest) {
        self.wake_line(session.lock.as_deref());
        let (namespace, principal) = (session.namespace, &session.principal);
        let revoked = self.revocations.covers(&key, session);
        let expired = session.expiry(self.clocks);
        let why = if revoked { Some(EndReason::Revoked) } else { expired };
        if let Some(why) = why {
            self.count(namespace, |counters| match why {
                EndReason::Idle | EndReason::Absolute => counters.expired += 1,
                _ => counters.deleted += 1,
            });
            self.tell_end(key, session, why, attributes);
        }
        if revoked {
            self.settle_revoked(key, namespace, principal);
        }
    }

    /// Buries a revoked session, as a logout does. With the last of its principal the revocation is done.
    fn settle_revoked(&mut self, key: SessionKey, namespace: NamespaceId, principal: &str) {
        if !self.table.index().has_doomed(namespace, principal) {
            self.revocations.remove(namespace, principal);
        }
        let name = self.namespace_names.get(&namespace);
        if let Some(policy) = name.and_then(|name| self.namespace(name)).map(|(_, policy)| policy) {
            self.bury(key, Ending::Ended, policy.tombstone_ms);
        }
    }

    /// Ends a live session.
    pub(super) fn end(&mut self, key: SessionKey, why: EndReason, tombstone_ms: Millis) {
        let Some((_, entry)) = self.table.find(&key) else { return };
        let Record::Live(session) = &entry.record else { return };
        let (session, attributes) = (session.clone(), entry.attributes_digest);
        self.wake_line(session.lock.as_deref());
        self.count(session.namespace, |counters| counters.deleted += 1);
        self.tell_end(key, &session, why, attributes);
        self.bury(key, Ending::Ended, tombstone_ms);
    }

    fn bury(&mut self, key: SessionKey, reason: Ending, for_ms: Millis) {
        let until = ClusterTime(self.clocks.cluster.0.saturating_add(for_ms));
        self.put(key, Record::Tombstone(Tombstone { reason, until }));
    }
}
