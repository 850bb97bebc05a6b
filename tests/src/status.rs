//! What nodes say of themselves, asked with a plain gRPC stub and plain HTTP: the client library is under test too.

use std::net::SocketAddrV4;
use std::time::Duration;

use quorate_proto::v1::cluster_client::ClusterClient;
use quorate_proto::v1::{StatusRequest, StatusResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);

/// A connection to one listener of one node.
///
/// # Errors
/// It cannot be reached.
pub async fn channel(address: SocketAddrV4) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::internal(error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT);
    endpoint.connect().await.map_err(|error| Status::unavailable(format!("{address}: {error}")))
}

/// One node's view of the cluster; `digest` asks for its state's digest too, `at_least_index` waits for that index.
///
/// # Errors
/// The node does not answer, or not in time.
pub async fn status_of(
    address: SocketAddrV4,
    digest: bool,
    at_least_index: u64,
) -> Result<StatusResponse, Status> {
    let ask = async {
        let mut client = ClusterClient::new(channel(address).await?);
        client.status(StatusRequest { digest, at_least_index }).await.map(tonic::Response::into_inner)
    };
    let answer = timeout(ANSWER_TIMEOUT, ask).await;
    answer.unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, format!("{address}: no answer"))))
}

/// Whether the admin listener answers `/readyz` with 200.
pub async fn is_ready(admin: SocketAddrV4) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await.ok()?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        answer.starts_with(b"HTTP/1.1 200").then_some(())
    };
    timeout(CONNECT_TIMEOUT, ask).await.ok().flatten().is_some()
}
