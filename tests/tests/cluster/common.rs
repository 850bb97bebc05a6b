//! Starting clusters, plain gRPC calls.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::{AttributeSelection, Client, Consistency, GetOptions, NewSession, Position, SessionId};
use quorate_proto::v1;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::{ClusterOptions, HarnessError, ProcessCluster, channel, new_id, status_of, until};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

/// How a test ends.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// The server under test.
pub(crate) const QUORATED: &str = env!("CARGO_BIN_EXE_quorated-under-test");

/// Hundreds of megabytes for each short-lived node would be most of the work.
const PREFILL_NONE: &str = "--log-prefill-bytes=0";

/// Three nodes, ready.
pub(crate) async fn three() -> Result<ProcessCluster, HarnessError> {
    ProcessCluster::start(&options(3)).await
}

/// One node, ready: for what needs no replication.
pub(crate) async fn one() -> Result<ProcessCluster, HarnessError> {
    ProcessCluster::start(&options(1)).await
}

/// `nodes` nodes of the server under test, with the timers of a wide network: several unoptimised clusters share this
/// machine, and elections without cause are no subject of most tests.
pub(crate) fn options(nodes: u64) -> ClusterOptions {
    let arguments = ["--timing=wan", PREFILL_NONE].map(Into::into).into();
    ClusterOptions { nodes, arguments, ..ClusterOptions::new(QUORATED) }
}

/// Three nodes, ready, with the timers that users get.
pub(crate) async fn three_as_shipped() -> Result<ProcessCluster, HarnessError> {
    let arguments = vec![PREFILL_NONE.into()];
    ProcessCluster::start(&ClusterOptions { arguments, ..ClusterOptions::new(QUORATED) }).await
}

/// A plain stub for one node.
pub(crate) async fn stub(
    cluster: &ProcessCluster,
    node: u64,
) -> Result<SessionsClient<Channel>, HarnessError> {
    Ok(SessionsClient::new(channel(cluster.ports(node)?.client).await?))
}

/// A session with one attribute.
pub(crate) fn session(name: &str, value: impl Into<Bytes>) -> NewSession {
    NewSession::new().attribute(name, value)
}

/// A create request with one attribute and an id made here.
pub(crate) fn create_request(value: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        id: new_id().reveal().to_owned(),
        attributes: BTreeMap::from([("a".to_owned(), Bytes::from(value.to_owned()))]),
        ..v1::CreateRequest::default()
    }
}

/// A read of one node's own memory, at a position.
pub(crate) fn local(
    cluster: &ProcessCluster,
    node: u64,
    at_least: Position,
) -> Result<GetOptions, HarnessError> {
    Ok(GetOptions {
        touch: false,
        attributes: AttributeSelection::All,
        consistency: Consistency::AtLeast(at_least),
        node: Some(cluster.ports(node)?.client.to_string()),
    })
}

/// A linearizable read that renews nothing.
pub(crate) fn looking() -> GetOptions {
    GetOptions { touch: false, ..GetOptions::default() }
}

/// Asserts that every given node has the session with this attribute in its own memory.
pub(crate) async fn assert_everywhere(
    cluster: &ProcessCluster,
    client: &Client,
    nodes: &[u64],
    (id, name, value): (&SessionId, &str, &str),
    position: Position,
) -> Result<(), HarnessError> {
    for node in nodes {
        let session = client.get_with(id, local(cluster, *node, position)?).await?;
        let found = session.attributes.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(found.as_deref(), Some(value), "node {node}");
    }
    Ok(())
}

/// Calls until the answer is something else than UNAVAILABLE: elections are no subject of most tests. Only for calls
/// that may be repeated.
pub(crate) async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if status.code() == Code::Unavailable && Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            Err(status) => return Err(status),
        }
    }
}

/// The stable reason in a status.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// A fact in a status.
pub(crate) fn fact(status: &Status, name: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(name).cloned()
}

/// Waits until `node` has applied `index`.
pub(crate) async fn wait_applied(
    cluster: &ProcessCluster,
    node: u64,
    index: u64,
) -> Result<(), HarnessError> {
    let address = cluster.ports(node)?.client;
    until("the node has caught up", quorate_tests::PATIENCE, || async {
        status_of(address, false, index).await.map(drop).map_err(|status| status.message().to_owned())
    })
    .await
}
