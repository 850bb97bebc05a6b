//! Write and Touch.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::limits::{check_size, check_timeouts};
use crate::command::{AttributeChange, WriteSession};
use crate::key::SessionKey;
use crate::outcome::{Outcome, Refusal};
use crate::policy::Policy;
use crate::record::{attribute_bytes, pair_bytes};
use crate::session::{Attributes, Session, Timeouts};
use crate::state::State;

impl State {
    /// Replaces or patches; a touch too. Counts as a new version unless it asks for nothing.
    pub(super) fn write(&mut self, write: WriteSession) -> Result<Outcome, Refusal> {
        let policy =
            self.namespace(&write.namespace).map(|(_, policy)| policy).ok_or(Refusal::UnknownNamespace)?;
        let (slot, session) = self.find_in(&write.namespace, &write.key)?;
        let current = session.version;
        if write.if_version.is_some_and(|required| required != current) {
            return Err(Refusal::VersionConflict { current });
        }
        check_timeouts(write.timeouts, policy)?;
        let bytes = self.table.entry(slot).map_or(0, |entry| entry.attribute_bytes);
        check_change(&write.change, &session.attributes, bytes, policy)?;

        let attributes = !matches!(write.change, AttributeChange::Keep);
        let timeouts = write.timeouts != Timeouts::default();
        let changes = attributes || timeouts || write.principal.is_some();
        let version = current.saturating_add(u64::from(changes));
        let served = self.clocks.served;
        self.table.update(slot, attributes, |session| {
            session.version = version;
            session.last_touch = served;
            change_timeouts(session, write.timeouts);
            if let Some(principal) = write.principal {
                session.principal = principal;
            }
            change_attributes(&mut session.attributes, write.change);
        });
        if timeouts {
            self.reschedule(slot);
        }
        Ok(Outcome::Written { version })
    }

    /// Renews the idle deadline.
    pub(super) fn touch(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        let (slot, _) = self.find_in(namespace, &key)?;
        let (clocks, mut remaining_ms) = (self.clocks, None);
        self.table.update(slot, false, |session| {
            session.last_touch = clocks.served;
            remaining_ms = session.remaining_ms(clocks);
        });
        Ok(Outcome::Touched { remaining_ms })
    }

    /// The session of a key in a namespace. (A key is derived from its namespace, so a session of another one under
    /// it is nobody's doing but a broken proposer's.)
    pub(super) fn find_in(&self, namespace: &str, key: &SessionKey) -> Result<(u64, &Session), Refusal> {
        let (id, _) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        let (slot, session) = self.find(key, self.clocks)?;
        if session.namespace == id { Ok((slot, session)) } else { Err(Refusal::NotFound) }
    }
}

fn change_timeouts(session: &mut Session, given: Timeouts) {
    if given.idle_ms.is_some() {
        session.timeouts.idle_ms = given.idle_ms;
        session.granule_ms = Policy::granule_ms(given.idle_ms);
    }
    if given.absolute_ms.is_some() {
        session.timeouts.absolute_ms = given.absolute_ms;
    }
}

/// Checks the size that a change would give a session of now `bytes`.
fn check_change(
    change: &AttributeChange,
    now: &Attributes,
    bytes: u64,
    policy: &Policy,
) -> Result<(), Refusal> {
    match change {
        AttributeChange::Keep => Ok(()),
        AttributeChange::Replace(attributes) => {
            check_size(attributes.len(), attribute_bytes(attributes), policy)
        }
        AttributeChange::Patch { set, remove } => {
            // What goes: the removed, and the old values of the set. A name may come in `remove` twice.
            let names = remove.iter().chain(set.keys()).collect::<BTreeSet<_>>();
            let going = names.iter().filter_map(|name| now.get_key_value(*name));
            let (gone, gone_bytes) = going.fold((0, 0_u64), |(count, bytes), (name, value)| {
                (count + 1, bytes.saturating_add(pair_bytes(name, value)))
            });
            let count = now.len() - gone + set.len();
            let bytes = bytes.saturating_sub(gone_bytes).saturating_add(attribute_bytes(set));
            check_size(count, bytes, policy)
        }
    }
}

/// A name that a patch both sets and removes is set. (Services refuse such a patch.)
fn change_attributes(attributes: &mut Arc<Attributes>, change: AttributeChange) {
    match change {
        AttributeChange::Keep => {}
        AttributeChange::Replace(new) => *attributes = Arc::new(new),
        AttributeChange::Patch { set, remove } => {
            let attributes = Arc::make_mut(attributes);
            for name in remove {
                attributes.remove(&name);
            }
            attributes.extend(set);
        }
    }
}
