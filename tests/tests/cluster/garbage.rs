use std::net::SocketAddrV4;
use std::time::Duration;

use rand::{RngCore as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::GrpcService as _;
use tonic::codegen::http;
use tonic::{Code, Status};

use crate::common::{Outcome, fact, looking, one, reason, session, three};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A server that neither answers nor closes has this long to make up its mind.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// What somebody might send to a port that expects HTTP/2.
fn garbage() -> Vec<Vec<u8>> {
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let with_preface = |rest: &[u8]| [PREFACE, settings, rest].concat();
    let mut all = vec![
        b"\0".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        PREFACE.to_vec(),
        PREFACE.get(..10).unwrap_or_default().to_vec(),
        // A frame that says it has 16 MiB.
        with_preface(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
        // DATA for a stream that was never opened.
        with_preface(&[0, 0, 3, 0, 1, 0, 0, 0, 1, 1, 2, 3]),
        // HEADERS that are no HPACK.
        with_preface(&[0, 0, 4, 1, 5, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]),
        // A frame of an unknown kind, then RST_STREAM for stream 0.
        with_preface(&[0, 0, 1, 99, 0, 0, 0, 0, 5, 9, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 8]),
    ];
    for seed in 0..8 {
        all.push(random_bytes(seed, 4096));
        all.push(with_preface(&random_bytes(seed + 100, 4096)));
    }
    all.push(random_bytes(1_000, 1 << 20));
    all
}

/// Sends it, and looks what comes back until the other side closes or has had its time.
async fn throw(address: SocketAddrV4, bytes: &[u8]) -> Outcome {
    let mut stream = TcpStream::connect(address).await?;
    let exchange = async {
        // The other side may close before it has taken all.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    };
    let _ = timeout(ANSWER_TIMEOUT, exchange).await;
    Ok(())
}

#[tokio::test]
async fn garbage_on_any_port_changes_nothing_and_the_node_stays_up() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let created = client.create(session("a", "1")).await?;
    let before = cluster.digests().await?;
    for node in cluster.ids() {
        let ports = cluster.ports(node)?;
        for port in [ports.client, ports.peer, ports.admin] {
            let thrown = garbage();
            let thrown = thrown.iter().map(|bytes| throw(port, bytes));
            for result in futures_util::future::join_all(thrown).await {
                result?;
            }
        }
    }
    assert_eq!(cluster.running(), cluster.ids(), "a node fell over");
    cluster.wait_ready_all().await?;
    let seen = client.get_with(&created.id, looking()).await?;
    assert_eq!((seen.version, seen.attributes.get("a").map(AsRef::as_ref)), (1, Some(b"1".as_slice())));
    let after = cluster.digests().await?;
    assert!(before.are_equal() && after.are_equal(), "{before} / {after}");
    for node in cluster.ids() {
        assert_eq!(cluster.status(node).await?.sessions, 1, "node {node}");
        let log = cluster.node(node)?.log_text();
        assert!(!log.contains("panicked"), "node {node} panicked");
    }
    Ok(())
}

/// What a Create ends with whose body, in sound HTTP/2, is `body`.
async fn create_of(
    address: SocketAddrV4,
    encoding: Option<&'static str>,
    body: &str,
) -> Result<Status, Box<dyn std::error::Error>> {
    let mut channel = quorate_tests::channel(address).await?;
    let request = http::Request::post(format!("http://{address}/quorate.v1.Sessions/Create"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = match encoding {
        Some(encoding) => request.header("grpc-encoding", encoding),
        None => request,
    };
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    let response = channel.call(request.body(Body::new(body.to_owned()))?).await?;
    Status::from_header_map(response.headers()).ok_or_else(|| "no status".into())
}

/// Sound HTTP/2, unsound gRPC: the answer says what is wrong, that nothing was done, and not to try it again.
#[tokio::test]
async fn what_is_no_grpc_is_told_so() -> Outcome {
    let mut cluster = one().await?;
    let node = cluster.wait_leader().await?;
    let address = cluster.ports(node)?.client;
    let (internal, malformed) = (Code::Internal, "MALFORMED_MESSAGE");
    // A frame is a flag, a length of four bytes, and a message.
    for (what, encoding, body, code, expected) in [
        ("a flag of 7", None, "\x07\0\0\0\x01x", internal, malformed),
        ("compressed, not saying how", None, "\x01\0\0\0\x01x", internal, malformed),
        ("gzip", Some("gzip"), "\x01\0\0\0\x01x", Code::Unimplemented, "UNSUPPORTED_COMPRESSION"),
        ("no protobuf", None, "\0\0\0\0\x02\x7f\x7f", internal, malformed),
        ("half a frame", None, "\0\0\0\0\x09x", internal, malformed),
        ("no frame", None, "", internal, malformed),
        ("a frame of 2 GiB", None, "\0\x7f\0\0\0x", Code::OutOfRange, "MESSAGE_TOO_LARGE"),
    ] {
        let status = create_of(address, encoding, body).await?;
        assert_eq!((status.code(), reason(&status)), (code, expected.to_owned()), "{what}: {status}");
        assert_eq!(fact(&status, "maybe_applied").as_deref(), Some("false"), "{what}");
        assert_eq!(fact(&status, "retryable").as_deref(), Some("false"), "{what}");
    }
    assert_eq!(cluster.status(node).await?.sessions, 0);
    Ok(())
}
