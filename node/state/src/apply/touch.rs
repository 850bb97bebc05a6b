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
        let mut missing = Vec::new();
        for (place, key) in (0..).zip(keys.iter().take(Limits::TOUCHES_MAX)) {
            match self.find(namespace, key, self.clocks).map(|(slot, _)| slot) {
                Ok(slot) => drop(self.renew(slot)),
                Err(_) => missing.push(place),
            }
        }
        Ok(Outcome::TouchedMany { missing })
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
