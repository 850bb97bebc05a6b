//! Whether a namespace has room for more, and a principal for another session.

use std::ops::Bound;

use crate::event::EndReason;
use crate::key::SessionKey;
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

impl State {
    /// Whether a namespace may have one more session, of `bytes`.
    pub(super) fn check_room(
        &mut self,
        namespace: NamespaceId,
        key: &SessionKey,
        policy: &Policy,
        bytes: u64,
    ) -> Result<(), Refusal> {
        if let Some(max) = policy.more.sessions_max {
            let is_full = |state: &State| state.table.index().usage(namespace).sessions >= max;
            if is_full(self) {
                self.reap_near(namespace, key);
            }
            if is_full(self) {
                return Err(Refusal::NamespaceFull { max });
            }
        }
        self.check_bytes(namespace, key, policy, bytes)
    }

    /// Whether a namespace's sessions may take `more` bytes.
    pub(super) fn check_bytes(
        &mut self,
        namespace: NamespaceId,
        key: &SessionKey,
        policy: &Policy,
        more: u64,
    ) -> Result<(), Refusal> {
        let Some(max) = policy.more.bytes_max else { return Ok(()) };
        let then = |state: &State| state.table.index().usage(namespace).bytes.saturating_add(more);
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

    /// Whether a principal may have one more session; ends its oldest ones for it where the policy says so.
    pub(super) fn check_principal(
        &mut self,
        namespace: NamespaceId,
        principal: &str,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let Some(max) = policy.more.principal_sessions_max.filter(|_| !principal.is_empty()) else {
            return Ok(());
        };
        let Some(sessions) = self.table.index().principal(namespace, principal) else { return Ok(()) };
        let is_live = |key: &SessionKey| self.record(key, self.clocks).is_some();
        let live: Vec<SessionKey> =
            sessions.iter().take(SIGN_INS_MAX).map(|(_, key)| *key).filter(is_live).collect();
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let count = live.len() + sessions.len().saturating_sub(SIGN_INS_MAX);
        if count < max {
            return Ok(());
        }
        if policy.more.principal_overflow == Overflow::Refuse {
            return Err(Refusal::TooManySessionsOfPrincipal { max: max as u64 });
        }
        for key in live.into_iter().take((count - max + 1).min(Limits::REAP_MAX)) {
            self.end(key, EndReason::PrincipalLimit, policy.tombstone_ms);
        }
        Ok(())
    }
}
