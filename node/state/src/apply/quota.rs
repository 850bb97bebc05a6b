//! Whether a namespace has room for more, and a principal for another session.

use std::ops::Bound;

use crate::event::EndReason;
use crate::key::SessionKey;
use crate::namespace::Usage;
use crate::outcome::Refusal;
use crate::policy::{Limits, NamespaceId, Overflow, Policy};
use crate::state::State;

/// Sessions looked at by one entry that finds its namespace full: those gone among them are reaped at once. After a mass
/// expiry nearly all are; keys are hashes, so the neighbours of any key are a sample of all. Few: where none is gone, each
/// refused Create pays for them in vain (with 256 it cost 23 times what one that succeeds does), and what is gone is being
/// reaped anyway.
const LOOKS_MAX: usize = 16;

/// A principal's sessions looked at by one entry; what is beyond counts as live.
const SIGN_INS_MAX: usize = 4_096;

/// A principal's sessions that a new one takes the place of.
#[derive(Default)]
pub(super) struct Ending {
    keys: Vec<SessionKey>,
    /// What they take.
    usage: Usage,
}

impl State {
    /// Whether a namespace may have one more session, of `bytes`, once what is `ending` is gone.
    pub(super) fn check_room(
        &mut self,
        namespace: NamespaceId,
        key: &SessionKey,
        policy: &Policy,
        bytes: u64,
        ending: &Ending,
    ) -> Result<(), Refusal> {
        if let Some(max) = policy.more.sessions_max {
            let is_full = |state: &State| {
                let sessions = state.table.index().usage(namespace).sessions;
                sessions.saturating_sub(ending.usage.sessions) >= max
            };
            if is_full(self) {
                self.reap_near(namespace, key);
            }
            if is_full(self) {
                return Err(Refusal::NamespaceFull { max });
            }
        }
        self.check_bytes(namespace, key, policy, bytes, ending)
    }

    /// Whether a namespace's sessions may take `more` bytes, once what is `ending` is gone.
    pub(super) fn check_bytes(
        &mut self,
        namespace: NamespaceId,
        key: &SessionKey,
        policy: &Policy,
        more: u64,
        ending: &Ending,
    ) -> Result<(), Refusal> {
        let Some(max) = policy.more.bytes_max else { return Ok(()) };
        let then = |state: &State| {
            let bytes = state.table.index().usage(namespace).bytes;
            bytes.saturating_sub(ending.usage.bytes).saturating_add(more)
        };
        if more > 0 && then(self) > max {
            self.reap_near(namespace, key);
        }
        let bytes = then(self);
        if more > 0 && bytes > max { Err(Refusal::NamespaceBytesExceeded { bytes, max }) } else { Ok(()) }
    }

    /// Reaps what is gone among a key and those that follow it, round the end.
    fn reap_near(&mut self, namespace: NamespaceId, key: &SessionKey) {
        let index = self.table.index();
        let behind = index.keys(namespace, Bound::Included(*key));
        let before = index.keys(namespace, Bound::Unbounded).take_while(|other| other < key);
        let near: Vec<SessionKey> = behind.chain(before).take(LOOKS_MAX).collect();
        for key in near {
            self.reap_gone(&key);
        }
    }

    /// Whether a principal may have one more session, and which of its oldest ones end for it where the policy says so.
    pub(super) fn check_principal(
        &self,
        namespace: NamespaceId,
        principal: &str,
        policy: &Policy,
    ) -> Result<Ending, Refusal> {
        let nobody = Ending::default();
        let Some(max) = policy.more.principal_sessions_max.filter(|_| !principal.is_empty()) else {
            return Ok(nobody);
        };
        let Some(sessions) = self.table.index().principal(namespace, principal) else { return Ok(nobody) };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if sessions.len() < max {
            return Ok(nobody);
        }
        let is_live = |key: &SessionKey| self.record(key, self.clocks).is_some();
        let live: Vec<SessionKey> =
            sessions.iter().take(SIGN_INS_MAX).map(|(_, key)| *key).filter(is_live).collect();
        let count = live.len() + sessions.len().saturating_sub(SIGN_INS_MAX);
        if count < max {
            return Ok(nobody);
        }
        if policy.more.principal_overflow == Overflow::Refuse {
            return Err(Refusal::TooManySessionsOfPrincipal { max: max as u64 });
        }
        let keys: Vec<SessionKey> = live.into_iter().take((count - max + 1).min(Limits::REAP_MAX)).collect();
        let entries = keys.iter().filter_map(|key| self.table.find(key));
        let bytes = entries.map(|(_, entry)| entry.attribute_bytes).sum();
        Ok(Ending { usage: Usage { sessions: keys.len() as u64, bytes }, keys })
    }

    /// Ends what a sign-in is to end, once nothing more can refuse it.
    pub(super) fn end_all(&mut self, ending: Ending, policy: &Policy) {
        for key in ending.keys {
            self.end(key, EndReason::PrincipalLimit, policy.tombstone_ms);
        }
    }
}
