//! Errors that the transport makes (an unknown method, a message that is too long or does not decode, a caller out of
//! patience) get the same details as ours: a reason, and whether to retry.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Code, Status};

use super::arrival::Arrival;
use super::failure::Failure;

/// What the transport adds when it refuses a compression: those that it knows.
const ACCEPTED_COMPRESSIONS: &str = "grpc-accept-encoding";

/// A status with details, whoever made it. Errors of the transport never reached an operation.
pub(crate) fn explained(status: Status) -> Status {
    if status.code() == Code::Ok || !status.details().is_empty() {
        return status;
    }
    let reason = match status.code() {
        Code::Unimplemented if status.metadata().contains_key(ACCEPTED_COMPRESSIONS) => {
            "UNSUPPORTED_COMPRESSION"
        }
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

/// Stamps a call's arrival, ends it when it takes too long, and explains a response that consists of an error alone.
pub(crate) async fn explain(mut request: Request, next: Next) -> Response {
    let arrival = Arrival::now(request.headers());
    request.extensions_mut().insert(arrival.clone());
    let mut response = match tokio::time::timeout_at(arrival.cut_off(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => return arrival.overdue().into_status().into_http(),
    };
    let status = Status::from_header_map(response.headers());
    if let Some(status) = status.filter(|status| status.code() != Code::Ok && status.details().is_empty()) {
        // Only a message that no header can carry fails here; then the error stays as it was.
        let _ = explained(status).add_header(response.headers_mut());
    }
    response
}
