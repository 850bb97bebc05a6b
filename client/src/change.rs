//! What is written.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;

use crate::id::SessionId;

/// In whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A session to be created. What is left out, the namespace's policy fills in.
#[derive(Clone, Default)]
#[must_use]
pub struct NewSession {
    pub(crate) id: Option<SessionId>,
    pub(crate) attributes: BTreeMap<String, Bytes>,
    pub(crate) principal: String,
    pub(crate) timeouts: v1::Timeouts,
}

impl NewSession {
    /// Empty, with a random id.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses this id instead of a random one.
    pub fn id(mut self, id: SessionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Adds an attribute.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Adds attributes.
    pub fn attributes<N: Into<String>, V: Into<Bytes>>(
        mut self,
        attributes: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.attributes.extend(attributes.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Names the signed-in user.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = principal.into();
        self
    }

    /// Lets it expire after this long without a touch.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.idle_ms = Some(millis(timeout));
        self
    }

    /// Lets it expire this long after now.
    pub fn absolute_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.absolute_ms = Some(millis(timeout));
        self
    }
}

/// Sets some attributes and removes others; all else stays. Parallel patches of different attributes both win.
#[derive(Clone, Default)]
#[must_use]
pub struct Patch {
    set: BTreeMap<String, Bytes>,
    remove: Vec<String>,
}

impl Patch {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an attribute.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.set.insert(name.into(), value.into());
        self
    }

    /// Removes an attribute; one that is not there is ignored.
    pub fn remove(mut self, name: impl Into<String>) -> Self {
        self.remove.push(name.into());
        self
    }
}

/// A change of a session: of its attributes, and of what else is set.
#[derive(Clone, Default)]
#[must_use]
pub struct Write {
    pub(crate) change: Option<v1::write_request::Change>,
    pub(crate) if_version: Option<u64>,
    pub(crate) principal: Option<String>,
    pub(crate) timeouts: Option<v1::Timeouts>,
    pub(crate) fence: Option<u64>,
    pub(crate) release: bool,
}

impl Write {
    /// Leaves the attributes as they are.
    pub fn keep() -> Self {
        Self::default()
    }

    /// These attributes and no others.
    pub fn replace<N: Into<String>, V: Into<Bytes>>(attributes: impl IntoIterator<Item = (N, V)>) -> Self {
        let attributes = attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let change = v1::write_request::Change::Replace(v1::Attributes { attributes });
        Write { change: Some(change), ..Self::default() }
    }

    /// Some attributes set or removed.
    pub fn patch(patch: Patch) -> Self {
        let change = v1::write_request::Change::Patch(v1::Patch { set: patch.set, remove: patch.remove });
        Write { change: Some(change), ..Self::default() }
    }

    /// Refuses the write unless the session has this version.
    pub fn if_version(mut self, version: u64) -> Self {
        self.if_version = Some(version);
        self
    }

    /// Names the signed-in user; empty signs out.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Changes the idle timeout.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.get_or_insert_default().idle_ms = Some(millis(timeout));
        self
    }

    /// Changes the absolute timeout.
    pub fn absolute_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.get_or_insert_default().absolute_ms = Some(millis(timeout));
        self
    }

    /// Refuses the write unless the session's lock is held with this token. Without one it is refused while anybody holds
    /// the lock.
    pub fn fence(mut self, fence: u64) -> Self {
        self.fence = Some(fence);
        self
    }

    /// Gives the lock back in the same step. Needs a [fence](Self::fence).
    pub fn release(mut self) -> Self {
        self.release = true;
        self
    }
}

/// Attribute values are personal data: `Debug` shows their names alone.
impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession")
            .field("attributes", &self.attributes.keys())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patch").field("set", &self.set.keys()).field("remove", &self.remove).finish()
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Write");
        match &self.change {
            Some(v1::write_request::Change::Replace(all)) => shown.field("replace", &all.attributes.keys()),
            Some(v1::write_request::Change::Patch(patch)) => {
                shown.field("set", &patch.set.keys()).field("remove", &patch.remove)
            }
            None => &mut shown,
        };
        shown
            .field("if_version", &self.if_version)
            .field("timeouts", &self.timeouts)
            .field("fence", &self.fence)
            .field("release", &self.release)
            .finish_non_exhaustive()
    }
}
