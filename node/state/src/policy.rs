//! What a namespace allows, and the limits that hold everywhere.

use serde::{Deserialize, Serialize};

use crate::session::Timeouts;
use crate::time::Millis;

/// A namespace's number in the records; its name stands once, in the namespace table. Never used twice.
pub type NamespaceId = u32;

/// A namespace's policy: part of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For sessions that name none of their own.
    pub default_timeouts: Timeouts,
    /// The longest idle timeout a session may have. Below a year and a day it is what one has that names none, where there is no
    /// default.
    pub idle_ms_max: Millis,
    /// The longest absolute timeout a session may have: as for the idle one.
    pub absolute_ms_max: Millis,
    /// Attribute names and values together, in bytes.
    pub session_bytes_max: u64,
    /// Attributes of one session.
    pub attributes_max: u32,
    /// How long a deleted id is refused to Create.
    pub tombstone_ms: Millis,
    /// Quotas, and what is kept for watchers.
    pub more: MorePolicy,
}

/// The part of a policy that the first format did not have. The default is what held then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MorePolicy {
    /// The idle timeout is at most this while a session has no principal.
    pub anonymous_idle_ms: Option<Millis>,
    /// The granule of sessions with an idle timeout; `None`: see [`Policy::granule_ms`].
    pub granule_ms: Option<Millis>,
    /// Sessions at once.
    pub sessions_max: Option<u64>,
    /// Attribute names and values of all sessions together, in bytes.
    pub bytes_max: Option<u64>,
    /// Sessions of one principal at once.
    pub principal_sessions_max: Option<u32>,
    /// What happens to one more.
    pub principal_overflow: Overflow,
    /// Events kept for watchers.
    pub events_max: u32,
    /// And their bytes.
    pub events_bytes_max: u64,
}

/// What happens when a principal signs in once too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// The new session is refused.
    #[default]
    Refuse,
    /// The session that signed in first is ended.
    EndOldest,
}

/// A change of a policy: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// See [`Policy::default_timeouts`].
    pub default_idle_ms: Option<Option<Millis>>,
    /// See [`Policy::default_timeouts`].
    pub default_absolute_ms: Option<Option<Millis>>,
    /// See [`Policy::idle_ms_max`].
    pub idle_ms_max: Option<Millis>,
    /// See [`Policy::absolute_ms_max`].
    pub absolute_ms_max: Option<Millis>,
    /// See [`Policy::session_bytes_max`].
    pub session_bytes_max: Option<u64>,
    /// See [`Policy::attributes_max`].
    pub attributes_max: Option<u32>,
    /// See [`Policy::tombstone_ms`].
    pub tombstone_ms: Option<Millis>,
    /// See [`MorePolicy::anonymous_idle_ms`].
    pub anonymous_idle_ms: Option<Option<Millis>>,
    /// See [`MorePolicy::granule_ms`].
    pub granule_ms: Option<Option<Millis>>,
    /// See [`MorePolicy::sessions_max`].
    pub sessions_max: Option<Option<u64>>,
    /// See [`MorePolicy::bytes_max`].
    pub bytes_max: Option<Option<u64>>,
    /// See [`MorePolicy::principal_sessions_max`].
    pub principal_sessions_max: Option<Option<u32>>,
    /// See [`MorePolicy::principal_overflow`].
    pub principal_overflow: Option<Overflow>,
    /// See [`MorePolicy::events_max`].
    pub events_max: Option<u32>,
    /// See [`MorePolicy::events_bytes_max`].
    pub events_bytes_max: Option<u64>,
}

/// One year and a day.
const LONGEST_MS: Millis = 366 * 24 * 3_600_000;

impl Default for Policy {
    fn default() -> Self {
        Policy {
            default_timeouts: Timeouts { idle_ms: Some(20 * 60_000), absolute_ms: None },
            idle_ms_max: LONGEST_MS,
            absolute_ms_max: LONGEST_MS,
            session_bytes_max: Limits::SESSION_BYTES_MAX,
            attributes_max: 256,
            tombstone_ms: 60_000,
            more: MorePolicy::default(),
        }
    }
}

impl Default for MorePolicy {
    fn default() -> Self {
        MorePolicy {
            anonymous_idle_ms: None,
            granule_ms: None,
            sessions_max: None,
            bytes_max: None,
            principal_sessions_max: None,
            principal_overflow: Overflow::Refuse,
            events_max: 100_000,
            events_bytes_max: 64 << 20,
        }
    }
}

impl Policy {
    /// The granule that a session with this idle timeout gets: the policy's own, but no more than the timeout; else a
    /// twentieth of the timeout. At least 1 s.
    #[must_use]
    pub fn granule_ms(&self, idle_ms: Option<Millis>) -> Millis {
        let Some(idle) = idle_ms else { return 0 };
        self.more.granule_ms.map_or(idle / 20, |granule| granule.min(idle)).max(1_000)
    }

    /// The idle timeout that holds for a session of `own` timeout: a shorter one while nobody is signed in.
    #[must_use]
    pub fn effective_idle_ms(&self, own: Option<Millis>, principal: &str) -> Option<Millis> {
        match (own, self.more.anonymous_idle_ms) {
            (own, Some(anonymous)) if principal.is_empty() => {
                Some(own.map_or(anonymous, |own| own.min(anonymous)))
            }
            (own, _) => own,
        }
    }

    /// A new session's timeouts: its own, else the defaults; else the longest, where the policy bounds them at all, or a
    /// session that names none would outlive all others.
    #[must_use]
    pub fn filled_in(&self, own: Timeouts) -> Timeouts {
        let bound = |max_ms: Millis| Some(max_ms).filter(|max_ms| *max_ms < LONGEST_MS);
        let defaults = self.default_timeouts;
        Timeouts {
            idle_ms: own.idle_ms.or(defaults.idle_ms).or(bound(self.idle_ms_max)),
            absolute_ms: own.absolute_ms.or(defaults.absolute_ms).or(bound(self.absolute_ms_max)),
        }
    }

    /// With a change.
    #[must_use]
    pub fn changed(&self, change: &PolicyChange) -> Policy {
        let (now, more) = (self, &self.more);
        let timeouts = Timeouts {
            idle_ms: change.default_idle_ms.unwrap_or(now.default_timeouts.idle_ms),
            absolute_ms: change.default_absolute_ms.unwrap_or(now.default_timeouts.absolute_ms),
        };
        Policy {
            default_timeouts: timeouts,
            idle_ms_max: change.idle_ms_max.unwrap_or(now.idle_ms_max),
            absolute_ms_max: change.absolute_ms_max.unwrap_or(now.absolute_ms_max),
            session_bytes_max: change.session_bytes_max.unwrap_or(now.session_bytes_max),
            attributes_max: change.attributes_max.unwrap_or(now.attributes_max),
            tombstone_ms: change.tombstone_ms.unwrap_or(now.tombstone_ms),
            more: MorePolicy {
                anonymous_idle_ms: change.anonymous_idle_ms.unwrap_or(more.anonymous_idle_ms),
                granule_ms: change.granule_ms.unwrap_or(more.granule_ms),
                sessions_max: change.sessions_max.unwrap_or(more.sessions_max),
                bytes_max: change.bytes_max.unwrap_or(more.bytes_max),
                principal_sessions_max: change.principal_sessions_max.unwrap_or(more.principal_sessions_max),
                principal_overflow: change.principal_overflow.unwrap_or(more.principal_overflow),
                events_max: change.events_max.unwrap_or(more.events_max),
                events_bytes_max: change.events_bytes_max.unwrap_or(more.events_bytes_max),
            },
        }
    }

    /// The first setting that is out of its range: its name, and the least and the most allowed.
    #[must_use]
    pub fn out_of_range(&self) -> Option<(&'static str, u64, u64)> {
        let second = Limits::TIMEOUT_MS_MIN;
        let more = &self.more;
        let within = |name, value: Option<u64>, min: u64, max: u64| {
            value.filter(|value| !(min..=max).contains(value)).map(|_| (name, min, max))
        };
        let limit = u64::from(Limits::PRINCIPAL_SESSIONS_MAX);
        within("longest_idle_ms", Some(self.idle_ms_max), second, LONGEST_MS)
            .or_else(|| within("longest_absolute_ms", Some(self.absolute_ms_max), second, LONGEST_MS))
            .or_else(|| within("default_idle_ms", self.default_timeouts.idle_ms, second, self.idle_ms_max))
            .or_else(|| {
                within("default_absolute_ms", self.default_timeouts.absolute_ms, second, self.absolute_ms_max)
            })
            .or_else(|| within("anonymous_idle_ms", more.anonymous_idle_ms, second, self.idle_ms_max))
            .or_else(|| within("granule_ms", more.granule_ms, second, self.idle_ms_max))
            .or_else(|| {
                within("session_bytes_max", Some(self.session_bytes_max), 1, Limits::SESSION_BYTES_MAX)
            })
            .or_else(|| {
                within("attributes_max", Some(self.attributes_max.into()), 1, Limits::ATTRIBUTES_MAX as u64)
            })
            .or_else(|| within("tombstone_ms", Some(self.tombstone_ms), second, Limits::TOMBSTONE_MS_MAX))
            .or_else(|| within("sessions_max", more.sessions_max, 1, u64::MAX))
            .or_else(|| within("bytes_max", more.bytes_max, 1, u64::MAX))
            .or_else(|| {
                within("principal_sessions_max", more.principal_sessions_max.map(u64::from), 1, limit)
            })
            .or_else(|| within("events_max", Some(more.events_max.into()), 0, Limits::EVENTS_MAX.into()))
            .or_else(|| {
                within("events_bytes_max", Some(more.events_bytes_max), 0, Limits::EVENTS_BYTES_TOTAL_MAX)
            })
    }
}

/// Limits that no policy can lift.
#[derive(Debug)]
pub struct Limits;

impl Limits {
    /// The shortest timeout of either kind.
    pub const TIMEOUT_MS_MIN: Millis = 1_000;
    /// A namespace's name, in bytes; ASCII letters, digits, `-`, `_` and `.`.
    pub const NAMESPACE_BYTES_MAX: usize = 64;
    /// Namespaces at once.
    pub const NAMESPACES_MAX: usize = 1_024;
    /// An attribute's name, in bytes.
    pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
    /// Attributes of one session.
    pub const ATTRIBUTES_MAX: usize = 256;
    /// Attribute names and values of one session together, in bytes.
    pub const SESSION_BYTES_MAX: u64 = 1 << 20;
    /// A principal, in bytes.
    pub const PRINCIPAL_BYTES_MAX: usize = 256;
    /// The most that a namespace can allow a principal.
    pub const PRINCIPAL_SESSIONS_MAX: u32 = 1_000;
    /// The longest that a namespace can refuse a deleted id. No quota counts tombstones: this bounds what they take.
    pub const TOMBSTONE_MS_MAX: Millis = 600_000;
    /// The shortest lease of a lock.
    pub const LEASE_MS_MIN: Millis = 1_000;
    /// The longest.
    pub const LEASE_MS_MAX: Millis = 3_600_000;
    /// A lock's lease when its taker names none.
    pub const LEASE_MS_DEFAULT: Millis = 30_000;
    /// The longest wait for a lock.
    pub const WAIT_MS_MAX: Millis = 60_000;
    /// Who waits for one lock.
    pub const WAITERS_MAX: usize = 1_024;
    /// How long a lock that came to a waiter's turn waits for it.
    pub const CLAIM_MS: Millis = 2_000;
    /// What a lock's holder calls itself, in bytes.
    pub const OWNER_BYTES_MAX: usize = 128;
    /// The most events that a namespace can keep.
    pub const EVENTS_MAX: u32 = 1_000_000;
    /// Events of all namespaces together, in bytes: beyond it the namespace with most loses its oldest.
    pub const EVENTS_BYTES_TOTAL_MAX: u64 = 256 << 20;
    /// Principals whose sessions are revoked and not all reaped yet.
    pub const REVOCATIONS_MAX: usize = 10_000;
    /// Sessions touched by one entry.
    pub const TOUCHES_MAX: usize = 1_000;
    /// Outcomes kept for one client beyond its lowest unanswered sequence.
    pub const OUTCOMES_MAX: u64 = 4_096;
    /// Outcomes kept for all clients together: about 100 bytes each. When there are more, clients that have been idle
    /// for [`Limits::CLIENT_SPARED_MS`] are forgotten; while that is not enough, a client keeps no more than
    /// [`Limits::OUTCOMES_SPARED`].
    pub const OUTCOMES_TOTAL_MAX: u64 = 1 << 21;
    /// Outcomes that a client may have kept however many others have.
    pub const OUTCOMES_SPARED: u64 = 16;
    /// Client handles open at once. For one more the one unused for longest is forgotten, if it has been idle for
    /// [`Limits::CLIENT_SPARED_MS`].
    pub const CLIENTS_MAX: usize = 100_000;
    /// A client handle used within this time is never forgotten to make room.
    pub const CLIENT_SPARED_MS: Millis = 5 * 60_000;
    /// A client handle unused for this long is forgotten.
    pub const CLIENT_IDLE_MS: Millis = 3_600_000;
    /// How long the old id of a regenerated session answers "renamed" and is refused to Create.
    pub const RENAMED_MS: Millis = 60_000;
    /// Sessions named by one Reap.
    pub const REAP_MAX: usize = 1_000;
}
