//! `quorate.v1.Sessions`: each unary call is a pipelined operation on its own.

use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use quorate_proto::v1::sessions_server::Sessions;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::answer::FromAnswer;
use super::backend::Backend;
use super::executor::{Context, Executor, deadline_after};
use super::pipeline::Line;

/// The request header by which a client asks to be told the leader instead of being forwarded to it.
const REDIRECT_METADATA: &str = "quorate-redirect";

/// Messages of a stream's answers that may wait for the connection.
const MESSAGES_MAX: usize = 4;

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
        let (metadata, _, message) = request.into_parts();
        let context = Context {
            deadline: deadline_after(timeout(&metadata)),
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

fn wants_redirect(metadata: &MetadataMap) -> bool {
    metadata.get(REDIRECT_METADATA).is_some_and(|value| value == "true")
}

/// The caller's `grpc-timeout`, a little shortened: the transport cuts the call off at the full time, and would say
/// nothing of what became of it.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let timeout = match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    };
    Some(timeout.saturating_sub((timeout / 10).min(Duration::from_millis(20))).max(Duration::from_nanos(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_timeout(value: &str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", value.parse().unwrap());
        timeout(&metadata)
    }

    #[test]
    fn grpc_timeouts_are_understood_and_shortened() {
        assert_eq!(with_timeout("1S"), Some(Duration::from_millis(980)));
        assert_eq!(with_timeout("100m"), Some(Duration::from_millis(90)));
        assert_eq!(with_timeout("2M"), Some(Duration::from_millis(119_980)));
        assert_eq!(with_timeout("99999999H").map(|d| d.as_secs() / 3_600), Some(99_999_998));
        for bad in ["", "S", "1", "1x", "-1S", "123456789S"] {
            assert_eq!(with_timeout(bad), None, "{bad}");
        }
        assert_eq!(timeout(&MetadataMap::new()), None);
    }

    #[test]
    fn redirects_are_asked_for_by_header() {
        let mut metadata = MetadataMap::new();
        assert!(!wants_redirect(&metadata));
        metadata.insert(REDIRECT_METADATA, "true".parse().unwrap());
        assert!(wants_redirect(&metadata));
    }
}
