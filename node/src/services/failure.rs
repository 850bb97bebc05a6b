//! An operation that was not answered as asked, in the one form from which both a unary call's status and a
//! pipelined answer's error are made.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `google.rpc.ErrorInfo` made here.
pub const DOMAIN: &str = "quorate";

/// The response metadata key that carries the leader's client address.
pub(crate) const LEADER_METADATA: &str = "quorate-leader";

/// Why an operation failed, and what its caller may do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// Stable, SCREAMING_SNAKE: what programs decide by.
    pub reason: &'static str,
    /// For people. Holds no session id and no attribute value.
    pub message: String,
    /// Whether the same call may be sent again.
    pub retryable: bool,
    /// Whether the call could have taken effect.
    pub maybe_applied: bool,
    /// More metadata of the `ErrorInfo`.
    pub facts: Vec<(&'static str, String)>,
    /// The request field at fault, for `google.rpc.BadRequest`.
    pub field: Option<&'static str>,
    /// How long to wait before a retry, for `google.rpc.RetryInfo`.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that had no effect and is not worth a retry.
    #[must_use]
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Failure {
            code,
            reason,
            message: message.into(),
            retryable: false,
            maybe_applied: false,
            facts: Vec::new(),
            field: None,
            retry_after: None,
        }
    }

    /// A request that no state of the cluster would accept.
    #[must_use]
    pub fn invalid(reason: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Failure { field: Some(field), ..Failure::new(Code::InvalidArgument, reason, message) }
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.facts.push((name, value.to_string()));
        self
    }

    /// Retryable, after a while.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retryable = true;
        self.retry_after = Some(after);
        self
    }

    fn details(&self) -> ErrorDetails {
        let mut metadata = HashMap::from([
            ("retryable".to_owned(), self.retryable.to_string()),
            ("maybe_applied".to_owned(), self.maybe_applied.to_string()),
        ]);
        metadata.extend(self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let mut details = ErrorDetails::with_error_info(self.reason, DOMAIN, metadata);
        if let Some(field) = self.field {
            details.add_bad_request_violation(field, self.message.clone());
        }
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        details
    }

    /// As a unary call answers it.
    #[must_use]
    pub fn into_status(self) -> Status {
        let mut metadata = MetadataMap::new();
        let leader = self.facts.iter().find(|(name, _)| *name == "leader");
        // An address that no header can carry is in the details all the same.
        if let Some(address) =
            leader.and_then(|(_, address)| AsciiMetadataValue::try_from(address.as_str()).ok())
        {
            metadata.insert(LEADER_METADATA, address);
        }
        let details = self.details();
        Status::with_error_details_and_metadata(self.code, self.message, details, metadata)
    }

    /// As a pipelined answer carries it.
    #[must_use]
    pub fn into_error(self) -> v1::Error {
        let details = self.details();
        let status = Status::with_error_details(self.code, self.message.clone(), details);
        v1::Error {
            code: i32::from(self.code),
            message: self.message,
            details: Bytes::copy_from_slice(status.details()),
        }
    }
}

/// The status of a unary call whose operation was answered by another node with this error.
pub(crate) fn relayed(error: v1::Error) -> Status {
    Status::with_details(Code::from(error.code), error.message, error.details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_error_tell_the_same() {
        let failure = Failure::new(Code::Unavailable, "NOT_LEADER", "elsewhere")
            .retry(Duration::from_millis(20))
            .fact("leader", "127.0.0.1:7102");
        let status = failure.clone().into_status();
        let error = relayed(failure.into_error());
        for status in [&status, &error] {
            assert_eq!((status.code(), status.message()), (Code::Unavailable, "elsewhere"));
            let info = status.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NOT_LEADER", DOMAIN));
            let metadata = |key: &str| info.metadata.get(key).map(String::as_str);
            assert_eq!(metadata("retryable"), Some("true"));
            assert_eq!(metadata("maybe_applied"), Some("false"));
            assert_eq!(metadata("leader"), Some("127.0.0.1:7102"));
            assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(20)));
        }
        assert_eq!(status.metadata().get(LEADER_METADATA).unwrap(), "127.0.0.1:7102");
    }

    #[test]
    fn bad_input_names_its_field() {
        let status = Failure::invalid("INVALID_ID", "id", "too short").into_status();
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.first().unwrap().field, "id");
    }
}
