//! The table of errors: every way in which an operation can fail, to its code, reason, and the two answers every
//! caller needs: may I retry, and could it have taken effect.
//!
//! | from | code | reason | retryable | maybe applied |
//! |---|---|---|---|---|
//! | bad input (see `request`) | `INVALID_ARGUMENT` | `INVALID_...`, `NOTHING_TO_WRITE`, ... | no | no |
//! | position of another cluster | `FAILED_PRECONDITION` | `OTHER_CLUSTER` | no | no |
//! | a stale read on a node that is further behind | `UNAVAILABLE` | `TOO_STALE` | yes | no |
//! | [`Refusal::NotFound`], [`Refusal::Renamed`] | `NOT_FOUND` | `NOT_FOUND`, `RENAMED` | no | no |
//! | [`Refusal::UnknownNamespace`] | `NOT_FOUND` | `UNKNOWN_NAMESPACE` | no | no |
//! | [`Refusal::AlreadyExists`], [`Refusal::RecentlyEnded`] | `ALREADY_EXISTS` | `ALREADY_EXISTS`, `RECENTLY_ENDED` | no | no |
//! | [`Refusal::VersionConflict`] | `ABORTED` | `VERSION_CONFLICT` | no | no |
//! | [`Refusal::SessionTooLarge`], [`Refusal::TooManyAttributes`] | `RESOURCE_EXHAUSTED` | `SESSION_TOO_LARGE`, `TOO_MANY_ATTRIBUTES` | no | no |
//! | [`Refusal::TimeoutOutOfRange`] | `INVALID_ARGUMENT` | `TIMEOUT_OUT_OF_RANGE` | no | no |
//! | [`Refusal::UnknownClient`], [`Refusal::StaleRequest`] | `FAILED_PRECONDITION` | `UNKNOWN_CLIENT`, `STALE_REQUEST` | no | yes, an earlier attempt |
//! | [`Refusal::RequestMismatch`] | `FAILED_PRECONDITION` | `REQUEST_MISMATCH` | no | no |
//! | [`Refusal::TooManyOutstanding`], [`Refusal::TooManyOutcomes`], [`Refusal::TooManyClients`] | `RESOURCE_EXHAUSTED` | `TOO_MANY_OUTSTANDING`, `TOO_MANY_OUTCOMES`, `TOO_MANY_CLIENTS` | yes | no |
//! | [`Refusal::Locked`] | `ABORTED` | `LOCKED` | the caller decides; `RetryInfo` says when it may be free | no |
//! | [`Refusal::WaitOver`] | `ABORTED` | `WAIT_OVER` | no: with another request id | no |
//! | [`Refusal::StaleFence`], [`Refusal::NotLocked`] | `FAILED_PRECONDITION` | `STALE_FENCE`, `NOT_LOCKED` | no | no |
//! | [`Refusal::TooManyWaiters`], [`Refusal::TooManyRevocations`] | `RESOURCE_EXHAUSTED` | `TOO_MANY_WAITERS`, `TOO_MANY_REVOCATIONS` | yes | no |
//! | [`Refusal::NamespaceFull`], [`Refusal::NamespaceBytesExceeded`], [`Refusal::TooManySessionsOfPrincipal`], [`Refusal::TooManyNamespaces`] | `RESOURCE_EXHAUSTED` | `NAMESPACE_FULL`, `NAMESPACE_BYTES_EXCEEDED`, `TOO_MANY_SESSIONS_OF_PRINCIPAL`, `TOO_MANY_NAMESPACES` | no | no |
//! | [`Refusal::NotOfPrincipal`], [`Refusal::NamespaceRequired`] | `FAILED_PRECONDITION` | `NOT_OF_PRINCIPAL`, `NAMESPACE_REQUIRED` | no | no |
//! | [`Refusal::NamespaceExists`] | `ALREADY_EXISTS` | `NAMESPACE_EXISTS` | no | no |
//! | [`Refusal::PolicyOutOfRange`] | `INVALID_ARGUMENT` | `POLICY_OUT_OF_RANGE` | no | no |
//! | [`Refusal::NotYetSupported`] | `UNAVAILABLE` | `NOT_YET_SUPPORTED` | yes | no |
//! | a watch behind what is kept, or of another cluster | `OUT_OF_RANGE` | `EVENTS_LOST`, `OTHER_CLUSTER` | no | no |
//! | a watcher that does not keep up, one too many | `RESOURCE_EXHAUSTED` | `SLOW_CONSUMER`, `TOO_MANY_WATCHES` | yes | no |
//! | not the leader | `UNAVAILABLE` | `NOT_LEADER` | yes | no |
//! | no leader known | `UNAVAILABLE` | `NO_LEADER` | yes | no |
//! | no quorum confirms a read | `UNAVAILABLE` | `NO_QUORUM` | yes | no |
//! | overloaded | `RESOURCE_EXHAUSTED` | `OVERLOADED` | yes | no |
//! | leadership lost after the append, leader lost after the forward | `UNAVAILABLE` | `OUTCOME_UNKNOWN` | with a request id, or a read | a mutation: yes |
//! | this node stops | `UNAVAILABLE` | `STOPPING` | with a request id, or a read | a mutation: yes |
//! | out of time | `DEADLINE_EXCEEDED` | `DEADLINE_EXCEEDED` | with a request id, or a read | a mutation that was submitted: yes |
//! | a lock that was forwarded, given up by its caller | `CANCELLED` | `WITHDRAWN` | with a request id | yes |
//! | position not reached in time | `DEADLINE_EXCEEDED` | `POSITION_NOT_REACHED` | yes | no |
//! | a fault of ours | `INTERNAL` | `INTERNAL` | no | yes |

use std::time::Duration;

use quorate_proto::v1;
use quorate_state::{Cursor, Refusal};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::failure::{Failure, relayed};
use crate::consensus::{ForwardError, Leader, ProposeError, ReadError, WaitError};

/// A failover takes a few hundred milliseconds; asking sooner than this only adds load.
const RETRY_SOON: Duration = Duration::from_millis(20);
const RETRY_LATER: Duration = Duration::from_millis(100);
/// Whoever finds a session locked is told to come back no later than this.
const LOCK_RETRY_MAX: Duration = Duration::from_secs(1);

/// What an operation risks when its fate is unclear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stake {
    /// It only reads: at worst a deadline was renewed.
    Read,
    /// It changes something and carries a request id: sending it again is safe.
    Once,
    /// It changes something and must not be sent again blindly.
    Mutation,
}

impl Stake {
    /// Marks a failure after which the operation may or may not have happened.
    fn unclear(self, failure: Failure) -> Failure {
        Failure { retryable: self != Stake::Mutation, maybe_applied: self != Stake::Read, ..failure }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = code_and_reason(&refusal);
        let failure = Failure::new(code, reason, refusal.to_string());
        match refusal {
            Refusal::VersionConflict { current } => failure.fact("current_version", current),
            Refusal::SessionTooLarge { bytes, max } | Refusal::NamespaceBytesExceeded { bytes, max } => {
                failure.fact("bytes", bytes).fact("max_bytes", max)
            }
            Refusal::TooManyAttributes { count, max } => failure.fact("count", count).fact("max_count", max),
            Refusal::TimeoutOutOfRange { given_ms, min_ms, max_ms } => {
                let failure =
                    failure.fact("given_ms", given_ms).fact("min_ms", min_ms).fact("max_ms", max_ms);
                Failure { field: Some("timeouts"), ..failure }
            }
            Refusal::PolicyOutOfRange { name, min, max } => {
                let failure = failure.fact("min", min).fact("max", max);
                Failure { field: Some(policy_field(&name)), ..failure }
            }
            Refusal::UnknownClient | Refusal::StaleRequest => Failure { maybe_applied: true, ..failure },
            Refusal::TooManyOutstanding { max }
            | Refusal::TooManyClients { max }
            | Refusal::TooManyOutcomes { max }
            | Refusal::TooManyWaiters { max }
            | Refusal::TooManyRevocations { max } => failure.fact("max_count", max).retry(RETRY_LATER),
            Refusal::NamespaceFull { max }
            | Refusal::TooManySessionsOfPrincipal { max }
            | Refusal::TooManyNamespaces { max } => failure.fact("max_count", max),
            Refusal::Locked { age_ms, remaining_ms } => {
                // It may be given back long before its lease ends.
                let after = Duration::from_millis(remaining_ms).clamp(RETRY_SOON, LOCK_RETRY_MAX);
                let failure = failure.fact("age_ms", age_ms).fact("remaining_ms", remaining_ms);
                Failure { retry_after: Some(after), ..failure }
            }
            Refusal::NotYetSupported { current } => failure.fact("apply_version", current).retry(RETRY_LATER),
            Refusal::ClientTaken => failure.retry(Duration::ZERO),
            _ => failure,
        }
    }
}

fn code_and_reason(refusal: &Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::NotFound => (Code::NotFound, "NOT_FOUND"),
        Refusal::Renamed => (Code::NotFound, "RENAMED"),
        Refusal::AlreadyExists => (Code::AlreadyExists, "ALREADY_EXISTS"),
        Refusal::RecentlyEnded => (Code::AlreadyExists, "RECENTLY_ENDED"),
        Refusal::VersionConflict { .. } => (Code::Aborted, "VERSION_CONFLICT"),
        Refusal::UnknownNamespace => (Code::NotFound, "UNKNOWN_NAMESPACE"),
        Refusal::SessionTooLarge { .. } => (Code::ResourceExhausted, "SESSION_TOO_LARGE"),
        Refusal::TooManyAttributes { .. } => (Code::ResourceExhausted, "TOO_MANY_ATTRIBUTES"),
        Refusal::TimeoutOutOfRange { .. } => (Code::InvalidArgument, "TIMEOUT_OUT_OF_RANGE"),
        Refusal::UnknownClient => (Code::FailedPrecondition, "UNKNOWN_CLIENT"),
        Refusal::StaleRequest => (Code::FailedPrecondition, "STALE_REQUEST"),
        Refusal::RequestMismatch => (Code::FailedPrecondition, "REQUEST_MISMATCH"),
        Refusal::TooManyOutstanding { .. } => (Code::ResourceExhausted, "TOO_MANY_OUTSTANDING"),
        Refusal::TooManyClients { .. } => (Code::ResourceExhausted, "TOO_MANY_CLIENTS"),
        Refusal::TooManyOutcomes { .. } => (Code::ResourceExhausted, "TOO_MANY_OUTCOMES"),
        Refusal::ClientTaken => (Code::Aborted, "CLIENT_TAKEN"),
        Refusal::Locked { .. } => (Code::Aborted, "LOCKED"),
        Refusal::StaleFence => (Code::FailedPrecondition, "STALE_FENCE"),
        Refusal::NotLocked => (Code::FailedPrecondition, "NOT_LOCKED"),
        Refusal::TooManyWaiters { .. } => (Code::ResourceExhausted, "TOO_MANY_WAITERS"),
        Refusal::WaitOver => (Code::Aborted, "WAIT_OVER"),
        Refusal::NamespaceFull { .. } => (Code::ResourceExhausted, "NAMESPACE_FULL"),
        Refusal::NamespaceBytesExceeded { .. } => (Code::ResourceExhausted, "NAMESPACE_BYTES_EXCEEDED"),
        Refusal::TooManySessionsOfPrincipal { .. } => {
            (Code::ResourceExhausted, "TOO_MANY_SESSIONS_OF_PRINCIPAL")
        }
        Refusal::NotOfPrincipal => (Code::FailedPrecondition, "NOT_OF_PRINCIPAL"),
        Refusal::TooManyRevocations { .. } => (Code::ResourceExhausted, "TOO_MANY_REVOCATIONS"),
        Refusal::NamespaceExists => (Code::AlreadyExists, "NAMESPACE_EXISTS"),
        Refusal::TooManyNamespaces { .. } => (Code::ResourceExhausted, "TOO_MANY_NAMESPACES"),
        Refusal::NamespaceRequired => (Code::FailedPrecondition, "NAMESPACE_REQUIRED"),
        Refusal::PolicyOutOfRange { .. } => (Code::InvalidArgument, "POLICY_OUT_OF_RANGE"),
        Refusal::NotYetSupported { .. } => (Code::Unavailable, "NOT_YET_SUPPORTED"),
        // Only nodes make the commands that these two refuse.
        Refusal::IncarnationMismatch { .. } => (Code::FailedPrecondition, "INCARNATION_MISMATCH"),
        Refusal::ApplyVersionLower { .. } => (Code::FailedPrecondition, "APPLY_VERSION_LOWER"),
    }
}

/// The request field of a policy's setting.
fn policy_field(name: &str) -> &'static str {
    const FIELDS: [&str; 14] = [
        "policy.longest_idle_ms",
        "policy.longest_absolute_ms",
        "policy.default_idle_ms",
        "policy.default_absolute_ms",
        "policy.anonymous_idle_ms",
        "policy.granule_ms",
        "policy.session_bytes_max",
        "policy.attributes_max",
        "policy.tombstone_ms",
        "policy.sessions_max",
        "policy.bytes_max",
        "policy.principal_sessions_max",
        "policy.events_max",
        "policy.events_bytes_max",
    ];
    let is_of = |field: &&str| field.strip_prefix("policy.") == Some(name);
    FIELDS.into_iter().find(is_of).unwrap_or("policy")
}

/// This node does not lead.
pub(crate) fn not_leader(leader: Option<&Leader>) -> Failure {
    match leader {
        Some(leader) if !leader.is_self => {
            let message = format!("this node is not the leader; node {} is", leader.node);
            let failure = Failure::new(Code::Unavailable, "NOT_LEADER", message).retry(RETRY_SOON);
            let failure = failure.fact("leader_node", leader.node);
            if leader.client_address.is_empty() {
                failure
            } else {
                failure.fact("leader", &leader.client_address)
            }
        }
        _ => {
            Failure::new(Code::Unavailable, "NO_LEADER", "no leader is known at the moment").retry(RETRY_SOON)
        }
    }
}

/// Whether another node answered that it does not lead: the operation was definitely not applied there.
pub(crate) fn is_not_leader(error: &v1::Error) -> bool {
    let info = relayed(error.clone()).get_details_error_info();
    info.is_some_and(|info| matches!(info.reason.as_str(), "NOT_LEADER" | "NO_LEADER"))
}

pub(crate) fn propose_failed(error: &ProposeError, stake: Stake) -> Failure {
    match error {
        ProposeError::NotLeader { leader } => not_leader(leader.as_ref()),
        ProposeError::Overloaded => overloaded("the node has too many proposals waiting"),
        ProposeError::Unknown(why) => {
            let message = format!("the leadership was lost before the outcome was known: {why}");
            stake.unclear(Failure::new(Code::Unavailable, "OUTCOME_UNKNOWN", message).retry(RETRY_SOON))
        }
        ProposeError::Stopped(why) => stopping(why, stake),
    }
}

pub(crate) fn read_failed(error: &ReadError) -> Failure {
    match error {
        ReadError::NotLeader { leader } => not_leader(leader.as_ref()),
        ReadError::NoQuorum => {
            let message = "no quorum confirms that this node still leads; nothing was read";
            Failure::new(Code::Unavailable, "NO_QUORUM", message).retry(RETRY_LATER)
        }
        ReadError::Stopped(why) => stopping(why, Stake::Read),
    }
}

pub(crate) fn wait_failed(error: &WaitError, wanted: u64) -> Failure {
    match error {
        WaitError::Timeout { applied } => {
            let message =
                format!("this node has applied position {applied} and did not reach {wanted} in time");
            let failure =
                Failure::new(Code::DeadlineExceeded, "POSITION_NOT_REACHED", message).retry(RETRY_LATER);
            failure.fact("applied_index", applied)
        }
        WaitError::Stopped(why) => stopping(why, Stake::Read),
    }
}

/// This node's state is older than a read allows.
pub(crate) fn too_stale(staleness: Option<Duration>) -> Failure {
    let failure = |message: String| Failure::new(Code::Unavailable, "TOO_STALE", message).retry(RETRY_LATER);
    match staleness {
        None => failure("this node does not know how old its state is; ask another".to_owned()),
        Some(staleness) => {
            let ms = staleness.as_millis();
            failure(format!("this node's state may be {ms} ms old; ask another")).fact("staleness_ms", ms)
        }
    }
}

pub(crate) fn forward_failed(error: &ForwardError, stake: Stake) -> Failure {
    match error {
        ForwardError::NoLeader => not_leader(None),
        ForwardError::Unreachable(why) => {
            let message = format!("the leader cannot be reached from this node: {why}");
            Failure::new(Code::Unavailable, "LEADER_UNREACHABLE", message).retry(RETRY_SOON)
        }
        ForwardError::Lost(why) => {
            let message = format!("the connection to the leader broke before its answer came: {why}");
            stake.unclear(Failure::new(Code::Unavailable, "OUTCOME_UNKNOWN", message).retry(RETRY_SOON))
        }
        ForwardError::Deadline => deadline(true, stake),
    }
}

/// Out of time. `submitted`: the operation had been handed to consensus.
pub(crate) fn deadline(submitted: bool, stake: Stake) -> Failure {
    let message = if submitted {
        "the deadline passed before the outcome was known"
    } else {
        "the deadline passed before the operation could start"
    };
    let failure = Failure::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message);
    if submitted { stake.unclear(failure) } else { Failure { retryable: true, ..failure } }
}

/// Given up by its caller while it was under way.
pub(crate) fn withdrawn(stake: Stake) -> Failure {
    let message = "its caller gave it up before the outcome was known";
    stake.unclear(Failure::new(Code::Cancelled, "WITHDRAWN", message))
}

/// Definitely not applied: too much is going on.
pub(crate) fn overloaded(what: &str) -> Failure {
    let message = format!("overloaded: {what}; nothing was applied");
    Failure::new(Code::ResourceExhausted, "OVERLOADED", message).retry(RETRY_LATER)
}

/// A position that belongs to another cluster.
pub(crate) fn other_cluster() -> Failure {
    let message = "at_least is a position of another cluster; it means nothing here";
    Failure { field: Some("at_least"), ..Failure::new(Code::FailedPrecondition, "OTHER_CLUSTER", message) }
}

/// Events behind where a watch stands, or is to begin, are no longer kept.
pub(crate) fn events_lost(oldest: Cursor) -> Failure {
    let message =
        "some of the events behind this place are no longer kept: read what there is, and watch anew";
    from_oldest(Failure::new(Code::OutOfRange, "EVENTS_LOST", message), oldest)
}

/// A place among the events of another cluster.
pub(crate) fn cursor_of_other_cluster(oldest: Cursor) -> Failure {
    let message = "after is a place among the events of another cluster; it means nothing here";
    let failure = Failure::new(Code::OutOfRange, "OTHER_CLUSTER", message);
    from_oldest(Failure { field: Some("after"), ..failure }, oldest)
}

/// Where the events that are kept begin.
fn from_oldest(failure: Failure, oldest: Cursor) -> Failure {
    failure.fact("oldest_index", oldest.index).fact("oldest_ordinal", oldest.ordinal)
}

/// A watcher has taken nothing for so long.
pub(crate) fn slow_consumer(patience: Duration) -> Failure {
    let message = format!(
        "the watcher took nothing for {} s while something waited for it; watch on from the last cursor",
        patience.as_secs()
    );
    Failure::new(Code::ResourceExhausted, "SLOW_CONSUMER", message).retry(RETRY_LATER)
}

/// This node serves as many watches as it does at once.
pub(crate) fn too_many_watches(max: usize) -> Failure {
    let message =
        format!("this node serves {max} watches already, and no more at once: watch at another one");
    Failure::new(Code::ResourceExhausted, "TOO_MANY_WATCHES", message)
        .fact("max_count", max)
        .retry(RETRY_LATER)
}

/// A fault of ours: consensus answered what this operation cannot have caused.
pub(crate) fn internal(what: &str) -> Failure {
    Failure {
        maybe_applied: true,
        ..Failure::new(Code::Internal, "INTERNAL", format!("internal error: {what}"))
    }
}

pub(crate) fn stopping(why: &str, stake: Stake) -> Failure {
    let message = format!("this node is stopping: {why}");
    stake.unclear(Failure::new(Code::Unavailable, "STOPPING", message).retry(RETRY_SOON))
}

#[cfg(test)]
#[path = "reasons_tests.rs"]
mod tests;
