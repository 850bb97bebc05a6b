//! What a namespace allows.

use std::time::Duration;

use quorate_proto::v1;

use crate::change::millis;

/// What a namespace allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For sessions that name no idle timeout of their own; `None`: they have none.
    pub default_idle: Option<Duration>,
    /// For sessions that name no absolute timeout of their own; `None`: they have none.
    pub default_absolute: Option<Duration>,
    /// The longest idle timeout of a session, also of one that names none.
    pub longest_idle: Duration,
    /// The longest absolute timeout of a session, also of one that names none.
    pub longest_absolute: Duration,
    /// While a session has no principal its idle timeout is at most this.
    pub anonymous_idle: Option<Duration>,
    /// A touch younger than half of this is not replicated, so a session may live this much longer. `None`: a twentieth
    /// of the idle timeout.
    pub granule: Option<Duration>,
    /// Attribute names and values of one session together, bytes.
    pub session_bytes_max: u64,
    /// Attributes of one session.
    pub attributes_max: u32,
    /// Sessions at once.
    pub sessions_max: Option<u64>,
    /// Attribute names and values of all sessions together, bytes.
    pub bytes_max: Option<u64>,
    /// Sessions of one principal at once.
    pub principal_sessions_max: Option<u32>,
    /// What happens to one more.
    pub principal_overflow: PrincipalOverflow,
    /// How long a deleted id is refused to a create.
    pub tombstone: Duration,
    /// Events kept for watchers.
    pub events_max: u32,
    /// Their bytes.
    pub events_bytes_max: u64,
}

/// What happens when a principal has as many sessions as it may have, and one more comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrincipalOverflow {
    /// The new one is refused.
    #[default]
    Refuse,
    /// The principal's oldest sign-in is ended, and watchers are told.
    EndOldest,
}

/// A change of a policy, or the policy of a new namespace: what is not named stays as it is, or gets its default.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct PolicyChange {
    wire: v1::Policy,
}

/// Zero is how the wire says that there is none.
fn timeout(timeout: impl Into<Option<Duration>>) -> Option<u64> {
    // A limit of less than a millisecond is no missing limit.
    Some(timeout.into().map_or(0, |timeout| millis(timeout).max(1)))
}

impl PolicyChange {
    /// Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The idle timeout of sessions that name none; `None`: without one.
    pub fn default_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.wire.default_idle_ms = timeout(idle);
        self
    }

    /// The absolute timeout of sessions that name none; `None`: without one.
    pub fn default_absolute(mut self, absolute: impl Into<Option<Duration>>) -> Self {
        self.wire.default_absolute_ms = timeout(absolute);
        self
    }

    /// The longest idle timeout of a session, also of one that names none.
    pub fn longest_idle(mut self, idle: Duration) -> Self {
        self.wire.longest_idle_ms = Some(millis(idle));
        self
    }

    /// The longest absolute timeout of a session, also of one that names none.
    pub fn longest_absolute(mut self, absolute: Duration) -> Self {
        self.wire.longest_absolute_ms = Some(millis(absolute));
        self
    }

    /// The longest idle timeout of a session without a principal; `None`: as any other.
    pub fn anonymous_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.wire.anonymous_idle_ms = timeout(idle);
        self
    }

    /// How exact the idle deadlines of new sessions are; `None`: to a twentieth of the idle timeout, 1 s at least.
    pub fn granule(mut self, granule: impl Into<Option<Duration>>) -> Self {
        self.wire.granule_ms = timeout(granule);
        self
    }

    /// Attribute names and values of one session together: 1 MiB at most.
    pub fn session_bytes_max(mut self, bytes: u64) -> Self {
        self.wire.session_bytes_max = Some(bytes);
        self
    }

    /// Attributes of one session: 256 at most.
    pub fn attributes_max(mut self, attributes: u32) -> Self {
        self.wire.attributes_max = Some(attributes);
        self
    }

    /// Sessions at once; `None`: no limit.
    pub fn sessions_max(mut self, sessions: impl Into<Option<u64>>) -> Self {
        self.wire.sessions_max = Some(sessions.into().unwrap_or(0));
        self
    }

    /// Attribute names and values of all sessions together; `None`: no limit.
    pub fn bytes_max(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.wire.bytes_max = Some(bytes.into().unwrap_or(0));
        self
    }

    /// Sessions of one principal at once, 1,000 at most; `None`: no limit.
    pub fn principal_sessions_max(mut self, sessions: impl Into<Option<u32>>) -> Self {
        self.wire.principal_sessions_max = Some(sessions.into().unwrap_or(0));
        self
    }

    /// What happens to one more.
    pub fn principal_overflow(mut self, overflow: PrincipalOverflow) -> Self {
        let wire = match overflow {
            PrincipalOverflow::Refuse => v1::PrincipalOverflow::Refuse,
            PrincipalOverflow::EndOldest => v1::PrincipalOverflow::EndOldest,
        };
        self.wire.principal_overflow = Some(wire.into());
        self
    }

    /// How long a deleted id is refused to a create: 1 s to 1 h.
    pub fn tombstone(mut self, time: Duration) -> Self {
        self.wire.tombstone_ms = Some(millis(time));
        self
    }

    /// Events kept for watchers: 1,000,000 at most.
    pub fn events_max(mut self, events: u32) -> Self {
        self.wire.events_max = Some(events);
        self
    }

    /// Their bytes: 256 MiB at most.
    pub fn events_bytes_max(mut self, bytes: u64) -> Self {
        self.wire.events_bytes_max = Some(bytes);
        self
    }

    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wire == v1::Policy::default()
    }

    pub(crate) fn into_wire(self) -> v1::Policy {
        self.wire
    }
}

impl From<v1::Policy> for Policy {
    fn from(wire: v1::Policy) -> Self {
        let limit = |value: Option<u64>| value.filter(|value| *value > 0);
        let timeout = |ms| limit(ms).map(Duration::from_millis);
        let time = |ms: Option<u64>| Duration::from_millis(ms.unwrap_or_default());
        let principal_overflow = match wire.principal_overflow() {
            v1::PrincipalOverflow::EndOldest => PrincipalOverflow::EndOldest,
            v1::PrincipalOverflow::Refuse | v1::PrincipalOverflow::Unspecified => PrincipalOverflow::Refuse,
        };
        Policy {
            default_idle: timeout(wire.default_idle_ms),
            default_absolute: timeout(wire.default_absolute_ms),
            longest_idle: time(wire.longest_idle_ms),
            longest_absolute: time(wire.longest_absolute_ms),
            anonymous_idle: timeout(wire.anonymous_idle_ms),
            granule: timeout(wire.granule_ms),
            session_bytes_max: wire.session_bytes_max.unwrap_or_default(),
            attributes_max: wire.attributes_max.unwrap_or_default(),
            sessions_max: limit(wire.sessions_max),
            bytes_max: limit(wire.bytes_max),
            principal_sessions_max: wire.principal_sessions_max.filter(|sessions| *sessions > 0),
            principal_overflow,
            tombstone: time(wire.tombstone_ms),
            events_max: wire.events_max.unwrap_or_default(),
            events_bytes_max: wire.events_bytes_max.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_no_limit_and_what_is_not_named_is_not_sent() {
        let minute = Duration::from_secs(60);
        let change = PolicyChange::new().default_idle(minute).default_absolute(None).sessions_max(7);
        let wire = change.into_wire();
        assert_eq!((wire.default_idle_ms, wire.default_absolute_ms), (Some(60_000), Some(0)));
        assert_eq!((wire.sessions_max, wire.bytes_max, wire.longest_idle_ms), (Some(7), None, None));
        let policy = Policy::from(wire);
        assert_eq!((policy.default_idle, policy.default_absolute), (Some(minute), None));
        assert!(PolicyChange::new().is_empty() && !PolicyChange::new().events_max(0).is_empty());
        let tiny = PolicyChange::new().anonymous_idle(Duration::from_micros(1)).into_wire();
        assert_eq!(tiny.anonymous_idle_ms, Some(1), "no missing limit");
    }
}
