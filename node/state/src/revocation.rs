//! Revoked principals: in one entry all sessions that were signed in before are gone, however many there are. What is
//! kept of it lasts until the last of them is reaped.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::key::SessionKey;
use crate::policy::NamespaceId;
use crate::session::Session;

/// Sessions of a principal that signed in before this are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The log index of the entry that revoked them.
    pub before: u64,
    /// The one that stays.
    pub except: Option<SessionKey>,
}

/// By namespace and principal.
pub type Revoked = BTreeMap<NamespaceId, BTreeMap<Box<str>, Revocation>>;

/// All revocations that are not reaped yet. Cloning copies a pointer.
#[derive(Clone, Default)]
pub(crate) struct Revocations {
    all: Arc<Revoked>,
    count: usize,
    digest: Digest,
}

impl Revocation {
    /// Whether it took away the session of this key and sign-in.
    pub(crate) fn covers(&self, key: &SessionKey, since: u64) -> bool {
        since < self.before && self.except.as_ref() != Some(key)
    }
}

impl Revocations {
    pub(crate) fn restore(all: Arc<Revoked>) -> Self {
        let mut digest = Digest::default();
        let mut count = 0;
        for (namespace, principals) in all.iter() {
            for (principal, revocation) in principals {
                digest.add(item(*namespace, principal, revocation));
                count += 1;
            }
        }
        Revocations { all, count, digest }
    }

    pub(crate) fn all(&self) -> &Arc<Revoked> {
        &self.all
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn get(&self, namespace: NamespaceId, principal: &str) -> Option<&Revocation> {
        if self.count == 0 { None } else { self.all.get(&namespace)?.get(principal) }
    }

    /// Whether a session is gone because its principal was revoked.
    pub(crate) fn covers(&self, key: &SessionKey, session: &Session) -> bool {
        let revocation = self.get(session.namespace, &session.principal);
        revocation.is_some_and(|revocation| revocation.covers(key, session.signed_in))
    }

    /// Of a principal there is one at most: the last one covers what those before it did.
    pub(crate) fn set(&mut self, namespace: NamespaceId, principal: &str, revocation: Revocation) {
        self.remove(namespace, principal);
        self.digest.add(item(namespace, principal, &revocation));
        self.count += 1;
        Arc::make_mut(&mut self.all).entry(namespace).or_default().insert(principal.into(), revocation);
    }

    pub(crate) fn remove(&mut self, namespace: NamespaceId, principal: &str) {
        if self.get(namespace, principal).is_none() {
            return;
        }
        let all = Arc::make_mut(&mut self.all);
        let Some(principals) = all.get_mut(&namespace) else { return };
        if let Some(old) = principals.remove(principal) {
            self.digest.remove(item(namespace, principal, &old));
            self.count -= 1;
        }
        if principals.is_empty() {
            all.remove(&namespace);
        }
    }

    /// Forgets all of a namespace that is gone.
    pub(crate) fn close(&mut self, namespace: NamespaceId) {
        if !self.all.contains_key(&namespace) {
            return;
        }
        for (principal, old) in Arc::make_mut(&mut self.all).remove(&namespace).unwrap_or_default() {
            self.digest.remove(item(namespace, &principal, &old));
            self.count -= 1;
        }
    }
}

fn item(namespace: NamespaceId, principal: &str, revocation: &Revocation) -> Digest {
    Digest::of(Kind::Revocation, &(namespace, principal, revocation))
}
