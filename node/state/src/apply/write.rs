//! Write.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::limits::{check_size, check_timeouts};
use crate::command::{AttributeChange, WriteSession};
use crate::event::Happening;
use crate::lock;
use crate::outcome::{Outcome, Refusal};
use crate::policy::Policy;
use crate::record::{Slot, attribute_bytes, pair_bytes};
use crate::session::{Attributes, Session, Timeouts};
use crate::state::State;

impl State {
    /// Replaces or patches; a touch too. Counts as a new version unless it asks for nothing but to give a lock back.
    pub(super) fn write(&mut self, write: WriteSession) -> Result<Outcome, Refusal> {
        let (namespace, policy) = self.namespace(&write.namespace).ok_or(Refusal::UnknownNamespace)?;
        let (policy, now) = (policy.clone(), self.clocks);
        let (slot, session) = self.find_in(&write.namespace, &write.key)?;
        let current = session.version;
        lock::check(&lock::settled(&session.lock, now.cluster), write.fence, now.cluster)?;
        if write.if_version.is_some_and(|required| required != current) {
            return Err(Refusal::VersionConflict { current });
        }
        check_timeouts(write.timeouts, &policy)?;
        let before = self.table.entry(slot).map_or(0, |entry| entry.attribute_bytes);
        let after = check_change(&write.change, &session.attributes, before, &policy)?;
        let signs_in = write.principal.as_ref().is_some_and(|principal| *principal != session.principal);
        let principal = write.principal.as_deref().filter(|_| signs_in).unwrap_or_default();
        let ending = self.check_principal(namespace, principal, &policy)?;
        self.check_bytes(namespace, &write.key, &policy, after.saturating_sub(before), &ending)?;
        self.end_all(ending, &policy);
        let changes = Changes {
            attributes: !matches!(write.change, AttributeChange::Keep),
            timeouts: write.timeouts != Timeouts::default(),
            principal: write.principal.is_some(),
        };
        let version = current.saturating_add(u64::from(changes.any()));
        let previous = signs_in.then(|| self.sign_in(slot, write.principal.unwrap_or_default())).flatten();
        let (releases, woken) = (write.release && write.fence.is_some(), &mut self.woken);
        self.table.update(slot, changes.attributes, |session| {
            session.version = version;
            session.last_touch = now.served;
            woken.extend(lock::settle(&mut session.lock, now.cluster));
            if releases {
                woken.extend(lock::pass_on(&mut session.lock, now.cluster));
            }
            change_timeouts(session, write.timeouts, signs_in, &policy);
            change_attributes(&mut session.attributes, write.change);
        });
        if changes.timeouts || signs_in {
            self.reschedule(slot);
        }
        self.relock(slot);
        if changes.any() {
            self.tell_of(slot, Happening::Updated { previous_principal: previous });
        }
        Ok(Outcome::Written { version })
    }

    /// Signs another principal in; gives the one before.
    fn sign_in(&mut self, slot: Slot, principal: Box<str>) -> Option<Box<str>> {
        let previous = self.session_at(slot)?.principal.clone();
        let since = self.sign_in_index();
        self.table.sign_in(slot, principal, since);
        Some(previous)
    }
}

/// What a write changes.
struct Changes {
    attributes: bool,
    timeouts: bool,
    principal: bool,
}

impl Changes {
    fn any(&self) -> bool {
        self.attributes || self.timeouts || self.principal
    }
}

/// An idle timeout is fixed when it is set, or when somebody signs in or out, by the policy of that moment.
fn change_timeouts(session: &mut Session, given: Timeouts, signs_in: bool, policy: &Policy) {
    if given.idle_ms.is_some() {
        session.timeouts.idle_ms = given.idle_ms;
    }
    if given.idle_ms.is_some() || signs_in {
        let idle_ms = policy.effective_idle_ms(session.timeouts.idle_ms, &session.principal);
        if given.idle_ms.is_some() || idle_ms != session.idle_ms {
            session.idle_ms = idle_ms;
            session.granule_ms = policy.granule_ms(idle_ms);
        }
    }
    if given.absolute_ms.is_some() {
        session.timeouts.absolute_ms = given.absolute_ms;
    }
}

/// Checks the size that a change would give a session of now `bytes`, and gives it.
fn check_change(
    change: &AttributeChange,
    now: &Attributes,
    bytes: u64,
    policy: &Policy,
) -> Result<u64, Refusal> {
    let (count, bytes) = match change {
        AttributeChange::Keep => return Ok(bytes),
        AttributeChange::Replace(attributes) => (attributes.len(), attribute_bytes(attributes)),
        AttributeChange::Patch { set, remove } => {
            // What goes: the removed, and the old values of the set. A name may come in `remove` twice.
            let names = remove.iter().chain(set.keys()).collect::<BTreeSet<_>>();
            let going = names.iter().filter_map(|name| now.get_key_value(*name));
            let (gone, gone_bytes) = going.fold((0, 0_u64), |(count, bytes), (name, value)| {
                (count + 1, bytes.saturating_add(pair_bytes(name, value)))
            });
            let count = now.len() - gone + set.len();
            (count, bytes.saturating_sub(gone_bytes).saturating_add(attribute_bytes(set)))
        }
    };
    check_size(count, bytes, policy)?;
    Ok(bytes)
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
