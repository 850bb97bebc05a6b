//! What watchers are told.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use quorate_proto::v1;

use crate::cursor::Cursor;

/// Something that happened to a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// What to resume behind: see [`WatchOptions::after`](crate::WatchOptions::after).
    pub cursor: Cursor,
    /// Which session.
    pub handle: String,
    /// Its handle from now on, when it was renamed.
    pub new_handle: Option<String>,
    /// The signed-in user after the event, or empty.
    pub principal: String,
    /// The one before, where the event changed it.
    pub previous_principal: Option<String>,
    /// The session's version.
    pub version: u64,
    /// Why it ended, where it did.
    pub reason: Option<EndReason>,
    /// When: milliseconds since the Unix epoch, by the cluster's clock.
    pub at_ms: u64,
    /// The last ones, where the session ended.
    pub attributes: BTreeMap<String, Bytes>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A session was created.
    Created,
    /// Its attributes, principal or timeouts changed. Touches and locks are no events.
    Updated,
    /// It has another id.
    Renamed,
    /// It was ended.
    Deleted,
    /// A timeout of it passed.
    Expired,
    /// Something that this version of the library does not know.
    Other,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// It was deleted.
    Logout,
    /// All of its principal's sessions were.
    Revoked,
    /// Its principal had as many as it may have, and this was the oldest.
    PrincipalLimit,
    /// Nobody touched it for too long.
    IdleTimeout,
    /// It was there for too long.
    AbsoluteTimeout,
    /// Something that this version of the library does not know.
    Other,
}

/// Attribute values are personal data: shows their names alone, and no principal.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("kind", &self.kind)
            .field("cursor", &self.cursor)
            .field("handle", &self.handle)
            .field("new_handle", &self.new_handle)
            .field("version", &self.version)
            .field("reason", &self.reason)
            .field("at_ms", &self.at_ms)
            .field("attributes", &self.attributes.keys())
            .finish_non_exhaustive()
    }
}

impl From<v1::Event> for Event {
    fn from(wire: v1::Event) -> Self {
        let (kind, reason) = (EventKind::from_wire(wire.kind()), EndReason::from_wire(wire.reason));
        Event {
            kind,
            cursor: wire.cursor.unwrap_or_default().into(),
            handle: wire.handle,
            new_handle: Some(wire.new_handle).filter(|handle| !handle.is_empty()),
            principal: wire.principal,
            previous_principal: wire.previous_principal,
            version: wire.version,
            reason,
            at_ms: wire.at_ms,
            attributes: wire.attributes,
        }
    }
}

impl EventKind {
    fn from_wire(kind: v1::EventKind) -> Self {
        match kind {
            v1::EventKind::Created => EventKind::Created,
            v1::EventKind::Updated => EventKind::Updated,
            v1::EventKind::Renamed => EventKind::Renamed,
            v1::EventKind::Deleted => EventKind::Deleted,
            v1::EventKind::Expired => EventKind::Expired,
            v1::EventKind::Unspecified => EventKind::Other,
        }
    }

    pub(crate) fn into_wire(self) -> v1::EventKind {
        match self {
            EventKind::Created => v1::EventKind::Created,
            EventKind::Updated => v1::EventKind::Updated,
            EventKind::Renamed => v1::EventKind::Renamed,
            EventKind::Deleted => v1::EventKind::Deleted,
            EventKind::Expired => v1::EventKind::Expired,
            EventKind::Other => v1::EventKind::Unspecified,
        }
    }
}

impl EndReason {
    fn from_wire(reason: i32) -> Option<Self> {
        match v1::EndReason::try_from(reason) {
            Ok(v1::EndReason::Unspecified) => None,
            Ok(v1::EndReason::Logout) => Some(EndReason::Logout),
            Ok(v1::EndReason::Revoked) => Some(EndReason::Revoked),
            Ok(v1::EndReason::PrincipalLimit) => Some(EndReason::PrincipalLimit),
            Ok(v1::EndReason::IdleTimeout) => Some(EndReason::IdleTimeout),
            Ok(v1::EndReason::AbsoluteTimeout) => Some(EndReason::AbsoluteTimeout),
            Err(_) => Some(EndReason::Other),
        }
    }
}
