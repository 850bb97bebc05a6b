//! One session's record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::EndReason;
use crate::lock::{self, Fence, Lock, Turn};
use crate::policy::NamespaceId;
use crate::time::{Clocks, ClusterTime, Millis, ServedTime};

/// Counts the changes of a session's attributes, principal or timeouts; starts at 1. Touches do not count.
pub type Version = u64;

/// Attribute names and values, ordered by name. Values are copies that pin no network buffer.
pub type Attributes = BTreeMap<Box<str>, Bytes>;

/// How long a session lives. `None` means without that limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Without a touch for this long, on served time, it expires.
    pub idle_ms: Option<Millis>,
    /// This long after creation, on cluster time, it expires however busy.
    pub absolute_ms: Option<Millis>,
}

/// A live session. `Debug` shows neither attributes nor principal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The namespace it belongs to.
    pub namespace: NamespaceId,
    /// See [`Version`].
    pub version: Version,
    /// When it was created.
    pub created: ClusterTime,
    /// Its timeouts, fixed here so that a policy change cannot shorten what was promised.
    pub timeouts: Timeouts,
    /// The idle timeout that holds: its own, or a shorter one while nobody is signed in.
    pub idle_ms: Option<Millis>,
    /// A touch younger than half of this need not be replicated; 0 without an idle timeout.
    pub granule_ms: Millis,
    /// The last replicated touch.
    pub last_touch: ServedTime,
    /// The signed-in user, or empty.
    pub principal: Box<str>,
    /// The log index of the entry that signed it in; 0 without a principal.
    pub signed_in: u64,
    /// Its lock, as of the last entry that had to do with it: ask [`Session::lock_at`].
    pub lock: Option<Box<Lock>>,
    /// Shared with frozen views.
    pub attributes: Arc<Attributes>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("namespace", &self.namespace)
            .field("version", &self.version)
            .field("created", &self.created)
            .field("timeouts", &self.timeouts)
            .field("idle_ms", &self.idle_ms)
            .field("granule_ms", &self.granule_ms)
            .field("last_touch", &self.last_touch)
            .field("attributes", &self.attributes.len())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// When it expires for idleness: `last_touch + idle + granule`, on served time.
    #[must_use]
    pub fn idle_due(&self) -> Option<ServedTime> {
        let idle = self.idle_ms?;
        Some(ServedTime(self.last_touch.0.saturating_add(idle).saturating_add(self.granule_ms)))
    }

    /// When it expires for age: `created + absolute`, on cluster time.
    #[must_use]
    pub fn absolute_due(&self) -> Option<ClusterTime> {
        Some(ClusterTime(self.created.0.saturating_add(self.timeouts.absolute_ms?)))
    }

    /// Whether either clock has reached its deadline.
    #[must_use]
    pub fn is_expired(&self, now: Clocks) -> bool {
        self.idle_due().is_some_and(|due| due <= now.served)
            || self.absolute_due().is_some_and(|due| due <= now.cluster)
    }

    /// Milliseconds until the earlier deadline (without the granule, which is slack, not a promise), or `None`.
    #[must_use]
    pub fn remaining_ms(&self, now: Clocks) -> Option<Millis> {
        let idle =
            self.idle_ms.map(|idle| self.last_touch.0.saturating_add(idle).saturating_sub(now.served.0));
        let absolute = self.absolute_due().map(|due| due.0.saturating_sub(now.cluster.0));
        idle.into_iter().chain(absolute).min()
    }

    /// Whether a touch at `now` must be replicated: it is later than the last one by more than half the granule.
    #[must_use]
    pub fn needs_touch(&self, now: Clocks) -> bool {
        self.idle_ms.is_some() && now.served.0.saturating_sub(self.last_touch.0) > self.granule_ms / 2
    }

    /// The lock at `now`: a lapsed one is free, or granted to the next in line.
    #[must_use]
    pub fn lock_at(&self, now: ClusterTime) -> Option<Cow<'_, Lock>> {
        match lock::settled(&self.lock, now) {
            Cow::Borrowed(lock) => lock.as_deref().map(Cow::Borrowed),
            Cow::Owned(lock) => lock.map(|lock| Cow::Owned(*lock)),
        }
    }

    /// How the waiter of a token stands at `now`.
    #[must_use]
    pub fn turn_at(&self, fence: Fence, now: ClusterTime) -> Turn {
        lock::turn(&lock::settled(&self.lock, now), fence, now)
    }

    /// Why it is expired, if it is.
    #[must_use]
    pub fn expiry(&self, now: Clocks) -> Option<EndReason> {
        if self.absolute_due().is_some_and(|due| due <= now.cluster) {
            Some(EndReason::Absolute)
        } else if self.idle_due().is_some_and(|due| due <= now.served) {
            Some(EndReason::Idle)
        } else {
            None
        }
    }
}
