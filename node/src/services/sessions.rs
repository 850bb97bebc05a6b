//! `quorate.v1.Sessions`: each unary call is a pipelined operation on its own.

use futures_util::future::BoxFuture;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use quorate_proto::v1::sessions_server::Sessions;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use super::answer::FromAnswer;
use super::arrival::Arrival;
use super::backend::Backend;
use super::executor::{Context, Executor, deadline_after};
use super::pipeline::Line;

/// The request header by which a client asks to be told the leader instead of being forwarded to it.
const REDIRECT_METADATA: &str = "quorate-redirect";

/// Messages of a stream's answers that may wait for the connection. More wait in the line, where they are bounded in
/// bytes.
const MESSAGES_MAX: usize = 2;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct SessionsService<B> {
    executor: Executor<B>,
    /// Cancelled when the node stops: streams answer what is in flight and end.
    stop: CancellationToken,
}

impl<B: Backend> SessionsService<B> {
    pub(crate) fn new(executor: Executor<B>, stop: CancellationToken) -> Self {
        SessionsService { executor, stop }
    }

    async fn unary<T, R: FromAnswer>(
        &self,
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
        self.executor.call(wrap(message), context).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl<B: Backend> Sessions for SessionsService<B> {
    async fn open_client(
        &self,
        request: Request<v1::OpenClientRequest>,
    ) -> Result<Response<v1::OpenClientResponse>, Status> {
        self.unary(request, Wire::OpenClient).await
    }

    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateResponse>, Status> {
        self.unary(request, Wire::Create).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        self.unary(request, Wire::Get).await
    }

    async fn write(&self, request: Request<v1::WriteRequest>) -> Result<Response<v1::WriteResponse>, Status> {
        self.unary(request, Wire::Write).await
    }

    async fn touch(&self, request: Request<v1::TouchRequest>) -> Result<Response<v1::TouchResponse>, Status> {
        self.unary(request, Wire::Touch).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        self.unary(request, Wire::Delete).await
    }

    async fn regenerate(
        &self,
        request: Request<v1::RegenerateRequest>,
    ) -> Result<Response<v1::RegenerateResponse>, Status> {
        self.unary(request, Wire::Regenerate).await
    }

    type PipelineStream = ReceiverStream<Result<v1::PipelineResponse, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let redirect = wants_redirect(request.metadata());
        let (sender, answers) = mpsc::channel(MESSAGES_MAX);
        let line = Line::new(self.executor.clone(), redirect);
        tokio::spawn(line.run(request.into_inner(), sender, self.stop.clone()));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// `Pipeline` by itself, for a route with a codec of its own.
impl<B: Backend> StreamingService<v1::PipelineRequest> for SessionsService<B> {
    type Response = v1::PipelineResponse;
    type ResponseStream = <Self as Sessions>::PipelineStream;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::PipelineRequest>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { service.pipeline(request).await })
    }
}

fn wants_redirect(metadata: &MetadataMap) -> bool {
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
