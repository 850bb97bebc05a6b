//! Which sessions an operation is about: what a stream keeps in order.

use std::sync::Arc;

use quorate_state::{Command, Operation, SessionKey};

use super::{Request, Work};

/// The sessions an operation is about, each once. Revocations, lists and all that is about namespaces are about none: a
/// stream puts them in no order with what it does to single sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keys {
    #[default]
    None,
    One([SessionKey; 1]),
    Two([SessionKey; 2]),
    Many(Arc<[SessionKey]>),
}

impl Keys {
    pub(crate) fn one(key: SessionKey) -> Self {
        Keys::One([key])
    }

    pub(crate) fn two(key: SessionKey, other: SessionKey) -> Self {
        if key == other { Keys::one(key) } else { Keys::Two([key, other]) }
    }

    pub(crate) fn many(keys: &[SessionKey]) -> Self {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() { Keys::None } else { Keys::Many(keys.into()) }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = SessionKey> {
        let keys: &[SessionKey] = match self {
            Keys::None => &[],
            Keys::One(keys) => keys,
            Keys::Two(keys) => keys,
            Keys::Many(keys) => keys,
        };
        keys.iter().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Keys::None
    }
}

impl Request {
    /// The sessions it is about.
    pub(crate) fn keys(&self) -> Keys {
        match &self.work {
            Work::Read(read) => Keys::one(read.key),
            Work::Mutate { command: Command::Operate { operation, .. }, .. } => match operation {
                Operation::Create(create) => Keys::one(create.key),
                Operation::Write(write) => Keys::one(write.key),
                Operation::Lock(lock) => Keys::one(lock.key),
                Operation::Unlock(waiter) => Keys::one(waiter.key),
                Operation::Touch { key, .. }
                | Operation::Delete { key, .. }
                | Operation::BreakLock { key, .. } => Keys::one(*key),
                Operation::Regenerate(regenerate) => Keys::two(regenerate.key, regenerate.new_key),
                Operation::TouchMany { keys, .. } => Keys::many(keys),
                Operation::Revoke(revoke) => revoke.except.map_or(Keys::None, Keys::one),
                Operation::PutNamespace { .. } | Operation::DeleteNamespace { .. } => Keys::None,
            },
            Work::OpenClient | Work::Mutate { .. } | Work::Query { .. } => Keys::None,
        }
    }
}
