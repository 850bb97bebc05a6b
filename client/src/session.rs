//! What reads and writes return.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;

use crate::consistency::Consistency;
use crate::id::SessionId;
use crate::lock::LockState;
use crate::position::Position;

/// A session, as read.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// A name for people and tools; not a credential.
    pub handle: String,
    /// Rises by one with each change.
    pub version: u64,
    /// Names and values.
    pub attributes: BTreeMap<String, Bytes>,
    /// The signed-in user, or empty.
    pub principal: String,
    /// When it was created: milliseconds since the Unix epoch, by the cluster's clock.
    pub created_ms: u64,
    /// Expires after this long without a touch.
    pub idle_timeout: Option<Duration>,
    /// Expires this long after it was created.
    pub absolute_timeout: Option<Duration>,
    /// Until the earlier deadline; `None` when it never expires.
    pub remaining: Option<Duration>,
    /// The lock, while somebody holds it.
    pub lock: Option<LockState>,
    /// The position that this read reflects.
    pub position: Position,
}

impl std::fmt::Debug for Session {
    /// Shows how many attributes there are, not what they hold.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("handle", &self.handle)
            .field("version", &self.version)
            .field("attributes", &self.attributes.len())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn from_wire(session: v1::Session, position: Position) -> Self {
        let timeout = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        Session {
            handle: session.handle,
            version: session.version,
            attributes: session.attributes,
            principal: session.principal,
            created_ms: session.created_ms,
            idle_timeout: timeout(session.idle_timeout_ms),
            absolute_timeout: timeout(session.absolute_timeout_ms),
            remaining: session.remaining_ms.map(Duration::from_millis),
            lock: session.lock.map(LockState::from),
            position,
        }
    }
}

/// A session that was created, or got a new id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The secret.
    pub id: SessionId,
    /// A name for people and tools; not a credential.
    pub handle: String,
    /// Its version.
    pub version: u64,
    /// Reads at least at this position see it.
    pub position: Position,
}

/// A session that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its version now.
    pub version: u64,
    /// Reads at least at this position see the write.
    pub position: Position,
}

/// A session that was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Until the earlier deadline; `None` when it never expires.
    pub remaining: Option<Duration>,
    /// Reads at least at this position see the touch.
    pub position: Position,
}

/// Sessions that were touched together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedMany {
    /// Which of the ids stand for no session, by their place, ascending.
    pub missing: Vec<usize>,
    /// Reads at least at this position see the touches.
    pub position: Position,
}

/// How a session is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetOptions {
    /// Renew the idle deadline in the same call. Left out of reads that are not linearizable: they change nothing.
    pub touch: bool,
    /// Which attributes to return.
    pub attributes: AttributeSelection,
    /// How fresh the answer has to be.
    pub consistency: Consistency,
    /// Ask this node, `host:port`, and no other.
    pub node: Option<String>,
}

impl Default for GetOptions {
    fn default() -> Self {
        GetOptions {
            touch: true,
            attributes: AttributeSelection::All,
            consistency: Consistency::Linearizable,
            node: None,
        }
    }
}

/// Which attributes a read returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttributeSelection {
    /// All of them.
    #[default]
    All,
    /// None: version and timeouts only.
    None,
    /// These, where they exist.
    Named(Vec<String>),
}

impl AttributeSelection {
    pub(crate) fn into_wire(self) -> Option<v1::AttributeNames> {
        match self {
            AttributeSelection::All => None,
            AttributeSelection::None => Some(v1::AttributeNames::default()),
            AttributeSelection::Named(names) => Some(v1::AttributeNames { names }),
        }
    }
}
