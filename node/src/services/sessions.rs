//! `quorate.v1.Sessions`: each unary call is a pipelined operation on its own.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use quorate_proto::v1::sessions_server::Sessions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use super::backend::Backend;
use super::executor::Executor;
use super::failure::Failure;
use super::pipeline::Line;
use super::reasons;
use super::server::STREAMS_PER_CONNECTION_MAX;
use super::unary::{unary, wants_redirect};
use super::watch::{WatchStream, Watches};

/// Messages of a stream's answers that may wait for the connection. More wait in the line, where they are bounded in
/// bytes.
const MESSAGES_MAX: usize = 2;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct SessionsService<B> {
    executor: Executor<B>,
    watches: Watches,
    /// Cancelled when the node stops: streams answer what is in flight and end.
    stop: CancellationToken,
}

impl<B: Backend> SessionsService<B> {
    pub(crate) fn new(executor: Executor<B>, stop: CancellationToken) -> Self {
        SessionsService { executor, watches: Watches::new(stop.clone()), stop }
    }
}

/// Unary calls of one connection that wait for locks. Each takes one of its streams: they leave others for calls that come
/// to something, above all those that give locks back.
#[derive(Clone, Debug)]
pub(super) struct WaitingLocks {
    free: Arc<Semaphore>,
}

impl Default for WaitingLocks {
    fn default() -> Self {
        WaitingLocks { free: Arc::new(Semaphore::new(STREAMS_PER_CONNECTION_MAX as usize / 2)) }
    }
}

impl WaitingLocks {
    /// Holds a place for a lock that may wait, if it came by a connection.
    ///
    /// # Errors
    /// [`Failure`] when too many wait on its connection.
    fn admit(request: &Request<v1::LockRequest>) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        let lock = request.get_ref();
        let waits = lock.wait_ms > 0 && lock.fence.is_none();
        let Some(waiting) = request.extensions().get::<WaitingLocks>().filter(|_| waits) else {
            return Ok(None);
        };
        let place = Arc::clone(&waiting.free).try_acquire_owned();
        place
            .map(Some)
            .map_err(|_| reasons::overloaded("too many locks of this connection wait for their turn"))
    }
}

#[tonic::async_trait]
impl<B: Backend> Sessions for SessionsService<B> {
    async fn open_client(
        &self,
        request: Request<v1::OpenClientRequest>,
    ) -> Result<Response<v1::OpenClientResponse>, Status> {
        unary(&self.executor, request, Wire::OpenClient).await
    }

    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateResponse>, Status> {
        unary(&self.executor, request, Wire::Create).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        unary(&self.executor, request, Wire::Get).await
    }

    async fn write(&self, request: Request<v1::WriteRequest>) -> Result<Response<v1::WriteResponse>, Status> {
        unary(&self.executor, request, Wire::Write).await
    }

    async fn touch(&self, request: Request<v1::TouchRequest>) -> Result<Response<v1::TouchResponse>, Status> {
        unary(&self.executor, request, Wire::Touch).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        unary(&self.executor, request, Wire::Delete).await
    }

    async fn regenerate(
        &self,
        request: Request<v1::RegenerateRequest>,
    ) -> Result<Response<v1::RegenerateResponse>, Status> {
        unary(&self.executor, request, Wire::Regenerate).await
    }

    async fn touch_many(
        &self,
        request: Request<v1::TouchManyRequest>,
    ) -> Result<Response<v1::TouchManyResponse>, Status> {
        unary(&self.executor, request, Wire::TouchMany).await
    }

    async fn lock(&self, request: Request<v1::LockRequest>) -> Result<Response<v1::LockResponse>, Status> {
        let _place = WaitingLocks::admit(&request).map_err(Failure::into_status)?;
        unary(&self.executor, request, Wire::Lock).await
    }

    async fn unlock(
        &self,
        request: Request<v1::UnlockRequest>,
    ) -> Result<Response<v1::UnlockResponse>, Status> {
        unary(&self.executor, request, Wire::Unlock).await
    }

    async fn break_lock(
        &self,
        request: Request<v1::BreakLockRequest>,
    ) -> Result<Response<v1::BreakLockResponse>, Status> {
        unary(&self.executor, request, Wire::BreakLock).await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        unary(&self.executor, request, Wire::List).await
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        unary(&self.executor, request, Wire::Revoke).await
    }

    type WatchStream = WatchStream;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watch = self.watches.watch(self.executor.backend(), request.get_ref());
        watch.map(Response::new).map_err(Failure::into_status)
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
