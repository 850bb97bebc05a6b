//! What the log carries.
//!
//! A log payload is one format byte ([`Proposal::FORMAT`]) followed by the proposal in postcard. Commands are only
//! ever added, at the end of [`Command`] or [`Operation`], each gated by an `apply_version`. Format 1 had writes and
//! regenerations without fences (see `legacy`).

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::key::SessionKey;
use crate::legacy;
use crate::lock::Fence;
use crate::member::{Member, NodeId};
use crate::policy::PolicyChange;
use crate::session::{Attributes, Timeouts, Version};
use crate::time::{ClusterTime, Millis};

/// A client handle's number.
pub type ClientId = u64;

/// Identifies a mutation across its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestId {
    /// The client handle.
    pub client: ClientId,
    /// Rises by one with each operation of the client.
    pub sequence: u64,
    /// The lowest sequence the client still waits for.
    pub lowest_unanswered: u64,
}

/// One log payload: when, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The proposing leader's cluster time.
    pub stamp: ClusterTime,
    /// What to do.
    pub command: Command,
}

/// All that can happen to the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Time passes. `wall_ms` is what the wall clocks of a majority said, for the next start of the whole cluster.
    Tick {
        /// Milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// A client handle opens. The number is drawn at random by the proposer.
    OpenClient {
        /// The new handle.
        client: ClientId,
    },
    /// A mutation of one session.
    Operate {
        /// Present when the caller wants exactly-once.
        request: Option<RequestId>,
        /// The mutation.
        operation: Operation,
    },
    /// Expired sessions and tombstones leave memory. Keys that are not due are left alone.
    Reap {
        /// At most [`crate::Limits::REAP_MAX`].
        keys: Vec<SessionKey>,
    },
    /// A node tells who and where it is.
    Announce {
        /// Its id.
        node: NodeId,
        /// Its particulars.
        member: Member,
    },
    /// All members support this apply version: from here on its semantics hold.
    RaiseApplyVersion {
        /// Never lower than the current one.
        version: u32,
    },
    /// A waiter whose turn has come takes the lock.
    ClaimLock(Waiter),
    /// A waiter gives up, or its caller is gone.
    LeaveLine(Waiter),
    /// Lapsed locks go to the next in line. Those not lapsed are left alone.
    SettleLocks {
        /// At most [`crate::Limits::REAP_MAX`].
        keys: Vec<SessionKey>,
    },
    /// An outage is over that stamps cannot tell: cluster time advances, served time does not. The wall clock of the
    /// last Tick counts as advanced by as much, so that the same outage is not counted again by a leader that takes
    /// over before the next Tick. Any `by_ms` can be applied; the proposer bounds it.
    TimeJump {
        /// How much longer the outage was than the clock knows.
        by_ms: Millis,
    },
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// The application.
    pub namespace: Box<str>,
    /// The session.
    pub key: SessionKey,
    /// Its token.
    pub fence: Fence,
}

/// A mutation of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Insert-only.
    Create(CreateSession),
    /// Replace or patch.
    Write(WriteSession),
    /// Renew the idle deadline.
    Touch {
        /// The application.
        namespace: Box<str>,
        /// The session.
        key: SessionKey,
    },
    /// End the session.
    Delete {
        /// The application.
        namespace: Box<str>,
        /// The session.
        key: SessionKey,
    },
    /// Move the session to a new key.
    Regenerate(RegenerateSession),
    /// Renew the idle deadlines of many sessions.
    TouchMany {
        /// The application.
        namespace: Box<str>,
        /// At most [`crate::Limits::TOUCHES_MAX`].
        keys: Vec<SessionKey>,
    },
    /// Take a session's lock, or renew its lease.
    Lock(LockSession),
    /// Give a lock back.
    Unlock(Waiter),
    /// Take a lock away from its holder.
    BreakLock {
        /// The application.
        namespace: Box<str>,
        /// The session.
        key: SessionKey,
    },
    /// End all sessions of a principal.
    Revoke(RevokePrincipal),
    /// Create a namespace, or change its policy.
    PutNamespace {
        /// Its name.
        name: Box<str>,
        /// What is to be different.
        change: Box<PolicyChange>,
        /// `Some(true)`: only if it is not there; `Some(false)`: only if it is.
        create: Option<bool>,
    },
    /// End all sessions of a namespace, and forget it.
    DeleteNamespace {
        /// Its name.
        name: Box<str>,
    },
}

/// See `quorate.v1.RevokeRequest`. `Debug` does not show the principal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokePrincipal {
    /// The application.
    pub namespace: Box<str>,
    /// Whose; never empty.
    pub principal: Box<str>,
    /// The one to keep.
    pub except: Option<SessionKey>,
}

/// See `quorate.v1.LockRequest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockSession {
    /// The application.
    pub namespace: Box<str>,
    /// The session.
    pub key: SessionKey,
    /// How long it is held unless renewed.
    pub lease_ms: Millis,
    /// How long to wait in line; 0: not at all.
    pub wait_ms: Millis,
    /// Renew the lock of this token.
    pub fence: Option<Fence>,
    /// What the taker calls itself.
    pub owner: Box<str>,
}

/// See `quorate.v1.CreateRequest`. `Debug` shows no attribute values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSession {
    /// The application.
    pub namespace: Box<str>,
    /// Derived from the id.
    pub key: SessionKey,
    /// Initial attributes.
    pub attributes: Attributes,
    /// The signed-in user, or empty.
    pub principal: Box<str>,
    /// `None` fields take the namespace's defaults.
    pub timeouts: Timeouts,
}

/// See `quorate.v1.WriteRequest`. `Debug` shows no attribute values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSession {
    /// The application.
    pub namespace: Box<str>,
    /// The session.
    pub key: SessionKey,
    /// What happens to the attributes.
    pub change: AttributeChange,
    /// Refuse unless the session has this version.
    pub if_version: Option<Version>,
    /// The new principal; empty signs out.
    pub principal: Option<Box<str>>,
    /// `None` fields leave the session's own.
    pub timeouts: Timeouts,
    /// The lock that the caller holds.
    pub fence: Option<Fence>,
    /// Give that lock back.
    pub release: bool,
}

/// What a write does to the attributes. `Debug` shows no attribute values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeChange {
    /// Nothing.
    Keep,
    /// These and no others.
    Replace(Attributes),
    /// Set some, remove some; all else stays. A name in both is set (services refuse it).
    Patch {
        /// New or changed attributes.
        set: Attributes,
        /// Names to remove; absent ones are ignored.
        remove: Vec<Box<str>>,
    },
}

/// See `quorate.v1.RegenerateRequest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegenerateSession {
    /// The application.
    pub namespace: Box<str>,
    /// The old key: dead afterwards.
    pub key: SessionKey,
    /// The new key: must be free.
    pub new_key: SessionKey,
    /// The lock that the caller holds.
    pub fence: Option<Fence>,
}

impl fmt::Debug for CreateSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSession")
            .field("namespace", &self.namespace)
            .field("key", &self.key)
            .field("attributes", &self.attributes.len())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WriteSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteSession")
            .field("namespace", &self.namespace)
            .field("key", &self.key)
            .field("change", &self.change)
            .field("if_version", &self.if_version)
            .field("timeouts", &self.timeouts)
            .field("fence", &self.fence)
            .field("release", &self.release)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RevokePrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevokePrincipal")
            .field("namespace", &self.namespace)
            .field("except", &self.except)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AttributeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributeChange::Keep => f.write_str("Keep"),
            AttributeChange::Replace(attributes) => write!(f, "Replace({} attributes)", attributes.len()),
            AttributeChange::Patch { set, remove } => {
                write!(f, "Patch({} set, {} removed)", set.len(), remove.len())
            }
        }
    }
}

/// A log payload that this version cannot read. The process must stop: skipping it would fork the state.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version.
    #[error("the proposal has format {found}; this version reads up to {known}: upgrade this node")]
    Format {
        /// What the payload says.
        found: u8,
        /// The newest format known here.
        known: u8,
    },
    /// Not a proposal at all.
    #[error("the proposal does not decode: {0}")]
    Malformed(#[from] postcard::Error),
    /// More than a proposal.
    #[error("the proposal is followed by {0} bytes that are not part of it")]
    Trailing(usize),
    /// Empty payload.
    #[error("the proposal is empty")]
    Empty,
}

impl Proposal {
    /// The format written by this version.
    pub const FORMAT: u8 = 2;

    /// The log payload.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = postcard::to_extend(self, vec![Self::FORMAT]);
        // Serialising plain data into a growing vector has no way to fail.
        bytes.map(Bytes::from).unwrap_or_default()
    }

    /// Reads a log payload.
    ///
    /// # Errors
    /// [`DecodeError`]: the process must stop.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        match payload.split_first() {
            None => Err(DecodeError::Empty),
            Some((&Self::FORMAT, rest)) => all_of(rest),
            Some((&1, rest)) => all_of::<legacy::Proposal>(rest).map(Proposal::from),
            Some((&found, _)) => Err(DecodeError::Format { found, known: Self::FORMAT }),
        }
    }
}

fn all_of<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(DecodeError::Trailing(rest.len())),
    }
}
