//! What applying a command answers. Refusals are outcomes too: replicated, remembered, never an error of storage.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::command::ClientId;
use crate::lock::Fence;
use crate::places::Places;
use crate::session::Version;
use crate::time::Millis;

/// The result of a command, the same on every replica. Holds no attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// A client handle is open.
    ClientOpened(ClientId),
    /// Created, written or regenerated: the session's version now.
    Written {
        /// See [`Version`].
        version: Version,
    },
    /// Touched.
    Touched {
        /// Until the earlier deadline; `None` when the session never expires.
        remaining_ms: Option<Millis>,
    },
    /// Not done, and why. Nothing has changed.
    Refused(Refusal),
    /// Touched, all but some.
    TouchedMany {
        /// The places of those that stand for no session.
        missing: Places,
    },
    /// The caller holds the lock.
    Locked {
        /// Its token.
        fence: Fence,
        /// Until the lease lapses.
        remaining_ms: Millis,
    },
    /// The caller waits in line, and will have this token.
    Queued {
        /// Its token.
        fence: Fence,
    },
    /// A principal's sessions are gone.
    Revoked {
        /// How many, with those that had expired and were not reaped.
        sessions: u64,
    },
    /// A namespace is there.
    NamespacePut {
        /// It was not before.
        created: bool,
    },
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Unknown, expired or deleted.
    #[error("no such session: it was never created, has expired or was deleted")]
    NotFound,
    /// Regenerated a moment ago: the session lives on under another id.
    #[error("no such session: its id was replaced by a new one")]
    Renamed,
    /// The id is in use.
    #[error("a session with this id exists")]
    AlreadyExists,
    /// The id was deleted or replaced a moment ago and stays refused for a while.
    #[error("a session with this id ended a moment ago; its id cannot be used again yet")]
    RecentlyEnded,
    /// `if_version` names another version.
    #[error("the session has version {current}, not the one required")]
    VersionConflict {
        /// The session's version now.
        current: Version,
    },
    /// No such namespace.
    #[error("no such namespace")]
    UnknownNamespace,
    /// The session would exceed its namespace's size limit.
    #[error("the session would have {bytes} bytes; its namespace allows {max}")]
    SessionTooLarge {
        /// Names and values together.
        bytes: u64,
        /// The policy's limit.
        max: u64,
    },
    /// The session would have too many attributes.
    #[error("the session would have {count} attributes; its namespace allows {max}")]
    TooManyAttributes {
        /// How many it would have.
        count: u64,
        /// The policy's limit.
        max: u64,
    },
    /// A timeout out of the namespace's range.
    #[error("a timeout of {given_ms} ms is out of range: {min_ms} to {max_ms} ms are allowed")]
    TimeoutOutOfRange {
        /// As asked for.
        given_ms: Millis,
        /// The shortest allowed.
        min_ms: Millis,
        /// The longest allowed.
        max_ms: Millis,
    },
    /// The client handle is not open: never was, or forgotten after an hour without use.
    #[error("unknown client handle: it was never opened, or was forgotten after an hour without use")]
    UnknownClient,
    /// The sequence is below the lowest unanswered one: its outcome is no longer known.
    #[error("the request's sequence is older than what is remembered for its client: its outcome is unknown")]
    StaleRequest,
    /// The same request id came with another payload.
    #[error("this request id was used before with another request")]
    RequestMismatch,
    /// Too many operations of one client are unanswered.
    #[error("the client has too many unanswered operations: at most {max} beyond the lowest one")]
    TooManyOutstanding {
        /// See [`crate::Limits::OUTCOMES_MAX`].
        max: u64,
    },
    /// Too many client handles are open.
    #[error("too many client handles are open: at most {max}")]
    TooManyClients {
        /// See [`crate::Limits::CLIENTS_MAX`].
        max: u64,
    },
    /// The drawn client handle is taken; draw another.
    #[error("the client handle is taken")]
    ClientTaken,
    /// A node announced itself under an id that belongs to another data directory.
    #[error("the node id belongs to another data directory (incarnation {recorded:016x})")]
    IncarnationMismatch {
        /// The one on record.
        recorded: u64,
    },
    /// An apply version below the current one.
    #[error("the apply version is {current} already")]
    ApplyVersionLower {
        /// The version in force.
        current: u32,
    },
    /// So many outcomes are kept for all clients together that this one, which has its share, gets no more for now.
    #[error("too many outcomes are remembered at the moment: at most {max} for all clients together")]
    TooManyOutcomes {
        /// See [`crate::Limits::OUTCOMES_TOTAL_MAX`].
        max: u64,
    },
    /// Somebody else holds the session's lock.
    #[error("the session is locked: for {age_ms} ms so far, its lease ends in {remaining_ms} ms")]
    Locked {
        /// Since it was taken.
        age_ms: Millis,
        /// Until the lease lapses.
        remaining_ms: Millis,
    },
    /// The token is not that of the lock's holder, or not any more.
    #[error(
        "the lock is not held with this token: its lease has lapsed, it was given back, or it was broken"
    )]
    StaleFence,
    /// Nobody holds the lock.
    #[error("the session is not locked")]
    NotLocked,
    /// So many wait already.
    #[error("too many wait for the session's lock: at most {max}")]
    TooManyWaiters {
        /// See [`crate::Limits::WAITERS_MAX`].
        max: u64,
    },
    /// The waiter is not in line: its time was up, or it did not claim the lock in time.
    #[error("the place in line for the session's lock is gone")]
    WaitOver,
    /// The namespace has as many sessions as it may have.
    #[error("the namespace has as many sessions as its policy allows: {max}")]
    NamespaceFull {
        /// The policy's limit.
        max: u64,
    },
    /// The namespace's sessions would take more than they may.
    #[error("the namespace's sessions would take {bytes} bytes; its policy allows {max}")]
    NamespaceBytesExceeded {
        /// What they would take.
        bytes: u64,
        /// The policy's limit.
        max: u64,
    },
    /// The principal has as many sessions as it may have.
    #[error("the principal has as many sessions as its namespace's policy allows: {max}")]
    TooManySessionsOfPrincipal {
        /// The policy's limit.
        max: u64,
    },
    /// The session to keep is not one of the principal's.
    #[error("the session to keep does not belong to the principal")]
    NotOfPrincipal,
    /// Too many principals are revoked and not reaped yet.
    #[error("too many revocations are under way: at most {max}")]
    TooManyRevocations {
        /// See [`crate::Limits::REVOCATIONS_MAX`].
        max: u64,
    },
    /// A namespace of that name exists.
    #[error("a namespace of this name exists")]
    NamespaceExists,
    /// There are as many namespaces as there may be.
    #[error("there are too many namespaces: at most {max}")]
    TooManyNamespaces {
        /// See [`crate::Limits::NAMESPACES_MAX`].
        max: u64,
    },
    /// The namespace that every cluster has.
    #[error("this namespace cannot be deleted")]
    NamespaceRequired,
    /// A policy's setting out of range.
    #[error("the policy's {name} is out of range: {min} to {max} is allowed")]
    PolicyOutOfRange {
        /// The setting, as the public API calls it.
        name: Cow<'static, str>,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// Not all nodes know this operation yet.
    #[error("the cluster runs by apply version {current}, which does not know this operation yet")]
    NotYetSupported {
        /// The version in force.
        current: u32,
    },
}
