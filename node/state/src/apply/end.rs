//! How sessions leave their keys: Delete, Regenerate, Reap.

use crate::command::RegenerateSession;
use crate::key::SessionKey;
use crate::outcome::{Outcome, Refusal};
use crate::policy::Limits;
use crate::record::{Ending, Record, Tombstone};
use crate::state::State;
use crate::time::{ClusterTime, Millis};

impl State {
    /// Logout: nothing brings the session back, and its id is refused for a while.
    pub(super) fn delete(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        self.find_in(namespace, &key)?;
        let (_, policy) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        self.bury(key, Ending::Ended, policy.tombstone_ms);
        Ok(Outcome::Done)
    }

    /// Moves a session to a new key; a touch too.
    pub(super) fn regenerate(&mut self, regenerate: &RegenerateSession) -> Result<Outcome, Refusal> {
        let (_, session) = self.find_in(&regenerate.namespace, &regenerate.key)?;
        self.check_free(&regenerate.new_key)?;
        let mut session = session.clone();
        session.version = session.version.saturating_add(1);
        session.last_touch = self.clocks.served;
        let version = session.version;
        self.bury(regenerate.key, Ending::Renamed, Limits::RENAMED_MS);
        self.put(regenerate.new_key, Record::Live(session));
        Ok(Outcome::Written { version })
    }

    /// Frees the memory of what is expired or lapsed by the clocks; leaves all else alone.
    pub(super) fn reap(&mut self, keys: &[SessionKey]) -> Outcome {
        for key in keys.iter().take(Limits::REAP_MAX) {
            let due = self.table.find(key).is_some_and(|(_, entry)| entry.record.is_due(self.clocks));
            if due && let Some(slot) = self.table.remove(key) {
                self.expiry.set(slot, None, self.clocks);
            }
        }
        Outcome::Done
    }

    fn bury(&mut self, key: SessionKey, reason: Ending, for_ms: Millis) {
        let until = ClusterTime(self.clocks.cluster.0.saturating_add(for_ms));
        self.put(key, Record::Tombstone(Tombstone { reason, until }));
    }
}
