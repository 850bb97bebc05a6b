//! How a node is reached.

use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::cluster_client::ClusterClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, ErrorKind};

/// A node that does not name the members by then is not waited for.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(1);
/// Pinging more often than this would be all that a connection does.
pub(crate) const KEEP_ALIVE_MIN: Duration = Duration::from_millis(10);
/// Whoever asks for less wants none of it; the transport cannot add up much more.
pub(crate) const KEEP_ALIVE_MAX: Duration = Duration::from_secs(60 * 60);

/// Told the client addresses of the cluster's members, once the node has named them.
pub(crate) type Learn = Box<dyn FnOnce(Vec<String>) + Send>;

pub(crate) type Outbound = mpsc::Sender<v1::PipelineRequest>;
pub(crate) type Inbound = tonic::Streaming<v1::PipelineResponse>;

/// The settings of every connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialler {
    /// From the look-up of the name to the pipeline's response headers.
    pub(crate) connect_timeout: Duration,
    /// A node that says nothing for this long is pinged, and given up after as long again.
    pub(crate) keep_alive: Duration,
}

impl Default for Dialler {
    fn default() -> Self {
        Dialler { connect_timeout: Duration::from_secs(1), keep_alive: Duration::from_millis(500) }
    }
}

impl Dialler {
    /// Where and how to dial `address`, `host:port` or `http://host:port`.
    pub(crate) fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let refused = |why: &str| {
            Error::local(ErrorKind::InvalidArgument, format!("`{address}` is no endpoint: {why}"))
        };
        let endpoint = Endpoint::from_shared(uri).map_err(|_| refused("use host:port"))?;
        match (endpoint.uri().scheme_str(), endpoint.uri().port_u16()) {
            (Some("http"), Some(_)) => {}
            // What was to be kept from others must not go out in the clear.
            (Some("https"), _) => return Err(refused("TLS is not supported yet; use host:port")),
            _ => return Err(refused("use host:port")),
        }
        Ok(endpoint
            // Shared among the addresses of a name: the first may be the one that is dead.
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20))
    }

    /// Opens a pipeline, or says why that did not come about in time.
    pub(crate) async fn dial(&self, endpoint: Endpoint, learn: Learn) -> Result<(Outbound, Inbound), String> {
        match timeout(self.connect_timeout, open(endpoint, learn)).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("the node did not open a pipeline within {:?}", self.connect_timeout)),
        }
    }
}

async fn open(endpoint: Endpoint, learn: Learn) -> Result<(Outbound, Inbound), String> {
    let channel = endpoint.connect().await.map_err(|error| explain(&error))?;
    // Whoever could be reached tells who else is there, for when this node is gone.
    tokio::spawn(ask_members(channel.clone(), learn));
    let (outbound, requests) = mpsc::channel(16);
    let mut request = Request::new(ReceiverStream::new(requests));
    request.metadata_mut().insert("quorate-redirect", MetadataValue::from_static("true"));
    let mut client = SessionsClient::new(channel).max_decoding_message_size(64 << 20);
    let response = client.pipeline(request).await.map_err(|status| said(&status))?;
    Ok((outbound, response.into_inner()))
}

async fn ask_members(channel: Channel, learn: Learn) {
    let mut client = ClusterClient::new(channel);
    if let Ok(Ok(status)) = timeout(MEMBERS_TIMEOUT, client.status(v1::StatusRequest::default())).await {
        learn(status.into_inner().members.into_iter().map(|member| member.client_address).collect());
    }
}

/// What a node, or the way to it, said: the code where there are no words.
pub(crate) fn said(status: &tonic::Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    }
}

/// The innermost cause says most: "connection refused" instead of "transport error".
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
