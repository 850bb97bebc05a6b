//! The client listener.

use std::time::Duration;

use futures_util::future::BoxFuture;
use quorate_proto::v1;
use quorate_proto::v1::cluster_server::{Cluster, ClusterServer};
use quorate_proto::v1::sessions_server::SessionsServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;

use super::backend::Backend;
use super::cluster::ClusterService;
use super::executor::Executor;
use super::explain::explain;
use super::health::HealthService;
use super::sessions::SessionsService;
use crate::consensus::{Consensus, ForwardHandler};

/// The longest message taken. The largest session the default policy allows is 1 MiB.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The longest message sent: a message of answers closes at 1 MiB, so this is never reached.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Calls in progress on one connection; more wait in the client.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// A call's headers together.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Flow-control windows: what a client may send ahead of what has been read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A silent connection is probed after the one, and closed when the probe is not answered within the other.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is in flight when the node stops has this long to be answered.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// All gRPC services for clients, over one consensus handle.
#[derive(Clone)]
pub struct Services {
    consensus: Consensus,
    executor: Executor<Consensus>,
}

/// The client listener while it serves.
#[derive(Debug)]
pub struct ClientListener {
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Services {
    /// `in_flight_bytes_max` bounds the operations in flight on this node: see `Settings::in_flight_bytes`.
    #[must_use]
    pub fn new(consensus: Consensus, in_flight_bytes_max: u64) -> Self {
        Services { executor: Executor::new(consensus.clone(), in_flight_bytes_max), consensus }
    }

    pub(crate) fn executor(&self) -> &Executor<Consensus> {
        &self.executor
    }

    /// Serves clients on `listener`, in the background.
    #[must_use = "stop it, or it serves as long as the process lives"]
    pub fn serve(self, listener: TcpListener) -> ClientListener {
        let stop = CancellationToken::new();
        let routes = routes(self.executor, ClusterService(self.consensus), stop.clone());
        listen(listener, routes, stop)
    }
}

/// All services, with everything they answer explained.
fn routes<B: Backend, C: Cluster>(executor: Executor<B>, cluster: C, stop: CancellationToken) -> Routes {
    let health = HealthServer::new(HealthService(executor.backend().clone()));
    let sessions = SessionsServer::new(SessionsService::new(executor, stop));
    let routes = Routes::new(
        sessions.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(ANSWER_BYTES_MAX),
    )
    .add_service(ClusterServer::new(cluster).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .add_service(health);
    let routes = match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        // The descriptors are part of the binary, and a test builds them: this cannot happen.
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "gRPC reflection is not available");
            routes
        }
    };
    routes.into_axum_router().layer(axum::middleware::map_response(explain)).into()
}

fn listen(listener: TcpListener, routes: Routes, stop: CancellationToken) -> ClientListener {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(routes);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopped = stop.clone().cancelled_owned();
    let served = tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, stopped).await {
            tracing::error!(%error, "the client listener failed");
        }
    });
    ClientListener { stop, served }
}

impl ForwardHandler for Services {
    fn handle(&self, operation: v1::Operation) -> BoxFuture<'static, v1::Answer> {
        self.executor.handle(operation)
    }
}

impl ClientListener {
    /// Takes no more connections and no more operations on open streams, lets what is in flight be answered for up
    /// to 3 s, and closes what is left.
    pub async fn stop(self) {
        self.stop.cancel();
        let abort = self.served.abort_handle();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.served).await.is_err() {
            tracing::info!(
                "closing client connections that did not end within {} s",
                DRAIN_TIMEOUT.as_secs()
            );
            abort.abort();
        }
    }
}

fn reflection<'b>() -> tonic_reflection::server::Builder<'b> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(quorate_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // What is served here: the descriptors also hold the peer protocol.
        .with_service_name("quorate.v1.Sessions")
        .with_service_name("quorate.v1.Cluster")
        .with_service_name("grpc.health.v1.Health")
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
