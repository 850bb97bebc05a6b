//! Errors that the transport makes (an unknown method, a message that is too long or does not decode) get the same
//! details as ours: a reason, and whether to retry.

use axum::response::Response;
use tonic::{Code, Status};

use super::failure::Failure;

/// A status with details, whoever made it. Errors of the transport never reached an operation.
pub(crate) fn explained(status: Status) -> Status {
    if status.code() == Code::Ok || !status.details().is_empty() {
        return status;
    }
    let reason = match status.code() {
        Code::Unimplemented => "UNKNOWN_METHOD",
        Code::OutOfRange | Code::ResourceExhausted => "MESSAGE_TOO_LARGE",
        Code::Internal | Code::InvalidArgument => "MALFORMED_MESSAGE",
        Code::NotFound => "UNKNOWN_SERVICE",
        _ => "TRANSPORT",
    };
    let message =
        if status.message().is_empty() { "this server has no such method" } else { status.message() };
    Failure::new(status.code(), reason, message).into_status()
}

/// Explains a response that consists of an error alone.
pub(crate) async fn explain(mut response: Response) -> Response {
    let status = Status::from_header_map(response.headers());
    if let Some(status) = status.filter(|status| status.code() != Code::Ok && status.details().is_empty()) {
        // Only a message that no header can carry fails here; then the error stays as it was.
        let _ = explained(status).add_header(response.headers_mut());
    }
    response
}
