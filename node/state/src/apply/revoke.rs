//! Revoke: all sessions of a principal at once.

use crate::command::RevokePrincipal;
use crate::outcome::{Outcome, Refusal};
use crate::policy::Limits;
use crate::revocation::Revocation;
use crate::state::State;

impl State {
    /// Ends all sessions of a principal but one, in constant time: they are gone at once and reaped later.
    pub(super) fn revoke(&mut self, revoke: &RevokePrincipal) -> Result<Outcome, Refusal> {
        let RevokePrincipal { namespace, principal, except } = revoke;
        let (principal, except) = (principal.as_ref(), *except);
        let (id, _) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        let kept = match except {
            None => None,
            Some(key) => {
                let (_, session) = self.find(id, &key, self.clocks)?;
                if *session.principal != *principal {
                    return Err(Refusal::NotOfPrincipal);
                }
                Some((session.signed_in, key))
            }
        };
        // Who has nothing to lose takes no room among the revocations.
        let theirs = self.table.index().principal(id, principal).map_or(0, |sessions| sessions.len());
        if theirs <= usize::from(kept.is_some()) {
            return Ok(Outcome::Revoked { sessions: 0 });
        }
        let known = self.revocations.get(id, principal).is_some();
        if !known && self.revocations.len() >= Limits::REVOCATIONS_MAX {
            return Err(Refusal::TooManyRevocations { max: Limits::REVOCATIONS_MAX as u64 });
        }
        let sessions = self.table.index_mut().doom(id, principal, kept);
        if sessions > 0 {
            self.revocations.set(id, principal, Revocation { before: self.index, except });
        }
        Ok(Outcome::Revoked { sessions })
    }
}
