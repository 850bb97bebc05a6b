//! Touch, of one session or of many.

use crate::key::SessionKey;
use crate::outcome::{Outcome, Refusal};
use crate::policy::Limits;
use crate::record::Slot;
use crate::state::State;
use crate::time::Millis;

impl State {
    /// Renews the idle deadline.
    pub(super) fn touch(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        let (slot, _) = self.find_in(namespace, &key)?;
        Ok(Outcome::Touched { remaining_ms: self.renew(slot) })
    }

    /// Renews the idle deadlines of those that exist.
    pub(super) fn touch_many(&mut self, namespace: &str, keys: &[SessionKey]) -> Result<Outcome, Refusal> {
        let (namespace, _) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        let places = (0..).zip(keys.iter().take(Limits::TOUCHES_MAX));
        let missing = places.filter(|(_, key)| {
            let slot = self.find(namespace, key, self.clocks).map(|(slot, _)| slot);
            slot.map(|slot| self.renew(slot)).is_err()
        });
        Ok(Outcome::TouchedMany { missing: missing.map(|(place, _)| place).collect() })
    }

    fn renew(&mut self, slot: Slot) -> Option<Millis> {
        let (clocks, mut remaining_ms) = (self.clocks, None);
        self.table.update(slot, false, |session| {
            session.last_touch = clocks.served;
            remaining_ms = session.remaining_ms(clocks);
        });
        remaining_ms
    }
}
