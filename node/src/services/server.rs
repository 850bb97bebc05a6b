//! The client listener.

use std::time::Duration;

use futures_util::future::BoxFuture;
use quorate_proto::v1;
use quorate_proto::v1::cluster_server::{Cluster, ClusterServer};
use quorate_proto::v1::namespaces_server::NamespacesServer;
use quorate_proto::v1::sessions_server::SessionsServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

use super::backend::Backend;
use super::cluster::ClusterService;
use super::executor::Executor;
use super::explain::explain;
use super::health::HealthService;
use super::namespaces::NamespacesService;
use super::pipeline::PipelineCodec;
use super::sessions::{SessionsService, WaitingLocks};
use crate::connections;
use crate::consensus::{Consensus, ForwardHandler};

/// The one method that is not left to the generated server.
const PIPELINE_PATH: &str = "/quorate.v1.Sessions/Pipeline";
/// The longest message taken. The largest session the default policy allows is 1 MiB.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The longest message sent: a message of answers closes at 1 MiB, so this is never reached.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Calls in progress on one connection; more wait in the client.
pub(super) const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
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
    stopping: CancellationToken,
}

/// The client listener while it serves.
#[derive(Debug)]
pub struct ClientListener {
    stops: Stops,
    served: JoinHandle<()>,
}

/// The steps in which a node takes leave of its clients.
#[derive(Clone, Debug, Default)]
struct Stops {
    /// It tells them to go elsewhere.
    stopping: CancellationToken,
    /// It takes nothing more from them.
    stop: CancellationToken,
    /// It hears them no longer.
    close: CancellationToken,
}

impl Services {
    /// `in_flight_bytes_max` bounds the operations in flight on this node: see `Settings::in_flight_bytes`.
    #[must_use]
    pub fn new(consensus: Consensus, in_flight_bytes_max: u64) -> Self {
        Services {
            executor: Executor::new(consensus.clone(), in_flight_bytes_max),
            consensus,
            stopping: CancellationToken::new(),
        }
    }

    /// From now on health says that this node does not serve, so that clients and balancers go elsewhere. Whoever
    /// comes all the same is served until [`ClientListener::stop`].
    pub fn begin_stop(&self) {
        self.stopping.cancel();
    }

    pub(crate) fn executor(&self) -> &Executor<Consensus> {
        &self.executor
    }

    /// Serves clients on `listener`, in the background.
    #[must_use = "stop it, or it serves as long as the process lives"]
    pub fn serve(self, listener: TcpListener) -> ClientListener {
        let stops = Stops { stopping: self.stopping, ..Stops::default() };
        let routes = routes(self.executor, ClusterService(self.consensus), &stops);
        listen(listener, routes, stops)
    }
}

/// All services, with everything they answer explained.
fn routes<B: Backend, C: Cluster>(executor: Executor<B>, cluster: C, stops: &Stops) -> Routes {
    let Stops { stopping, stop, .. } = stops.clone();
    let health = HealthServer::new(HealthService {
        backend: executor.backend().clone(),
        stopping,
        stop: stop.clone(),
    });
    let namespaces = NamespacesServer::new(NamespacesService(executor.clone()));
    let sessions = SessionsService::new(executor, stop);
    let pipeline = pipeline_route(sessions.clone());
    let routes = Routes::new(
        SessionsServer::new(sessions)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX),
    )
    .add_service(namespaces.max_decoding_message_size(MESSAGE_BYTES_MAX))
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
    let router = routes.into_axum_router().route(PIPELINE_PATH, pipeline);
    router.layer(axum::middleware::from_fn(explain)).into()
}

/// `Pipeline` with a codec that bounds messages before they are decoded, which the generated server has no place for.
fn pipeline_route<B: Backend>(sessions: SessionsService<B>) -> axum::routing::MethodRouter {
    let serve = move |request: axum::extract::Request| {
        let sessions = sessions.clone();
        async move {
            let mut grpc = tonic::server::Grpc::new(PipelineCodec)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(ANSWER_BYTES_MAX);
            grpc.streaming(sessions, request).await
        }
    };
    axum::routing::any(serve)
}

fn listen(listener: TcpListener, routes: Routes, stops: Stops) -> ClientListener {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(routes);
    let incoming = connections::incoming::<WaitingLocks>(listener, stops.close.clone());
    let stopped = stops.stop.clone().cancelled_owned();
    let served = tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, stopped).await {
            tracing::error!(%error, "the client listener failed");
        }
    });
    ClientListener { stops, served }
}

impl ForwardHandler for Services {
    fn handle(&self, operation: v1::Operation) -> BoxFuture<'static, v1::Answer> {
        self.executor.handle(operation)
    }
}

impl ClientListener {
    /// Takes no more connections and no more operations on open streams, lets what is in flight be answered for up
    /// to 3 s, and closes what is left. Health says that the node does not serve, if [`Services::begin_stop`] has not
    /// said so before.
    pub async fn stop(self) {
        self.stops.stopping.cancel();
        self.stops.stop.cancel();
        let abort = self.served.abort_handle();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.served).await.is_err() {
            tracing::info!(
                "closing client connections that did not end within {} s",
                DRAIN_TIMEOUT.as_secs()
            );
            abort.abort();
        }
        self.stops.close.cancel();
    }
}

fn reflection<'b>() -> tonic_reflection::server::Builder<'b> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(quorate_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // What is served here: the descriptors also hold the peer protocol.
        .with_service_name("quorate.v1.Sessions")
        .with_service_name("quorate.v1.Namespaces")
        .with_service_name("quorate.v1.Cluster")
        .with_service_name("grpc.health.v1.Health")
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
