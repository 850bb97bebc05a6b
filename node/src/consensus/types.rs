//! openraft's generics, aliased once; nothing outside `consensus` names an openraft type.

use std::fmt;

use bytes::Bytes;
use openraft::type_config::alias;
use quorate_proto::peer::v1 as peer;
use quorate_state::Outcome;
use quorate_storage as storage;

/// A log entry's application data: an encoded [`quorate_state::Proposal`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a membership says of a node: where its peers reach it. The rest it announces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PeerNode {
    /// `host:port` of its peer listener.
    pub(crate) address: String,
}

/// What applying an entry answers; `None` for blank and membership entries.
pub(crate) type Response = Option<Outcome>;

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Payload,
        R = Response,
        NodeId = u64,
        Node = PeerNode,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, super::state_machine::StateMachine>;
pub(crate) type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
pub(crate) type Entry = alias::EntryOf<TypeConfig>;
pub(crate) type EntryPayload = openraft::EntryPayload<Payload, u64, PeerNode>;
pub(crate) type Membership = openraft::Membership<u64, PeerNode>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = alias::SnapshotOf<TypeConfig, super::snapshot_data::SnapshotData>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub(crate) type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
pub(crate) type Fatal = openraft::errors::Fatal<TypeConfig>;
pub(crate) type RpcError = openraft::errors::RPCError<TypeConfig>;
pub(crate) type Unreachable = openraft::errors::Unreachable<TypeConfig>;

pub(crate) fn log_id_to_storage(id: &LogId) -> storage::LogId {
    storage::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id_from_storage(id: storage::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.node }, index: id.index }
}

pub(crate) fn vote_to_storage(vote: &Vote) -> storage::Vote {
    storage::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn vote_from_storage(vote: storage::Vote) -> Vote {
    Vote { leader_id: LeaderId { term: vote.term, node_id: vote.node }, committed: vote.committed }
}

pub(crate) fn log_id_to_wire(id: &LogId) -> peer::LogId {
    peer::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id_from_wire(id: peer::LogId) -> LogId {
    LogId { leader_id: LeaderId { term: id.term, node_id: id.node }, index: id.index }
}

pub(crate) fn vote_to_wire(vote: &Vote) -> peer::VoteState {
    peer::VoteState { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn vote_from_wire(vote: peer::VoteState) -> Vote {
    Vote { leader_id: LeaderId { term: vote.term, node_id: vote.node }, committed: vote.committed }
}
