//! `grpc.health.v1.Health`: asks consensus at the moment of the question, so it never lags.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::backend::Backend;

/// How often a watched status is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct HealthService<B>(pub(crate) B);

impl<B: Backend> HealthService<B> {
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let serving = match service {
            "" | "quorate.v1.Sessions" => self.0.is_ready(),
            // Tells of the node itself, whatever the cluster's state.
            "quorate.v1.Cluster" => true,
            _ => return None,
        };
        Some(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
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
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
