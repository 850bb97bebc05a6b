//! What a node tells of itself and of the cluster.

use quorate_state::{Member, NodeId};

/// One node's view.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its raft term.
    pub term: u64,
    /// `leader`, `isolated` (leads, but hears from no quorum), `follower`, `candidate` or `learner`.
    pub role: &'static str,
    /// The last index in its log.
    pub last_log_index: u64,
    /// The last index applied to its state.
    pub applied_index: u64,
    /// The index up to which its session store is synced.
    pub persisted_index: u64,
    /// The index up to which its log is purged.
    pub purged_index: u64,
    /// All members.
    pub members: Vec<MemberStatus>,
}

/// A member, as the answering node knows it.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Its id.
    pub node: NodeId,
    /// From the membership.
    pub peer_address: String,
    /// Whether it votes.
    pub voter: bool,
    /// What it announced of itself.
    pub announced: Option<Member>,
    /// On the leader: the last index known to be on its disk.
    pub matched_index: Option<u64>,
}
