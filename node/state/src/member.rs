//! Who belongs to the cluster, as each node announced itself.

use serde::{Deserialize, Serialize};

/// A node's number, chosen by its operator, never reused for another data directory.
pub type NodeId = u64;

/// A node as it announced itself: recorded in the state so that every node and client can find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The random number of its data directory. A node that comes back with another one has lost its disk.
    pub incarnation: u64,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// Where peers reach it, `host:port`.
    pub peer_address: String,
    /// Where its admin listener is reached, `host:port`.
    pub admin_address: String,
    /// The version of its binary.
    pub version: String,
}
