//! `Sessions.Watch`: not served yet.

use std::pin::Pin;

use futures_util::Stream;
use quorate_proto::v1;
use tonic::{Request, Response, Status};

use super::backend::Backend;

/// What a watch sends.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

/// Begins a watch.
pub(crate) async fn watch<B: Backend>(
    _backend: &B,
    _request: Request<v1::WatchRequest>,
) -> Result<Response<WatchStream>, Status> {
    Err(Status::unimplemented("Watch is not served yet"))
}
