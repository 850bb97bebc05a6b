//! `grpc.health.v1.Health`: asks consensus at the moment of the question, so it never lags.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::backend::Backend;

/// How often a watched status is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct HealthService<B> {
    pub(crate) backend: B,
    /// Cancelled when the node begins to stop: from then on it tells everybody to go elsewhere.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the listener closes: watches end, or they would hold it open.
    pub(crate) stop: CancellationToken,
}

impl<B: Backend> HealthService<B> {
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let stopping = self.stopping.is_cancelled();
        let serving = match service {
            "" | "quorate.v1.Sessions" | "quorate.v1.Namespaces" => !stopping && self.backend.is_ready(),
            // Tells of the node itself, whatever the cluster's state.
            "quorate.v1.Cluster" => !stopping,
            _ => return None,
        };
        Some(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
    }

    /// Waits until the status may have changed; false when the watch is over.
    async fn next_look(&self) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.stopping.cancelled(), if !self.stopping.is_cancelled() => true,
            () = tokio::time::sleep(WATCH_INTERVAL) => true,
        }
    }
}

type Watch = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<B: Backend> Health for HealthService<B> {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.status(&request.get_ref().service);
        let status = status.ok_or_else(|| Status::not_found("this node has no such service"))?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let service = request.into_inner().service;
        let health = self.clone();
        let changes = stream::unfold(None, move |told| {
            let (health, service) = (health.clone(), service.clone());
            async move {
                loop {
                    let status = health.status(&service).unwrap_or(ServingStatus::ServiceUnknown);
                    if told != Some(status) {
                        return Some((Ok(HealthCheckResponse { status: status.into() }), Some(status)));
                    }
                    if !health.next_look().await {
                        return None;
                    }
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
