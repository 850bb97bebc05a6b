//! What can go wrong between a request and the replicated state, and what the caller may conclude.

use super::handle::Leader;

/// A command was not, or perhaps not, applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead. Definitely not applied; another node may take it.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<Leader>,
    },
    /// Too much waits already. Definitely not applied; try again later.
    #[error("too many operations wait on this node")]
    Overloaded,
    /// Leadership was lost after the command was appended: another leader may or may not have kept it.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// This node is stopping. May have been applied.
    #[error("this node is stopping: {0}")]
    Stopped(String),
}

/// A linearizable read could not be confirmed. Nothing happened; try again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<Leader>,
    },
    /// This node leads but cannot reach a quorum.
    #[error("no quorum of nodes answers")]
    NoQuorum,
    /// This node is stopping.
    #[error("this node is stopping: {0}")]
    Stopped(String),
}

/// This node did not reach a position in time.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitError {
    /// The time was up.
    #[error("this node has applied the log up to {applied}, not yet to the position asked for")]
    Timeout {
        /// How far it has come.
        applied: u64,
    },
    /// This node is stopping.
    #[error("this node is stopping: {0}")]
    Stopped(String),
}

/// An operation could not be sent on to the leader, or its answer was lost.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ForwardError {
    /// No leader is known. Nothing was sent.
    #[error("no leader is known")]
    NoLeader,
    /// The leader could not be reached. Nothing was sent.
    #[error("the leader cannot be reached: {0}")]
    Unreachable(String),
    /// The leader did not answer. A mutation may have been applied.
    #[error("the leader's answer was lost: {0}")]
    Lost(String),
    /// The caller's time was up. A mutation may have been applied.
    #[error("the leader did not answer in time")]
    Deadline,
}
