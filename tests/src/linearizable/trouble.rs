//! A call that was not answered as asked: what that says of the session.

use quorate_client::Error;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::outcome::Outcome;

/// A call that was not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Refused, by the state of the session.
    Refused(Outcome),
    /// It may have taken effect.
    Unknown,
    /// It certainly did not, and says nothing of the session.
    NotApplied,
    /// No state of the session explains this answer.
    Unexpected(String),
}

impl Trouble {
    /// By the reason in the error; without one it comes from the transport.
    fn new(reason: Option<&str>, current: Option<u64>, retryable: bool, maybe_applied: bool) -> Trouble {
        if maybe_applied {
            return Trouble::Unknown;
        }
        let outcome = match (reason, current) {
            (Some("NOT_FOUND"), _) => Outcome::Missing { renamed: false },
            (Some("RENAMED"), _) => Outcome::Missing { renamed: true },
            (Some("ALREADY_EXISTS"), _) => Outcome::Taken { ended: false },
            (Some("RECENTLY_ENDED"), _) => Outcome::Taken { ended: true },
            (Some("VERSION_CONFLICT"), Some(current)) => Outcome::Conflict(current),
            (Some("LOCKED"), _) => Outcome::InTheWay,
            (Some("STALE_FENCE"), _) => Outcome::NotHolder,
            (Some("NOT_LOCKED"), _) => Outcome::NotLocked,
            _ if retryable => return Trouble::NotApplied,
            _ => return Trouble::Unexpected(reason.unwrap_or("an error without a reason").to_owned()),
        };
        Trouble::Refused(outcome)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let current = error.metadata().get("current_version").and_then(|version| version.parse().ok());
        // A time that is up is nothing to the session, whatever the last try met.
        let retryable = error.is_retryable() || error.kind() == quorate_client::ErrorKind::Deadline;
        Trouble::new(error.reason(), current, retryable, error.may_have_taken_effect())
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let Some(info) = status.get_details_error_info() else {
            // From the transport: nobody knows how far the call came.
            return Trouble::Unknown;
        };
        let flag = |name: &str| info.metadata.get(name).is_some_and(|value| value == "true");
        let current = info.metadata.get("current_version").and_then(|version| version.parse().ok());
        // Of a call without a request id a node says that it may not be repeated, not that it was in vain.
        let transient = matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded);
        Trouble::new(Some(&info.reason), current, flag("retryable") || transient, flag("maybe_applied"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    fn told(code: Code, reason: &str, facts: &[(&str, &str)]) -> Trouble {
        let facts = facts.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned()));
        let details = ErrorDetails::with_error_info(reason, "quorate", facts.collect::<HashMap<_, _>>());
        Status::with_error_details(code, "", details).into()
    }

    #[test]
    fn a_refusal_is_an_outcome_and_what_is_unclear_is_unknown() {
        let missing = Trouble::Refused(Outcome::Missing { renamed: true });
        assert_eq!(told(Code::NotFound, "RENAMED", &[]), missing);
        let conflict = told(Code::Aborted, "VERSION_CONFLICT", &[("current_version", "7")]);
        assert_eq!(conflict, Trouble::Refused(Outcome::Conflict(7)));
        let lost = told(Code::Unavailable, "OUTCOME_UNKNOWN", &[("maybe_applied", "true")]);
        assert_eq!(lost, Trouble::Unknown);
        assert_eq!(told(Code::Unavailable, "NO_LEADER", &[("retryable", "true")]), Trouble::NotApplied);
        assert_eq!(Trouble::from(Status::cancelled("")), Trouble::Unknown);
        let unexpected = told(Code::NotFound, "UNKNOWN_NAMESPACE", &[]);
        assert_eq!(unexpected, Trouble::Unexpected("UNKNOWN_NAMESPACE".to_owned()));
    }
}
