//! Sessions by namespace, by key and by principal. Follows from the records; in no digest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::key::SessionKey;
use crate::namespace::Usage;
use crate::policy::NamespaceId;
use crate::record::{Entry, Record};
use crate::revocation::Revocation;
use crate::session::Session;

/// A principal's session: when it signed in, and its key.
pub(crate) type SignIn = (u64, SessionKey);

/// A principal's sessions in memory, the one that signed in first first.
type Principal = BTreeSet<SignIn>;

/// What revocations took away from a principal and is not reaped yet.
type Doomed = Vec<Principal>;

#[derive(Default)]
pub(crate) struct Index {
    keys: BTreeSet<(NamespaceId, SessionKey)>,
    principals: BTreeMap<NamespaceId, BTreeMap<Box<str>, Principal>>,
    doomed: BTreeMap<(NamespaceId, Box<str>), Doomed>,
    usage: BTreeMap<NamespaceId, Usage>,
}

impl Index {
    pub(crate) fn add(&mut self, entry: &Entry) {
        let Record::Live(session) = &entry.record else { return };
        self.keys.insert((session.namespace, entry.key));
        let usage = self.usage.entry(session.namespace).or_default();
        usage.sessions += 1;
        usage.bytes += entry.attribute_bytes;
        self.sign_in(&entry.key, session);
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        let Record::Live(session) = &entry.record else { return };
        self.keys.remove(&(session.namespace, entry.key));
        if let Some(usage) = self.usage.get_mut(&session.namespace) {
            usage.sessions -= 1;
            usage.bytes -= entry.attribute_bytes;
            if usage.sessions == 0 {
                self.usage.remove(&session.namespace);
            }
        }
        self.sign_out(&entry.key, session);
    }

    /// A session's attributes take `after` bytes now, not `before`.
    pub(crate) fn resize(&mut self, namespace: NamespaceId, before: u64, after: u64) {
        if let Some(usage) = self.usage.get_mut(&namespace) {
            usage.bytes = usage.bytes - before + after;
        }
    }

    pub(crate) fn sign_in(&mut self, key: &SessionKey, session: &Session) {
        if session.principal.is_empty() {
            return;
        }
        let principals = self.principals.entry(session.namespace).or_default();
        if let Some(principal) = principals.get_mut(&session.principal) {
            principal.insert((session.signed_in, *key));
        } else {
            principals.insert(session.principal.clone(), Principal::from([(session.signed_in, *key)]));
        }
    }

    pub(crate) fn sign_out(&mut self, key: &SessionKey, session: &Session) {
        if session.principal.is_empty() {
            return;
        }
        let sign_in = (session.signed_in, *key);
        if !self.forget_live(session, &sign_in) {
            self.forget_doomed(session.namespace, &session.principal, &sign_in);
        }
    }

    fn forget_live(&mut self, session: &Session, sign_in: &SignIn) -> bool {
        let Some(principals) = self.principals.get_mut(&session.namespace) else { return false };
        let Some(principal) = principals.get_mut(&session.principal) else { return false };
        let found = principal.remove(sign_in);
        if principal.is_empty() {
            principals.remove(&session.principal);
        }
        if principals.is_empty() {
            self.principals.remove(&session.namespace);
        }
        found
    }

    fn forget_doomed(&mut self, namespace: NamespaceId, principal: &str, sign_in: &SignIn) {
        if self.doomed.is_empty() {
            return;
        }
        let place = (namespace, Box::from(principal));
        let Some(doomed) = self.doomed.get_mut(&place) else { return };
        for sessions in doomed.iter_mut() {
            sessions.remove(sign_in);
        }
        doomed.retain(|sessions| !sessions.is_empty());
        if doomed.is_empty() {
            self.doomed.remove(&place);
        }
    }

    /// What a namespace takes.
    pub(crate) fn usage(&self, namespace: NamespaceId) -> Usage {
        self.usage.get(&namespace).copied().unwrap_or_default()
    }

    /// A principal's sessions that no revocation took away.
    pub(crate) fn principal(&self, namespace: NamespaceId, principal: &str) -> Option<&Principal> {
        self.principals.get(&namespace)?.get(principal)
    }

    /// As [`Self::doom`], after a restore: those that signed in before the revocation, but for the one it spared.
    pub(crate) fn doom_restored(&mut self, namespace: NamespaceId, principal: &str, revocation: &Revocation) {
        let Some(principals) = self.principals.get_mut(&namespace) else { return };
        let Some(sessions) = principals.remove(principal) else { return };
        let (doomed, kept) =
            sessions.into_iter().partition::<Principal, _>(|(since, key)| revocation.covers(key, *since));
        if !kept.is_empty() {
            principals.insert(principal.into(), kept);
        }
        if principals.is_empty() {
            self.principals.remove(&namespace);
        }
        if !doomed.is_empty() {
            self.doomed.entry((namespace, principal.into())).or_default().push(doomed);
        }
    }

    /// Takes all of a principal's sessions away but one: says how many. Constant time, however many there are.
    pub(crate) fn doom(&mut self, namespace: NamespaceId, principal: &str, except: Option<SignIn>) -> u64 {
        let Some(principals) = self.principals.get_mut(&namespace) else { return 0 };
        let Some(mut sessions) = principals.remove(principal) else { return 0 };
        if let Some(kept) = except.filter(|kept| sessions.remove(kept)) {
            principals.insert(principal.into(), Principal::from([kept]));
        }
        if principals.is_empty() {
            self.principals.remove(&namespace);
        }
        let count = sessions.len() as u64;
        if count > 0 {
            self.doomed.entry((namespace, principal.into())).or_default().push(sessions);
        }
        count
    }

    /// Whether revoked sessions of a principal are still in memory.
    pub(crate) fn has_doomed(&self, namespace: NamespaceId, principal: &str) -> bool {
        !self.doomed.is_empty() && self.doomed.contains_key(&(namespace, Box::from(principal)))
    }

    /// All revoked sessions that are still in memory.
    pub(crate) fn doomed(&self) -> impl Iterator<Item = SessionKey> {
        self.doomed.values().flatten().flatten().map(|(_, key)| *key)
    }

    /// Which namespaces have sessions in memory.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = NamespaceId> {
        self.usage.keys().copied()
    }

    /// A namespace's sessions in memory by key, from `from` on.
    pub(crate) fn keys(
        &self,
        namespace: NamespaceId,
        from: Bound<SessionKey>,
    ) -> impl Iterator<Item = SessionKey> {
        let start = match from {
            // Not unbounded: other namespaces come before.
            Bound::Unbounded => Bound::Included((namespace, SessionKey([0; 16]))),
            bounded => bounded.map(|key| (namespace, key)),
        };
        let end = Bound::Included((namespace, SessionKey([0xff; 16])));
        self.keys.range((start, end)).map(|(_, key)| *key)
    }
}
