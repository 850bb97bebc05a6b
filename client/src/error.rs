//! What a failed call means for its caller.

use std::collections::HashMap;
use std::time::Duration;

use quorate_proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::dialler::said;

/// The reason of a message that is longer than a node takes; no state of the cluster changes that.
pub(crate) const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";

/// The reason of a read at a position that no node that was asked had come to in time.
const POSITION_NOT_REACHED: &str = "POSITION_NOT_REACHED";

/// A call that did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Box<str>,
    reason: Option<Box<str>>,
    metadata: HashMap<String, String>,
    retryable: bool,
    maybe_applied: bool,
    /// In milliseconds: an error stays small. 0: nothing was asked.
    retry_after_ms: u32,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such session: never created, expired, deleted, or renamed (see [`Error::reason`]).
    NotFound,
    /// The id is in use, or was until a moment ago.
    AlreadyExists,
    /// The session has another version than the one required.
    VersionConflict {
        /// Its version now.
        current: u64,
    },
    /// Somebody else holds the session's lock.
    Locked {
        /// Since it was taken; zero where nobody knows.
        age: Duration,
        /// Until its lease ends, unless renewed; zero where nobody knows.
        remaining: Duration,
    },
    /// The lock is not held, or not any more, by whoever thought so: its lease has lapsed, it was given back or broken.
    LockLost,
    /// Events that were asked for are no longer kept, or are another cluster's: see the metadata `oldest_index`.
    OutOfRange,
    /// The caller may not do this.
    PermissionDenied,
    /// The node, or the cluster while it is upgraded, does not know this operation yet.
    Unsupported,
    /// The request breaks a rule; the message says which.
    InvalidArgument,
    /// No node could take the call: nothing happened. Not a sign that the session is gone.
    Unavailable,
    /// The time was up; see [`Error::may_have_taken_effect`].
    Deadline,
    /// The call was sent, but its outcome was forgotten before it could be asked for again.
    OutcomeUnknown,
    /// A limit was exceeded.
    ResourceExhausted,
    /// The state of things does not allow it; see [`Error::reason`].
    FailedPrecondition,
    /// Anything else; the message says what.
    Other,
}

impl Error {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The server's machine-readable reason, such as `RENAMED`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The facts that came with it, such as `current_version`.
    #[must_use]
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Whether the call could have taken effect.
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        self.maybe_applied
    }

    /// How long the server asks to wait before the same call is made again; the client waited that long between its
    /// own tries.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (self.retry_after_ms > 0).then(|| Duration::from_millis(self.retry_after_ms.into()))
    }

    pub(crate) fn local(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        Error {
            kind,
            message: message.into(),
            reason: None,
            metadata: HashMap::new(),
            retryable: kind == ErrorKind::Unavailable,
            maybe_applied: false,
            retry_after_ms: 0,
        }
    }

    /// A lock was lost: why, and the answer that said so.
    pub(crate) fn lock_lost(why: impl std::fmt::Display, cause: Option<&Error>) -> Self {
        let lost = Error::local(ErrorKind::LockLost, format!("the lock is lost: {why}"));
        let (reason, metadata) =
            cause.map(|cause| (cause.reason.clone(), cause.metadata.clone())).unwrap_or_default();
        Error { reason, metadata, ..lost }
    }

    /// An operation of `bytes` that no node would take; it was not sent.
    pub(crate) fn too_large(bytes: usize, max_bytes: usize) -> Self {
        let message = format!("the request has {bytes} bytes; a node takes {max_bytes} at most");
        let facts = [("bytes", bytes), ("max_bytes", max_bytes)];
        Error {
            reason: Some(MESSAGE_TOO_LARGE.into()),
            metadata: facts.into_iter().map(|(name, fact)| (name.to_owned(), fact.to_string())).collect(),
            ..Error::local(ErrorKind::ResourceExhausted, message)
        }
    }

    /// A read was not answered: most likely the node at `address` waits for the position that was asked for.
    pub(crate) fn position_not_reached(address: &str, waited: Duration) -> Self {
        Error {
            reason: Some(POSITION_NOT_REACHED.into()),
            retryable: true,
            ..Error::local(
                ErrorKind::Deadline,
                format!("{address} did not reach the position within {waited:?}"),
            )
        }
    }

    /// As told by the node at `address`.
    pub(crate) fn at(self, address: &str) -> Self {
        Error { message: format!("{address}: {}", self.message).into(), ..self }
    }

    /// The call's time is up. `last` is what the last try met; `maybe_applied`, whether any try was sent.
    pub(crate) fn deadline(last: Option<Error>, maybe_applied: bool) -> Self {
        let cause = last.as_ref().map_or_else(String::new, |last| format!("; the last try met: {last}"));
        let (kind, what) = if maybe_applied {
            (ErrorKind::Deadline, "no answer came before the deadline; it may have taken effect")
        } else if last.as_ref().is_some_and(|last| last.reason() == Some(POSITION_NOT_REACHED)) {
            (ErrorKind::Deadline, "the position was not reached before the deadline")
        } else if last.is_some() {
            (ErrorKind::Unavailable, "no node took the call before the deadline")
        } else {
            (ErrorKind::Deadline, "no answer came before the deadline")
        };
        let (reason, metadata, retry_after_ms) =
            last.map_or_else(Default::default, |last| (last.reason, last.metadata, last.retry_after_ms));
        Error {
            kind,
            message: format!("{what}{cause}").into(),
            reason,
            metadata,
            retryable: !maybe_applied,
            maybe_applied,
            retry_after_ms,
        }
    }

    /// A mutation was sent, and its outcome can be asked for no longer.
    pub(crate) fn outcome_unknown(cause: &Error) -> Self {
        Error {
            kind: ErrorKind::OutcomeUnknown,
            message: format!("the outcome is unknown: {cause}").into(),
            retryable: false,
            maybe_applied: true,
            retry_after_ms: 0,
            ..cause.clone()
        }
    }

    /// The error of a read, which has no effect whatever became of it.
    pub(crate) fn without_effect(self) -> Self {
        Error { maybe_applied: false, ..self }
    }

    /// A refusal of a mutation of which earlier tries `may` have taken effect. What the replicated state refuses is
    /// the outcome of all tries, for they share a request id; any other error speaks for the last try alone.
    pub(crate) fn after_tries(self, may: bool) -> Self {
        let last_alone =
            matches!(self.kind, ErrorKind::Other | ErrorKind::PermissionDenied | ErrorKind::Unsupported);
        if may && (last_alone || self.reason() == Some(MESSAGE_TOO_LARGE)) {
            Error { maybe_applied: true, retryable: false, ..self }
        } else {
            self
        }
    }

    pub(crate) fn from_wire(error: v1::Error) -> Self {
        let status = tonic::Status::with_details(Code::from_i32(error.code), error.message, error.details);
        Self::from_status(&status)
    }

    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata): (Option<Box<str>>, _) = match details.error_info().cloned() {
            Some(info) => (Some(info.reason.into()), info.metadata),
            None => (None, HashMap::new()),
        };
        let flag = |key: &str| metadata.get(key).map(|value| value == "true");
        let kind = match reason.as_deref() {
            // The transport's own limit has another code than ours.
            Some(MESSAGE_TOO_LARGE) => ErrorKind::ResourceExhausted,
            Some("LOCKED" | "WAIT_OVER") => locked(&metadata),
            Some("STALE_FENCE") => ErrorKind::LockLost,
            _ => kind_of(status.code(), &metadata),
        };
        Error {
            retryable: flag("retryable").unwrap_or(kind == ErrorKind::Unavailable),
            // Without details it comes from something between us and a node, and says nothing for sure.
            maybe_applied: flag("maybe_applied").unwrap_or_else(|| is_vague(kind)),
            retry_after_ms: details.retry_info().and_then(|info| info.retry_delay).map_or(0, whole_millis),
            message: said(status).into(),
            kind,
            reason,
            metadata,
        }
    }
}

/// Rounded up: no earlier than asked.
fn whole_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn locked(metadata: &HashMap<String, String>) -> ErrorKind {
    let fact = |name| metadata.get(name).and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    ErrorKind::Locked {
        age: fact("age_ms").unwrap_or_default(),
        remaining: fact("remaining_ms").unwrap_or_default(),
    }
}

fn is_vague(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Deadline | ErrorKind::Other)
}

fn kind_of(code: Code, metadata: &HashMap<String, String>) -> ErrorKind {
    match code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::Aborted => match metadata.get("current_version").and_then(|version| version.parse().ok()) {
            Some(current) => ErrorKind::VersionConflict { current },
            None => ErrorKind::Other,
        },
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::Deadline,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::OutOfRange => ErrorKind::OutOfRange,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::PermissionDenied,
        Code::Unimplemented => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;
    use tonic_types::ErrorDetails;

    use super::*;

    fn told(code: Code, facts: &[(&str, &str)]) -> Error {
        let facts = facts.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned()));
        let details = ErrorDetails::with_error_info("REASON", "quorate", facts.collect::<HashMap<_, _>>());
        Error::from_status(&Status::with_error_details(code, "message", details))
    }

    #[test]
    fn kinds_follow_the_codes() {
        let conflict = told(Code::Aborted, &[("current_version", "7")]);
        assert_eq!(conflict.kind(), ErrorKind::VersionConflict { current: 7 });
        assert_eq!(told(Code::Aborted, &[]).kind(), ErrorKind::Other, "a conflict names the version");
        for (code, kind) in [
            (Code::NotFound, ErrorKind::NotFound),
            (Code::AlreadyExists, ErrorKind::AlreadyExists),
            (Code::InvalidArgument, ErrorKind::InvalidArgument),
            (Code::Unavailable, ErrorKind::Unavailable),
            (Code::DeadlineExceeded, ErrorKind::Deadline),
            (Code::ResourceExhausted, ErrorKind::ResourceExhausted),
            (Code::FailedPrecondition, ErrorKind::FailedPrecondition),
            (Code::OutOfRange, ErrorKind::OutOfRange),
            (Code::PermissionDenied, ErrorKind::PermissionDenied),
            (Code::Unimplemented, ErrorKind::Unsupported),
            (Code::Internal, ErrorKind::Other),
        ] {
            assert_eq!(told(code, &[]).kind(), kind);
        }
    }

    #[test]
    fn a_lock_in_the_way_and_a_lock_that_is_lost_are_told_apart() {
        let refused = |code, reason: &str, facts: &[(&str, &str)]| {
            let facts = facts.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned()));
            let details = ErrorDetails::with_error_info(reason, "quorate", facts.collect::<HashMap<_, _>>());
            Error::from_status(&Status::with_error_details(code, "", details)).kind()
        };
        let (age, remaining) = (Duration::from_millis(1_500), Duration::from_secs(7));
        let facts = [("age_ms", "1500"), ("remaining_ms", "7000")];
        assert_eq!(refused(Code::Aborted, "LOCKED", &facts), ErrorKind::Locked { age, remaining });
        assert_eq!(refused(Code::FailedPrecondition, "STALE_FENCE", &[]), ErrorKind::LockLost);
    }

    #[test]
    fn the_servers_word_on_retries_and_effects_is_kept() {
        let error = told(Code::Unavailable, &[("retryable", "false"), ("maybe_applied", "true")]);
        assert!(!error.is_retryable() && error.may_have_taken_effect());
        let error = told(Code::DeadlineExceeded, &[("retryable", "true"), ("maybe_applied", "false")]);
        assert!(error.is_retryable() && !error.may_have_taken_effect());
        assert_eq!((error.reason(), error.to_string().as_str()), (Some("REASON"), "message"));
    }

    #[test]
    fn the_pause_asked_for_is_kept_and_never_shortened() {
        let asked = |delay| {
            let mut details = ErrorDetails::with_error_info("OVERLOADED", "quorate", HashMap::new());
            details.set_retry_info(Some(delay));
            Error::from_status(&Status::with_error_details(Code::ResourceExhausted, "", details))
                .retry_after()
        };
        assert_eq!(asked(Duration::from_millis(20)), Some(Duration::from_millis(20)));
        assert_eq!(asked(Duration::from_micros(1_500)), Some(Duration::from_millis(2)));
        assert_eq!(asked(Duration::ZERO), None);
        assert_eq!(told(Code::Unavailable, &[]).retry_after(), None);
    }

    #[test]
    fn a_message_too_long_is_refused_for_good_but_says_nothing_of_earlier_tries() {
        let error = Error::too_large(5, 4);
        assert!(!error.is_retryable() && !error.may_have_taken_effect());
        assert!(error.after_tries(true).may_have_taken_effect());
    }

    #[test]
    fn an_error_without_details_promises_nothing() {
        for code in
            [Code::Unavailable, Code::DeadlineExceeded, Code::Internal, Code::Unknown, Code::Cancelled]
        {
            assert!(Error::from_status(&Status::new(code, "")).may_have_taken_effect(), "{code:?}");
        }
        assert!(!Error::from_status(&Status::new(Code::NotFound, "")).may_have_taken_effect());
    }

    #[test]
    fn a_refusal_by_the_state_is_the_outcome_of_all_tries() {
        assert!(!told(Code::NotFound, &[]).after_tries(true).may_have_taken_effect());
        let denied = Error::from_status(&Status::permission_denied("")).without_effect();
        assert!(!denied.clone().after_tries(false).may_have_taken_effect());
        assert!(denied.after_tries(true).may_have_taken_effect());
    }
}
