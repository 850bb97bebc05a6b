//! A unary call: an operation on its own.

use quorate_proto::v1::operation::Operation as Wire;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::answer::FromAnswer;
use super::arrival::Arrival;
use super::backend::Backend;
use super::executor::{Context, Executor, deadline_after};

/// The request header by which a client asks to be told the leader instead of being forwarded to it.
const REDIRECT_METADATA: &str = "quorate-redirect";

/// Runs the operation that a call's message is, to its response.
pub(crate) async fn unary<B: Backend, T, R: FromAnswer>(
    executor: &Executor<B>,
    request: Request<T>,
    wrap: fn(T) -> Wire,
) -> Result<Response<R>, Status> {
    let (metadata, extensions, message) = request.into_parts();
    let arrival = extensions.get::<Arrival>();
    let context = Context {
        deadline: arrival.map_or_else(|| deadline_after(None), Arrival::begin),
        redirect: wants_redirect(&metadata),
        forwarded: false,
    };
    executor.call(wrap(message), context).await.map(Response::new)
}

pub(crate) fn wants_redirect(metadata: &MetadataMap) -> bool {
    metadata.get(REDIRECT_METADATA).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_asked_for_by_header() {
        let mut metadata = MetadataMap::new();
        assert!(!wants_redirect(&metadata));
        metadata.insert(REDIRECT_METADATA, "true".parse().unwrap());
        assert!(wants_redirect(&metadata));
    }
}
