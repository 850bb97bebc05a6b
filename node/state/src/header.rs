//! What a frozen state carries beside records and clients, and what checks them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::encoding::{EncodingError, decode, encode};
use crate::member::{Member, NodeId};
use crate::policy::{NamespaceId, Policy};
use crate::time::Clocks;

/// A later format may add to this one (the fence counter is next).
const FORMAT: u8 = 1;

/// A namespace under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Stands for the name in records.
    pub id: NamespaceId,
    /// What it allows.
    pub policy: Policy,
}

/// The small part of a state, and counts and digest of the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The semantics in force.
    pub apply_version: u32,
    /// Both clocks.
    pub clocks: Clocks,
    /// The proposer's wall clock at the last Tick, in milliseconds since the Unix epoch; 0 before the first.
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
        decode("header", FORMAT, bytes)
    }
}

/// A namespace's share of the digest.
pub(crate) fn namespace_digest(name: &str, namespace: &Namespace) -> Digest {
    Digest::of(Kind::Namespace, &(name, namespace))
}

/// A member's share of the digest.
pub(crate) fn member_digest(node: NodeId, member: &Member) -> Digest {
    Digest::of(Kind::Member, &(node, member))
}

/// The share of what changes with every entry.
pub(crate) fn clocks_digest(clocks: Clocks, apply_version: u32, last_tick_wall_ms: u64) -> Digest {
    Digest::of(Kind::Clocks, &(clocks, apply_version, last_tick_wall_ms))
}
