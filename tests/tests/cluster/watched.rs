//! A namespace that is watched: who writes to it, and what is seen of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_proto::v1::namespaces_client::NamespacesClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::{PATIENCE, ProcessCluster, channel, new_id};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use crate::common::{create_request, patiently, stub};

pub(crate) const NAMESPACE: &str = "watched";

/// Makes the namespace; `events` are kept of it. Where it was made: there its events begin.
pub(crate) async fn keep(cluster: &ProcessCluster, events: u32) -> Result<v1::Cursor, Box<dyn Error>> {
    let node = cluster.ids().first().copied().ok_or("no node")?;
    let namespaces = NamespacesClient::new(channel(cluster.ports(node)?.client).await?);
    let policy = Some(v1::Policy { events_max: Some(events), ..v1::Policy::default() });
    let put = v1::PutNamespaceRequest { name: NAMESPACE.to_owned(), policy, ..Default::default() };
    let answer = patiently(|| {
        let (mut namespaces, put) = (namespaces.clone(), put.clone());
        async move { namespaces.put(put).await }
    });
    Ok(v1::Cursor { position: answer.await?.position, ordinal: None })
}

pub(crate) fn place(cursor: &v1::Cursor) -> (u64, u32) {
    let index = cursor.position.map_or(0, |position| position.index);
    (index, cursor.ordinal.unwrap_or(u32::MAX))
}

pub(crate) fn place_of(event: &v1::Event) -> (u64, u32) {
    event.cursor.as_ref().map_or((0, 0), place)
}

pub(crate) fn after(cursor: v1::Cursor) -> v1::WatchRequest {
    v1::WatchRequest { namespace: NAMESPACE.to_owned(), after: Some(cursor), ..Default::default() }
}

/// A create request in the namespace.
pub(crate) fn create() -> v1::CreateRequest {
    v1::CreateRequest { namespace: NAMESPACE.to_owned(), ..create_request("first") }
}

/// A stub of its own that takes little ahead of what is read.
pub(crate) async fn narrow_stub(
    cluster: &ProcessCluster,
    node: u64,
) -> Result<SessionsClient<Channel>, Box<dyn Error>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.ports(node)?.client))?;
    let endpoint = endpoint.initial_stream_window_size(64 << 10).initial_connection_window_size(1 << 20);
    Ok(SessionsClient::new(endpoint.connect().await?))
}

/// The next message; `None` of it never comes: a watch ends with an error only.
pub(crate) async fn next(watch: &mut Streaming<v1::WatchResponse>) -> Result<v1::WatchResponse, Status> {
    let silent = || Status::internal("not a message in all this time");
    let message = timeout(PATIENCE, watch.message()).await.map_err(|_| silent())??;
    message.ok_or_else(|| Status::internal("the stream ended without an error"))
}

/// Reads one node's events behind a cursor up to an index.
pub(crate) async fn events_up_to(
    cluster: &ProcessCluster,
    node: u64,
    from: v1::Cursor,
    index: u64,
) -> Result<Vec<v1::Event>, Box<dyn Error>> {
    let mut watch = stub(cluster, node).await?.watch(after(from)).await?.into_inner();
    let mut events = Vec::new();
    loop {
        let message = next(&mut watch).await?;
        events.extend(message.events);
        // The first message only repeats where the watch begins.
        if message.cursor.is_some_and(|cursor| place(&cursor).0 >= index) {
            events.retain(|event| place_of(event).0 <= index);
            return Ok(events);
        }
    }
}

/// What was acknowledged of one session: kinds and versions in order, and the last position.
pub(crate) type Acknowledged = Vec<(v1::EventKind, u64, u64)>;

/// Tasks that create, change and delete sessions, each call until it is acknowledged.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<BTreeMap<String, Acknowledged>, Status>>>,
}

impl Writers {
    pub(crate) async fn start(cluster: &ProcessCluster, count: usize) -> Result<Self, Box<dyn Error>> {
        let mut stubs = Vec::new();
        for node in cluster.ids() {
            stubs.push(stub(cluster, node).await?);
        }
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for first in 0..count {
            let (stubs, stop, acknowledged) = (stubs.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            tasks.push(tokio::spawn(async move {
                let mut writer = Writer::open(stubs, first, acknowledged).await?;
                let mut all = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let (handle, acknowledged) = writer.one_life().await?;
                    all.insert(handle, acknowledged);
                }
                Ok(all)
            }));
        }
        Ok(Writers { stop, acknowledged, tasks })
    }

    /// Waits until so many more writes are acknowledged.
    pub(crate) async fn wait_acknowledged(&self, count: u64) -> Result<(), String> {
        let (from, deadline) = (self.acknowledged.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.acknowledged.load(Ordering::Relaxed) < from + count {
            if Instant::now() > deadline || self.tasks.iter().any(JoinHandle::is_finished) {
                return Err(format!("{count} writes were not acknowledged"));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends them; all that was acknowledged, by handle.
    pub(crate) async fn finish(self) -> Result<BTreeMap<String, Acknowledged>, Box<dyn Error>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        for task in self.tasks {
            all.extend(task.await??);
        }
        Ok(all)
    }
}

struct Writer {
    stubs: Vec<SessionsClient<Channel>>,
    /// Which stub is asked.
    at: usize,
    client: u64,
    sequence: u64,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    async fn open(
        stubs: Vec<SessionsClient<Channel>>,
        at: usize,
        acknowledged: Arc<AtomicU64>,
    ) -> Result<Self, Status> {
        let mut writer = Writer { stubs, at, client: 0, sequence: 0, acknowledged };
        let opened =
            writer.call(|mut stub, _| async move { stub.open_client(v1::OpenClientRequest {}).await });
        writer.client = opened.await?.client;
        Ok(writer)
    }

    /// Calls one node after the other, with one request id, until the call is answered.
    async fn call<T, F>(
        &mut self,
        call: impl Fn(SessionsClient<Channel>, Option<v1::RequestId>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.sequence += 1;
        let (client, sequence) = (self.client, self.sequence);
        let id = (client > 0).then_some(v1::RequestId { client, sequence, lowest_unanswered: sequence });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stub = self.stubs.get(self.at % self.stubs.len()).cloned();
            let stub = stub.ok_or_else(|| Status::internal("no stub"))?;
            match call(stub, id).await {
                Ok(answer) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer.into_inner());
                }
                Err(status) if is_refusal(status.code()) || Instant::now() > deadline => return Err(status),
                Err(_) => {
                    self.at += 1;
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// A session from its creation to its end.
    async fn one_life(&mut self) -> Result<(String, Acknowledged), Status> {
        let create = create();
        let made = self.call(|mut stub, request_id| {
            let create = v1::CreateRequest { request_id, ..create.clone() };
            async move { stub.create(create).await }
        });
        let made = made.await?;
        let index = |position: Option<v1::Position>| position.map_or(0, |position| position.index);
        let mut acknowledged = vec![(v1::EventKind::Created, made.version, index(made.position))];
        let mut id = create.id;
        let mut handle = made.handle.clone();
        for round in 0..3 {
            let write = write(&id, &format!("{round}"));
            let written = self.call(|mut stub, request_id| {
                let write = v1::WriteRequest { request_id, ..write.clone() };
                async move { stub.write(write).await }
            });
            let written = written.await?;
            acknowledged.push((v1::EventKind::Updated, written.version, index(written.position)));
        }
        let new_id = new_id().reveal().to_owned();
        let renamed = self.call(|mut stub, request_id| {
            let (namespace, id, new_id) = (NAMESPACE.to_owned(), id.clone(), new_id.clone());
            let rename = v1::RegenerateRequest { namespace, id, request_id, new_id, fence: None };
            async move { stub.regenerate(rename).await }
        });
        let renamed = renamed.await?;
        acknowledged.push((v1::EventKind::Renamed, renamed.version, index(renamed.position)));
        (id, handle) = (new_id, format!("{handle} {}", renamed.handle));
        let deleted = self.call(|mut stub, request_id| {
            let (namespace, id) = (NAMESPACE.to_owned(), id.clone());
            let delete = v1::DeleteRequest { namespace, id, request_id, handle: String::new() };
            async move { stub.delete(delete).await }
        });
        acknowledged.push((v1::EventKind::Deleted, renamed.version, index(deleted.await?.position)));
        Ok((handle, acknowledged))
    }
}

pub(crate) fn write(id: &str, value: &str) -> v1::WriteRequest {
    let attributes = BTreeMap::from([("a".to_owned(), Bytes::from(value.to_owned()))]);
    v1::WriteRequest {
        namespace: NAMESPACE.to_owned(),
        id: id.to_owned(),
        change: Some(v1::write_request::Change::Replace(v1::Attributes { attributes })),
        ..v1::WriteRequest::default()
    }
}

/// An answer of the state machine: asking again would give the same.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::NotFound
            | Code::AlreadyExists
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Unimplemented
    )
}
