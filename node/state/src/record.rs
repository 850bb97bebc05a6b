//! What a slot of the table holds: a session, or the tombstone of one.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::key::SessionKey;
use crate::policy::NamespaceId;
use crate::session::{Attributes, Session, Timeouts, Version};
use crate::time::{Clocks, ClusterTime, Millis, ServedTime};

/// A record's place in a node's table: dense, reused, local to the node, in no digest and no snapshot.
pub type Slot = u64;

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A session (perhaps expired and not yet reaped: ask [`Record::is_due`]).
    Live(Session),
    /// A session that ended a moment ago.
    Tombstone(Tombstone),
}

/// Refuses a key to Create for a while after its session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// How the session ended.
    pub reason: Ending,
    /// When the tombstone lapses.
    pub until: ClusterTime,
}

/// How a session came to leave its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Deleted.
    Ended,
    /// Regenerated: it lives on under another key.
    Renamed,
}

impl Record {
    /// Whether it has expired or lapsed: logically gone, whether or not it has left memory.
    #[must_use]
    pub fn is_due(&self, now: Clocks) -> bool {
        match self {
            Record::Live(session) => session.is_expired(now),
            Record::Tombstone(tombstone) => tombstone.until <= now.cluster,
        }
    }

    /// The earliest cluster time at which it can be due; `None` if never. Served time falls behind cluster time
    /// and never catches up, so today's distance between the two gives a lower bound.
    pub(crate) fn due_earliest(&self, now: Clocks) -> Option<ClusterTime> {
        match self {
            Record::Live(session) => {
                let behind = now.cluster.0.saturating_sub(now.served.0);
                let idle = session.idle_due().map(|due| ClusterTime(due.0.saturating_add(behind)));
                idle.into_iter().chain(session.absolute_due()).min()
            }
            Record::Tombstone(tombstone) => Some(tombstone.until),
        }
    }
}

/// A record with what is kept beside it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: SessionKey,
    pub(crate) record: Record,
    /// Attribute names and values together.
    pub(crate) attribute_bytes: u64,
    /// Apart from the rest, so that a touch of a large session need not hash its attributes.
    pub(crate) attributes_digest: Digest,
    /// Apart too: a line may be long.
    lock_digest: Option<Digest>,
    pub(crate) digest: Digest,
}

/// What is hashed for a record.
#[derive(Serialize)]
struct Item<'a> {
    key: SessionKey,
    content: Content<'a>,
}

#[derive(Serialize)]
enum Content<'a> {
    Live {
        namespace: NamespaceId,
        version: Version,
        created: ClusterTime,
        timeouts: Timeouts,
        granule_ms: Millis,
        last_touch: ServedTime,
        principal: &'a str,
        attributes: Digest,
    },
    Tombstone(Tombstone),
}

/// What the first format did not have. Hashed apart, and only where it says anything, so that the digest of a state of
/// then is the same now.
#[derive(Serialize)]
struct More {
    key: SessionKey,
    idle_ms: Option<Millis>,
    signed_in: u64,
    lock: Option<Digest>,
}

impl Entry {
    pub(crate) fn new(key: SessionKey, record: Record) -> Self {
        let mut entry = Entry {
            key,
            record,
            attribute_bytes: 0,
            attributes_digest: Digest::default(),
            lock_digest: None,
            digest: Digest::default(),
        };
        entry.settle(true, true);
        entry
    }

    /// Brings what is kept beside the record up to date after a change of it.
    pub(crate) fn settle(&mut self, attributes_changed: bool, lock_changed: bool) {
        if let (true, Record::Live(session)) = (attributes_changed, &self.record) {
            self.attribute_bytes = attribute_bytes(&session.attributes);
            self.attributes_digest = attributes_digest(&session.attributes);
        }
        if let (true, Record::Live(session)) = (lock_changed, &self.record) {
            self.lock_digest = session.lock.as_ref().map(|lock| Digest::of(Kind::Lock, lock));
        }
        let content = match &self.record {
            Record::Tombstone(tombstone) => Content::Tombstone(*tombstone),
            Record::Live(session) => Content::Live {
                namespace: session.namespace,
                version: session.version,
                created: session.created,
                timeouts: session.timeouts,
                granule_ms: session.granule_ms,
                last_touch: session.last_touch,
                principal: &session.principal,
                attributes: self.attributes_digest,
            },
        };
        self.digest = Digest::of(Kind::Record, &Item { key: self.key, content });
        if let Record::Live(session) = &self.record {
            let Session { idle_ms, signed_in, .. } = *session;
            let (key, lock) = (self.key, self.lock_digest);
            if idle_ms != session.timeouts.idle_ms || signed_in != 0 || lock.is_some() {
                self.digest.add(Digest::of(Kind::More, &More { key, idle_ms, signed_in, lock }));
            }
        }
    }
}

/// What stands for attributes where something that has them is hashed.
pub(crate) fn attributes_digest(attributes: &Attributes) -> Digest {
    Digest::of(Kind::Attributes, attributes)
}

/// Names and values together.
pub(crate) fn attribute_bytes(attributes: &Attributes) -> u64 {
    attributes.iter().map(|(name, value)| pair_bytes(name, value)).fold(0, u64::saturating_add)
}

/// One name and its value.
pub(crate) fn pair_bytes(name: &str, value: &[u8]) -> u64 {
    u64::try_from(name.len() + value.len()).unwrap_or(u64::MAX)
}
