//! Create.

use std::sync::Arc;

use super::limits::{check_size, check_timeouts};
use crate::command::CreateSession;
use crate::event::Happening;
use crate::key::SessionKey;
use crate::outcome::{Outcome, Refusal};
use crate::record::{Record, attribute_bytes};
use crate::session::Session;
use crate::state::State;

impl State {
    /// Insert-only: an id in use, or used until a moment ago, is refused.
    pub(super) fn create(&mut self, create: CreateSession) -> Result<Outcome, Refusal> {
        let (namespace, policy) = self.namespace(&create.namespace).ok_or(Refusal::UnknownNamespace)?;
        let policy = policy.clone();
        self.reap_gone(&create.key);
        self.check_free(&create.key)?;
        check_timeouts(create.timeouts, &policy)?;
        let bytes = attribute_bytes(&create.attributes);
        check_size(create.attributes.len(), bytes, &policy)?;
        let ending = self.check_principal(namespace, &create.principal, &policy)?;
        self.check_room(namespace, &create.key, &policy, bytes, &ending)?;
        self.end_all(ending, &policy);
        let timeouts = policy.filled_in(create.timeouts);
        let idle_ms = policy.effective_idle_ms(timeouts.idle_ms, &create.principal);
        let session = Session {
            namespace,
            version: 1,
            created: self.clocks.cluster,
            timeouts,
            idle_ms,
            granule_ms: policy.granule_ms(idle_ms),
            last_touch: self.clocks.served,
            signed_in: if create.principal.is_empty() { 0 } else { self.sign_in_index() },
            principal: create.principal,
            lock: None,
            attributes: Arc::new(create.attributes),
        };
        self.count(namespace, |counters| counters.created += 1);
        self.tell(create.key, &session, Happening::Created);
        self.put(create.key, Record::Live(session));
        Ok(Outcome::Written { version: 1 })
    }

    /// Whether a session can be created under, or moved to, this key. What is gone is in nobody's way: it has been reaped
    /// before, since that may leave a tombstone.
    pub(super) fn check_free(&self, key: &SessionKey) -> Result<(), Refusal> {
        match self.record(key, self.clocks) {
            None => Ok(()),
            Some((_, Record::Live(_))) => Err(Refusal::AlreadyExists),
            Some((_, Record::Tombstone(_))) => Err(Refusal::RecentlyEnded),
        }
    }
}
