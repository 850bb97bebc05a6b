//! A TCP proxy in front of one listener of one node, which loses on command what one side sends.
//!
//! What is lost is read and thrown away, so its sender sees a connection in order and no answer: as with a network that
//! broke at the worst moment. Everything read after a command was given is treated by it; a caller that gives the command
//! and sends only then knows what happens to what it sends.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::HarnessError;
use crate::trace::http2::Connection;

const READ_BYTES: usize = 64 * 1024;
/// What a client of HTTP/2 sends before its first frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What was lost in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// So many bytes.
    pub bytes: usize,
    /// The gRPC messages among them, those lost in part included.
    pub messages: Vec<Vec<u8>>,
    /// Streams that ended among them: whole requests, or whole answers, refusals included.
    pub ended: usize,
}

/// One direction, of all connections.
#[derive(Debug, Default)]
struct Direction {
    loses: AtomicBool,
    lost: Mutex<Lost>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddrV4,
    requests: Direction,
    answers: Direction,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
}

/// A proxy on a port of its own. Ends, with its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddrV4,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on loopback and forwards to `target`, both ways, until told otherwise.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(target: SocketAddrV4) -> Result<Proxy, HarnessError> {
        let failed = |error| HarnessError::io("listen for", target.to_string())(error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let shared = Arc::new(Shared {
            target,
            requests: Direction::default(),
            answers: Direction::default(),
            cuts: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Proxy { address, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// From now on nothing that clients send reaches the node.
    pub fn lose_requests(&self) {
        self.shared.requests.loses.store(true, Ordering::SeqCst);
    }

    /// From now on nothing that the node sends reaches its clients; what they send goes through.
    pub fn lose_answers(&self) {
        self.shared.answers.loses.store(true, Ordering::SeqCst);
    }

    /// From now on everything goes through again, on new connections: those that lost something never make sense again.
    pub fn heal(&self) {
        self.cut();
        self.shared.requests.loses.store(false, Ordering::SeqCst);
        self.shared.answers.loses.store(false, Ordering::SeqCst);
    }

    /// Closes every connection, to both sides.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// What clients sent and the node never got.
    #[must_use]
    pub fn lost_requests(&self) -> Lost {
        self.shared.requests.lost.lock().clone()
    }

    /// What the node sent and its clients never got.
    #[must_use]
    pub fn lost_answers(&self) -> Lost {
        self.shared.answers.lost.lock().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // With the task goes its set of connections.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // A connection that cannot be taken ends for its client as one that the node closed.
        let Ok((client, _)) = listener.accept().await else { continue };
        let mut cuts = shared.cuts.subscribe();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            tokio::select! {
                _ = cuts.changed() => {}
                () = forward(client, &shared) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(client: TcpStream, shared: &Shared) {
    let Ok(server) = TcpStream::connect(shared.target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = pump(from_client, to_server, &shared.requests, PREFACE.len());
    let answers = pump(from_server, to_client, &shared.answers, 0);
    futures_util::future::join(requests, answers).await;
}

/// Forwards or loses until one side ends. The first `skip` bytes are no frames.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: &Direction,
    mut skip: usize,
) {
    let mut frames = Connection::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(read) if read > 0 => read,
            // Dropping `to` passes the end on.
            _ => return,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        let ended_before = frames.ended();
        let messages = frames.push(bytes.get(skip.min(read)..).unwrap_or_default());
        skip -= skip.min(read);
        if direction.loses.load(Ordering::SeqCst) {
            let mut lost = direction.lost.lock();
            lost.bytes += read;
            lost.ended += frames.ended() - ended_before;
            lost.messages.extend(messages);
        } else if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{PATIENCE, until};

    /// Answers each byte with the byte after it, and counts what it got.
    async fn counting_server() -> (SocketAddrV4, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        let got = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&got);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let got = Arc::clone(&all);
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        got.lock().push(byte);
                        stream.write_u8(byte + 1).await.unwrap();
                    }
                });
            }
        });
        (address, got)
    }

    #[tokio::test]
    async fn a_lost_request_never_arrives_and_what_came_before_did() {
        let (target, got) = counting_server().await;
        let proxy = Proxy::start(target).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_u8(1).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 2);
        proxy.lose_requests();
        stream.write_u8(3).await.unwrap();
        until("the byte is lost", PATIENCE, || {
            let lost = proxy.lost_requests().bytes;
            std::future::ready(if lost == 1 { Ok(()) } else { Err(format!("{lost}")) })
        })
        .await
        .unwrap();
        assert_eq!((got.lock().as_slice(), proxy.lost_answers().bytes), ([1].as_slice(), 0));
        proxy.heal();
        assert!(stream.read_u8().await.is_err(), "a connection that lost something is closed");
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_u8(5).await.unwrap();
        assert_eq!((stream.read_u8().await.unwrap(), got.lock().as_slice()), (6, [1, 5].as_slice()));
    }

    #[tokio::test]
    async fn a_lost_answer_is_one_to_a_request_that_arrived() {
        let (target, got) = counting_server().await;
        let proxy = Proxy::start(target).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.lose_answers();
        stream.write_u8(1).await.unwrap();
        until("the answer is lost", PATIENCE, || {
            let lost = proxy.lost_answers().bytes;
            std::future::ready(if lost == 1 { Ok(()) } else { Err(format!("{lost}")) })
        })
        .await
        .unwrap();
        assert_eq!((got.lock().as_slice(), proxy.lost_requests().bytes), ([1].as_slice(), 0));
        proxy.cut();
        assert!(stream.read_u8().await.is_err(), "it was cut, without the answer");
    }
}
