//! What a frozen state carries beside records and clients, and what checks them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::encoding::{EncodingError, decode, encode};
use crate::event::Cursor;
use crate::legacy;
use crate::lock::Fence;
use crate::member::{Member, NodeId};
use crate::namespace::Namespace;
use crate::policy::NamespaceId;
use crate::revocation::Revoked;
use crate::time::Clocks;

const FORMAT: u8 = 2;

/// Where a namespace's events begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingStart {
    /// The number of the first block.
    pub first: u64,
    /// The last event that is no longer kept.
    pub lost: Option<Cursor>,
}

/// The small part of a state, and counts and digest of the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The semantics in force.
    pub apply_version: u32,
    /// Both clocks.
    pub clocks: Clocks,
    /// The median of a majority's wall clocks at the last Tick, advanced by the jumps since, in milliseconds since the Unix
    /// epoch; 0 before the first.
    pub last_tick_wall_ms: u64,
    /// All namespaces by name.
    pub namespaces: Arc<BTreeMap<Box<str>, Namespace>>,
    /// All nodes that announced themselves.
    pub members: Arc<BTreeMap<NodeId, Member>>,
    /// Sessions and tombstones.
    pub records: u64,
    /// Open client handles.
    pub clients: u64,
    /// Of all of the state.
    pub digest: Digest,
    /// The next token that a lock gives.
    pub next_fence: Fence,
    /// The next namespace's number.
    pub next_namespace: NamespaceId,
    /// Revocations that are not reaped yet.
    pub revoked: Arc<Revoked>,
    /// Where each namespace's events begin.
    pub rings: BTreeMap<NamespaceId, RingStart>,
    /// Blocks of events.
    pub event_blocks: u64,
}

impl Header {
    /// As it is kept on disk and in snapshots.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(FORMAT, self)
    }

    /// Reads what [`Header::encode`] wrote.
    ///
    /// # Errors
    /// [`EncodingError`]: the bytes are corrupt or newer than this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        match bytes.first() {
            Some(1) => decode::<legacy::Header>("header", 1, bytes).map(Header::from),
            _ => decode("header", FORMAT, bytes),
        }
    }
}

/// A member's share of the digest.
pub(crate) fn member_digest(node: NodeId, member: &Member) -> Digest {
    Digest::of(Kind::Member, &(node, member))
}

/// The share of what changes with every entry.
pub(crate) fn clocks_digest(clocks: Clocks, apply_version: u32, last_tick_wall_ms: u64) -> Digest {
    Digest::of(Kind::Clocks, &(clocks, apply_version, last_tick_wall_ms))
}

/// The share of the numbers drawn next; nothing as long as none was drawn that the first format did not know.
pub(crate) fn numbers_digest(
    next_fence: Fence,
    next_namespace: NamespaceId,
    namespaces: &BTreeMap<Box<str>, Namespace>,
) -> Digest {
    let highest = namespaces.values().map(|namespace| namespace.id).max().unwrap_or(0);
    if next_fence == 1 && next_namespace == highest.saturating_add(1) {
        return Digest::default();
    }
    Digest::of(Kind::Numbers, &(next_fence, next_namespace))
}
