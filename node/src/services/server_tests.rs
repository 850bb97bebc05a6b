use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use bytes::Bytes;
use quorate_proto::v1::cluster_client::ClusterClient;
use quorate_proto::v1::namespaces_client::NamespacesClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

use super::*;
use crate::services::scripted::Scripted;

const ID: &str = "0123456789abcdef";

struct NoCluster;

#[tonic::async_trait]
impl Cluster for NoCluster {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A listener over `backend`, and a channel to it.
async fn serve(backend: &Scripted) -> (ClientListener, Channel, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stops = Stops::default();
    let executor = Executor::new(backend.clone(), 64 << 20);
    let serving = listen(listener, routes(executor, NoCluster, &stops), stops);
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    (serving, channel, address)
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "quorate");
    assert!(info.metadata.contains_key("retryable") && info.metadata.contains_key("maybe_applied"));
    info.reason
}

#[test]
fn reflection_can_be_built() {
    assert!(reflection().build_v1().is_ok() && reflection().build_v1alpha().is_ok());
}

#[tokio::test]
async fn unary_calls_create_read_and_refuse() {
    let (_serving, channel, _) = serve(&Scripted::leader()).await;
    let mut client = SessionsClient::new(channel);
    let create = v1::CreateRequest { id: ID.to_owned(), principal: "ada".to_owned(), ..Default::default() };
    let created = client.create(create.clone()).await.unwrap().into_inner();
    assert_eq!((created.id.as_str(), created.version), (ID, 1));
    let got =
        client.get(v1::GetRequest { id: ID.to_owned(), ..Default::default() }).await.unwrap().into_inner();
    assert_eq!(got.session.unwrap().principal, "ada");
    let taken = client.create(create).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));
    let regenerate = v1::RegenerateRequest { id: ID.to_owned(), ..Default::default() };
    let moved = client.regenerate(regenerate).await.unwrap().into_inner();
    let gone = client.get(v1::GetRequest { id: ID.to_owned(), ..Default::default() }).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "RENAMED"));
    client.delete(v1::DeleteRequest { id: moved.id, ..Default::default() }).await.unwrap();
}

/// Each of the new calls by its own method, and a call that goes away leaves the line.
#[tokio::test]
async fn unary_calls_lock_list_revoke_and_keep_namespaces() {
    let backend = Scripted::leader();
    let (_serving, channel, _) = serve(&backend).await;
    let mut shops = NamespacesClient::new(channel.clone());
    let mut client = SessionsClient::new(channel);
    let (namespace, id) = ("shop".to_owned(), ID.to_owned());
    let put = v1::PutNamespaceRequest { name: namespace.clone(), ..Default::default() };
    assert!(shops.put(put).await.unwrap().into_inner().created);
    let principal = "ada".to_owned();
    let create = v1::CreateRequest {
        namespace: namespace.clone(),
        id: id.clone(),
        principal: principal.clone(),
        ..Default::default()
    };
    let handle = client.create(create).await.unwrap().into_inner().handle;
    let touch =
        v1::TouchManyRequest { namespace: namespace.clone(), ids: vec![id.clone()], ..Default::default() };
    assert!(client.touch_many(touch).await.unwrap().into_inner().missing.is_empty());
    let lock = v1::LockRequest { namespace: namespace.clone(), id: id.clone(), ..Default::default() };
    let fence = client.lock(lock.clone()).await.unwrap().into_inner().fence;
    let mut waiter = client.clone();
    let wait = v1::LockRequest { wait_ms: 60_000, ..lock.clone() };
    let call = tokio::spawn(async move { waiter.lock(wait).await });
    let lists = |backend: &Scripted, what: fn(&quorate_state::Command) -> bool| {
        backend.commands().iter().filter(|command| what(command)).count()
    };
    backend.until("in line", |backend| backend.submitted() == 5).await;
    call.abort();
    let left = |command: &quorate_state::Command| matches!(command, quorate_state::Command::LeaveLine(_));
    backend.until("it left", |backend| lists(backend, left) == 1).await;
    let unlock = v1::UnlockRequest { namespace: namespace.clone(), id, fence, ..Default::default() };
    client.unlock(unlock).await.unwrap();
    client.lock(lock).await.unwrap();
    let locked = v1::BreakLockRequest { namespace: namespace.clone(), handle, ..Default::default() };
    client.break_lock(locked.clone()).await.unwrap();
    assert_eq!(reason(&client.break_lock(locked).await.unwrap_err()), "NOT_LOCKED");
    let list = v1::ListRequest { namespace: namespace.clone(), ..Default::default() };
    assert_eq!(client.list(list).await.unwrap().into_inner().sessions.len(), 1);
    let revoke = v1::RevokeRequest { namespace: namespace.clone(), principal, ..Default::default() };
    assert_eq!(client.revoke(revoke).await.unwrap().into_inner().sessions, 1);
    let get = v1::GetNamespaceRequest { name: namespace.clone() };
    assert!(shops.get(get).await.unwrap().into_inner().namespace.is_some());
    assert_eq!(shops.list(v1::ListNamespacesRequest {}).await.unwrap().into_inner().namespaces.len(), 2);
    let delete = v1::DeleteNamespaceRequest { name: namespace, ..Default::default() };
    shops.delete(delete).await.unwrap();
}

#[tokio::test]
async fn a_redirect_carries_the_leader_in_metadata() {
    let backend = Scripted::leader();
    backend.follow();
    let (_serving, channel, _) = serve(&backend).await;
    let mut request = Request::new(v1::GetRequest { id: ID.to_owned(), ..Default::default() });
    request.metadata_mut().insert("quorate-redirect", MetadataValue::from_static("true"));
    let status = SessionsClient::new(channel).get(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_LEADER"));
    assert_eq!(status.metadata().get("quorate-leader").unwrap(), "there:7101");
}

/// All services without a connection: a channel's own clock would cut calls off on this side.
fn unconnected(backend: &Scripted) -> Routes {
    routes(Executor::new(backend.clone(), 64 << 20), NoCluster, &Stops::default())
}

#[tokio::test]
async fn a_callers_timeout_ends_the_call_with_an_explanation() {
    let backend = Scripted::leader();
    backend.hold(true);
    let mut request = Request::new(v1::CreateRequest { id: ID.to_owned(), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("50m"));
    let status = SessionsClient::new(unconnected(&backend)).create(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert_eq!(status.get_details_error_info().unwrap().metadata.get("maybe_applied").unwrap(), "true");
}

#[tokio::test]
async fn the_transports_own_errors_are_explained_too() {
    let (_serving, channel, _) = serve(&Scripted::leader()).await;
    let attributes = BTreeMap::from([("a".to_owned(), Bytes::from(vec![0; MESSAGE_BYTES_MAX]))]);
    let large = v1::CreateRequest { id: ID.to_owned(), attributes, ..Default::default() };
    let status = SessionsClient::new(channel.clone()).create(large.clone()).await.unwrap_err();
    assert_eq!(reason(&status), "MESSAGE_TOO_LARGE");
    let status = ClusterClient::new(channel.clone()).status(v1::StatusRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"));
    let unknown = quorate_proto::peer::v1::peer_client::PeerClient::new(channel.clone())
        .hello(quorate_proto::peer::v1::HelloRequest::default())
        .await
        .unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"));
    let operations = vec![v1::Operation {
        tag: 1,
        timeout_ms: 0,
        operation: Some(v1::operation::Operation::Create(large)),
    }];
    let stream = tokio_stream::iter([v1::PipelineRequest { operations, ..Default::default() }]);
    let mut answers = SessionsClient::new(channel).pipeline(stream).await.unwrap().into_inner();
    let status = answers.message().await.unwrap_err();
    assert_eq!(reason(&status), "MESSAGE_TOO_LARGE");
}

/// What a call of Create with these bytes ends with.
async fn raw(headers: &[(&'static str, &'static str)], body: axum::body::Body) -> Status {
    use tonic::client::GrpcService as _;
    let mut request = http::Request::post(CREATE).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(tonic::body::Body::new(body)).unwrap();
    let response = unconnected(&Scripted::leader()).call(request).await.unwrap();
    Status::from_header_map(response.headers()).expect("a response that is an error alone")
}

const CREATE: &str = "/quorate.v1.Sessions/Create";

/// One gRPC frame: flag, length, message.
fn frame(flag: u8, message: &[u8]) -> axum::body::Body {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    axum::body::Body::from([&[flag][..], &length, message].concat())
}

#[tokio::test]
async fn what_the_transport_cannot_read_is_explained() {
    let gzip = raw(&[("grpc-encoding", "gzip")], frame(1, b"x")).await;
    assert_eq!((gzip.code(), reason(&gzip).as_str()), (Code::Unimplemented, "UNSUPPORTED_COMPRESSION"));
    for (what, body) in [
        ("a flag of 7", frame(7, b"x")),
        ("compressed, not saying how", frame(1, b"x")),
        ("no protobuf", frame(0, &[0xff; 20])),
        ("half a frame", axum::body::Body::from(vec![0, 0, 0, 0, 9, 1])),
    ] {
        let status = raw(&[], body).await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Internal, "MALFORMED_MESSAGE"),
            "{what}"
        );
    }
}

/// The caller's time is up before its message has arrived: it is told, and that nothing was done.
#[tokio::test]
async fn a_slow_upload_ends_with_an_explanation() {
    let never = axum::body::Body::from_stream(futures_util::stream::pending::<Result<Bytes, Status>>());
    let began = std::time::Instant::now();
    let status = raw(&[("grpc-timeout", "50m")], never).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    let info = status.get_details_error_info().unwrap().metadata;
    assert_eq!((info["maybe_applied"].as_str(), info["retryable"].as_str()), ("false", "true"));
    assert!(began.elapsed() >= Duration::from_millis(45));
}

#[tokio::test]
async fn a_message_of_too_many_operations_ends_its_stream() {
    let backend = Scripted::leader();
    let (_serving, channel, _) = serve(&backend).await;
    let create = |number: u64| v1::Operation {
        tag: number,
        timeout_ms: 0,
        operation: Some(v1::operation::Operation::Create(v1::CreateRequest::default())),
    };
    let good = v1::PipelineRequest { operations: vec![create(1)], ..Default::default() };
    let bad = v1::PipelineRequest { operations: vec![v1::Operation::default(); 4_097], ..Default::default() };
    let stream = tokio_stream::iter([good, bad]);
    let mut answers = SessionsClient::new(channel).pipeline(stream).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().answers.len(), 1, "what came before is answered");
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "TOO_MANY_OPERATIONS"));
    assert_eq!(backend.live_sessions(), 1);
}

#[tokio::test]
async fn a_stop_is_told_before_it_happens_and_ends_watches() {
    let backend = Scripted::leader();
    let (serving, channel, _) = serve(&backend).await;
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest { service: String::new() };
    let mut changes = health.watch(request.clone()).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    serving.stops.stopping.cancel();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing, "it still answers");
    let began = std::time::Instant::now();
    serving.stop().await;
    assert!(began.elapsed() < DRAIN_TIMEOUT, "the watch held up the drain");
    assert!(changes.message().await.unwrap().is_none(), "the watch ends in order");
}

#[tokio::test]
async fn health_follows_readiness() {
    let backend = Scripted::leader();
    let (_serving, channel, _) = serve(&backend).await;
    let mut health = HealthClient::new(channel);
    let mut check = async |service: &str| {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await;
        answer.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("quorate.v1.Sessions").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("quorate.v1.Namespaces").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("nobody").await.unwrap_err().code(), Code::NotFound);
    backend.lose_leader();
    assert_eq!(check("quorate.v1.Sessions").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(check("quorate.v1.Cluster").await.unwrap(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_watched_health_tells_changes() {
    let backend = Scripted::leader();
    let (_serving, channel, _) = serve(&backend).await;
    let request = HealthCheckRequest { service: String::new() };
    let mut changes = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    backend.lose_leader();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let (_serving, channel, _) = serve(&Scripted::leader()).await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::iter([ask])).await;
    let answer = asked.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for expected in
        ["quorate.v1.Sessions", "quorate.v1.Namespaces", "quorate.v1.Cluster", "grpc.health.v1.Health"]
    {
        assert!(names.contains(&expected), "{names:?}");
    }
    assert!(
        !names.contains(&"quorate.peer.v1.Peer"),
        "the peer protocol is not served to clients: {names:?}"
    );
}

#[tokio::test]
async fn garbage_closes_its_connection_and_nothing_else() {
    let (_serving, channel, address) = serve(&Scripted::leader()).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4_096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff",
    ] {
        let garbage = garbage.to_vec();
        let closed = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            // The server may close while this is still being written.
            let _ = stream.write_all(&garbage);
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        });
        assert!(closed.await.unwrap(), "the connection stays open");
    }
    SessionsClient::new(channel).create(v1::CreateRequest::default()).await.unwrap();
}

#[tokio::test]
async fn stopping_answers_what_is_in_flight_first() {
    let backend = Scripted::leader();
    let (serving, channel, address) = serve(&backend).await;
    backend.hold(true);
    let mut client = SessionsClient::new(channel);
    let call = tokio::spawn(async move { client.create(v1::CreateRequest::default()).await });
    backend.until("the create in the log", |backend| backend.submitted() == 1).await;
    let stopping = tokio::spawn(serving.stop());
    backend.hold(false);
    call.await.unwrap().unwrap();
    stopping.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// Each takes one of the connection's streams for as long as it waits.
#[tokio::test]
async fn locks_that_wait_leave_room_on_their_connection_for_what_gives_one_back() {
    let backend = Scripted::leader();
    let (_serving, channel, _) = serve(&backend).await;
    let mut client = SessionsClient::new(channel);
    client.create(v1::CreateRequest { id: ID.to_owned(), ..Default::default() }).await.unwrap();
    let lock = v1::LockRequest { id: ID.to_owned(), ..Default::default() };
    let fence = client.lock(lock.clone()).await.unwrap().into_inner().fence;
    let wait = v1::LockRequest { wait_ms: 60_000, ..lock };
    let calls: Vec<_> = (0..STREAMS_PER_CONNECTION_MAX)
        .map(|_| {
            let (mut client, mut request) = (client.clone(), Request::new(wait.clone()));
            request.set_timeout(Duration::from_secs(60));
            tokio::spawn(async move { client.lock(request).await.map(Response::into_inner) })
        })
        .collect();
    let refused = || calls.iter().filter(|call| call.is_finished()).count();
    let in_line = |backend: &Scripted| backend.submitted() - 2;
    backend.until("all in line, or refused", |backend| in_line(backend) + refused() == calls.len()).await;
    let unlock = v1::UnlockRequest { id: ID.to_owned(), fence, ..Default::default() };
    let unlocked = tokio::time::timeout(Duration::from_secs(5), client.unlock(unlock)).await;
    unlocked.expect("the unlock waits behind the locks").unwrap();
    for call in calls.into_iter().filter(JoinHandle::is_finished) {
        if let Err(status) = call.await.unwrap() {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        }
    }
}
