//! What a namespace allows, and the limits that hold everywhere.

use serde::{Deserialize, Serialize};

use crate::session::Timeouts;
use crate::time::Millis;

/// A namespace's number in the records; its name stands once, in the namespace table.
pub type NamespaceId = u32;

/// A namespace's policy: part of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For sessions that name none of their own.
    pub default_timeouts: Timeouts,
    /// The longest idle timeout a session may have.
    pub idle_ms_max: Millis,
    /// The longest absolute timeout a session may have.
    pub absolute_ms_max: Millis,
    /// Attribute names and values together, in bytes.
    pub session_bytes_max: u64,
    /// Attributes of one session.
    pub attributes_max: u32,
    /// How long a deleted id is refused to Create.
    pub tombstone_ms: Millis,
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
        }
    }
}

impl Policy {
    /// The granule that a session with this idle timeout gets: a twentieth, at least 1 s.
    #[must_use]
    pub fn granule_ms(idle_ms: Option<Millis>) -> Millis {
        idle_ms.map_or(0, |idle| (idle / 20).max(1_000))
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
    /// An attribute's name, in bytes.
    pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
    /// Attributes of one session.
    pub const ATTRIBUTES_MAX: usize = 256;
    /// Attribute names and values of one session together, in bytes.
    pub const SESSION_BYTES_MAX: u64 = 1 << 20;
    /// A principal, in bytes.
    pub const PRINCIPAL_BYTES_MAX: usize = 256;
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
