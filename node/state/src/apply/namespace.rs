//! Namespaces come, change and go.

use std::borrow::Cow;
use std::sync::Arc;

use crate::namespace::{Counters, Namespace};
use crate::outcome::{Outcome, Refusal};
use crate::policy::{Limits, Policy, PolicyChange};
use crate::state::{DEFAULT_NAMESPACE, State};

impl State {
    /// Creates a namespace, or changes the policy of one: sessions keep what they were promised.
    pub(super) fn put_namespace(
        &mut self,
        name: &str,
        change: &PolicyChange,
        create: Option<bool>,
    ) -> Result<Outcome, Refusal> {
        let known = self.namespaces.get(name);
        match (known, create) {
            (Some(_), Some(true)) => return Err(Refusal::NamespaceExists),
            (None, Some(false)) => return Err(Refusal::UnknownNamespace),
            (None, _) if self.namespaces.len() >= Limits::NAMESPACES_MAX => {
                return Err(Refusal::TooManyNamespaces { max: Limits::NAMESPACES_MAX as u64 });
            }
            _ => {}
        }
        let policy = known.map_or_else(Policy::default, |known| known.policy.clone()).changed(change);
        if let Some((name, min, max)) = policy.out_of_range() {
            return Err(Refusal::PolicyOutOfRange { name: Cow::Borrowed(name), min, max });
        }
        let created = known.is_none();
        let namespace = match known {
            Some(known) => Namespace { policy, ..known.clone() },
            None => Namespace { id: self.next_namespace, policy, counters: Counters::default() },
        };
        if let Some(known) = known {
            self.small_digest.remove(known.digest(name));
        } else {
            self.next_namespace += 1;
            self.namespace_names.insert(namespace.id, name.into());
            self.events.open(namespace.id, self.index);
        }
        self.small_digest.add(namespace.digest(name));
        self.events.trim(namespace.id, &namespace.policy);
        Arc::make_mut(&mut self.namespaces).insert(name.into(), namespace);
        Ok(Outcome::NamespacePut { created })
    }

    /// Ends all sessions of a namespace at once; they are reaped later. One of the same name may come at once: it has
    /// another number.
    pub(super) fn delete_namespace(&mut self, name: &str) -> Result<Outcome, Refusal> {
        if name == DEFAULT_NAMESPACE {
            return Err(Refusal::NamespaceRequired);
        }
        let removed = Arc::make_mut(&mut self.namespaces).remove(name).ok_or(Refusal::UnknownNamespace)?;
        self.small_digest.remove(removed.digest(name));
        self.namespace_names.remove(&removed.id);
        self.events.close(removed.id);
        self.revocations.close(removed.id);
        Ok(Outcome::Done)
    }
}
