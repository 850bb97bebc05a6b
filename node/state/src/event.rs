//! What watchers are told.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::key::SessionKey;
use crate::policy::NamespaceId;
use crate::record::attributes_digest;
use crate::session::{Attributes, Version};
use crate::time::ClusterTime;

/// A place among a namespace's events: the log index of the entry that caused one, and its number among those of the
/// namespace that the entry caused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// The log index.
    pub index: u64,
    /// From 0.
    pub ordinal: u32,
}

/// One change of one session. `Debug` shows neither attributes nor principals.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place; rises from event to event.
    pub cursor: Cursor,
    /// Cluster time.
    pub at: ClusterTime,
    /// The session; for a renamed one the old key.
    pub key: SessionKey,
    /// Its version after the event.
    pub version: Version,
    /// The signed-in user after the event, or empty.
    pub principal: Box<str>,
    /// What happened.
    pub what: Happening,
}

/// What can happen to a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// It was created.
    Created,
    /// Attributes, principal or timeouts changed.
    Updated {
        /// Where the principal changed: who it was.
        previous_principal: Option<Box<str>>,
    },
    /// It has another key.
    Renamed {
        /// The one it has now.
        to: SessionKey,
    },
    /// It is gone.
    Ended {
        /// Why.
        why: EndReason,
        /// What it held.
        attributes: Arc<Attributes>,
    },
}

/// Why a session is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// Deleted.
    Logout,
    /// Revoked with others of its principal.
    Revoked,
    /// Its principal signed in elsewhere once too often.
    PrincipalLimit,
    /// Its idle timeout ended.
    Idle,
    /// Its absolute timeout ended.
    Absolute,
}

impl Cursor {
    /// Behind all events of an entry.
    #[must_use]
    pub fn behind(index: u64) -> Cursor {
        Cursor { index, ordinal: u32::MAX }
    }
}

/// What is hashed for an event.
#[derive(Serialize)]
struct Item<'a> {
    namespace: NamespaceId,
    cursor: Cursor,
    at: ClusterTime,
    key: SessionKey,
    version: Version,
    principal: &'a str,
    what: What<'a>,
}

#[derive(Serialize)]
enum What<'a> {
    Created,
    Updated { previous_principal: &'a Option<Box<str>> },
    Renamed { to: SessionKey },
    Ended { why: EndReason, attributes: Digest },
}

/// What an event takes besides its variable parts, about.
const EVENT_BYTES: u64 = 96;

impl Event {
    /// About what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
        let rest = match &self.what {
            Happening::Updated { previous_principal: Some(previous) } => length(previous),
            Happening::Ended { attributes, .. } => crate::record::attribute_bytes(attributes),
            _ => 0,
        };
        EVENT_BYTES.saturating_add(length(&self.principal)).saturating_add(rest)
    }

    /// Why the session is gone, if it is.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        match self.what {
            Happening::Ended { why, .. } => Some(why),
            _ => None,
        }
    }

    /// Its share of the digest. `attributes` is the digest of those that it carries, where it is known: they may be large.
    pub(crate) fn digest(&self, namespace: NamespaceId, attributes: Option<Digest>) -> Digest {
        let what = match &self.what {
            Happening::Created => What::Created,
            Happening::Updated { previous_principal } => What::Updated { previous_principal },
            Happening::Renamed { to } => What::Renamed { to: *to },
            Happening::Ended { why, attributes: carried } => What::Ended {
                why: *why,
                attributes: attributes.unwrap_or_else(|| attributes_digest(carried)),
            },
        };
        let (cursor, at, key, version) = (self.cursor, self.at, self.key, self.version);
        let principal = &self.principal;
        Digest::of(Kind::Event, &Item { namespace, cursor, at, key, version, principal, what })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("cursor", &self.cursor)
            .field("key", &self.key)
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Created => f.write_str("Created"),
            Happening::Updated { .. } => f.write_str("Updated"),
            Happening::Renamed { to } => write!(f, "Renamed({to})"),
            Happening::Ended { why, attributes } => {
                write!(f, "Ended({why:?}, {} attributes)", attributes.len())
            }
        }
    }
}
