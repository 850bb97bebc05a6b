//! One pipeline to one node: whatever callers have queued goes out as one message, answers find their callers by tag.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::cluster_client::ClusterClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, ErrorKind, MESSAGE_TOO_LARGE};

/// Far above a round trip on a LAN, and short enough to try another node within a failover.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// From connected to the pipeline's response headers.
const OPEN_TIMEOUT: Duration = Duration::from_millis(500);
/// A node that does not name the members by then is not waited for.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(1);
/// A node that answers no ping within this is given up.
const PING_INTERVAL: Duration = Duration::from_millis(500);
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// Operations in one message.
const BATCH_MAX: usize = 512;
/// Operations queued or unanswered on one connection; more callers wait. A server reads no further at 4,096.
const IN_FLIGHT_MAX: usize = 4_000;
/// The longest message that a server takes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The longest operation, as its request is encoded: around it go a tag, a time limit, a request id, and lengths.
pub(crate) const OPERATION_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 128;
/// A message is closed before it has more bytes than this, and what is longer goes alone: one operation that is too
/// long for some node must not take others with it.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Why an operation on a connection has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Broken {
    /// It never left this process.
    NotSent(String),
    /// It was sent; the node may have taken it.
    Lost(String),
    /// No answer in time. Unless it was sent it never will be.
    TimedOut { sent: bool },
    /// The node did not read it: it is too long. It is so for every try.
    TooLarge(Box<Error>),
}

type Answered = Result<v1::Answer, Broken>;

struct Queued {
    operation: v1::Operation,
    answer: oneshot::Sender<Answered>,
    claim: Claim,
}

/// Who was first: the connection that sends an operation, or the caller who withdraws it. Without it a caller could
/// take for unsent what is sent a moment later.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether it was free; from now on it is taken.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// A connection; clones share it. It dials at once and never again: a broken one is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

/// Told the client addresses of the cluster's members, once the node has named them.
pub(crate) type Learn = Box<dyn FnOnce(Vec<String>) + Send>;

/// Where and how to dial `address`, `host:port` or `http://host:port`.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| {
        Error::local(ErrorKind::InvalidArgument, format!("`{address}` is no endpoint: use host:port"))
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20))
}

impl Connection {
    /// Starts dialling `endpoint` in the background.
    pub(crate) fn open(endpoint: Endpoint, learn: Learn) -> Self {
        let (queue, queued) = mpsc::channel(IN_FLIGHT_MAX);
        tokio::spawn(run(endpoint, queued, learn));
        Connection { queue, room: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) }
    }

    /// Whether `other` is this connection, and not one that replaced it.
    pub(crate) fn is(&self, other: &Connection) -> bool {
        self.queue.same_channel(&other.queue)
    }

    /// Whether it has broken.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Sends an operation and waits for its answer, until `until` at most. The tag is set here.
    pub(crate) async fn call(&self, operation: v1::Operation, until: Instant) -> Answered {
        let claim = Claim::default();
        let asked = async {
            let closed = || Broken::NotSent("the connection is closed".into());
            // Held until this call ends.
            let _room = self.room.acquire().await.map_err(|_| closed())?;
            let (answer, answered) = oneshot::channel();
            let queued = Queued { operation, answer, claim: claim.clone() };
            self.queue.send(queued).await.map_err(|_| closed())?;
            match answered.await {
                Ok(answered) => answered,
                Err(_) if claim.take() => Err(closed()),
                Err(_) => Err(Broken::Lost("the connection is gone".into())),
            }
        };
        timeout_at(until, asked).await.unwrap_or_else(|_| Err(Broken::TimedOut { sent: !claim.take() }))
    }
}

async fn run(endpoint: Endpoint, mut queued: mpsc::Receiver<Queued>, learn: Learn) {
    let reason = match dial(endpoint, learn).await {
        Ok((outbound, inbound)) => pump(outbound, inbound, &mut queued).await,
        Err(reason) => reason,
    };
    tracing::debug!(reason, "a connection ended");
    queued.close();
    while let Some(Queued { answer, .. }) = queued.recv().await {
        // A caller who has gone needs no answer.
        let _ = answer.send(Err(Broken::NotSent(reason.clone())));
    }
}

type Inbound = tonic::Streaming<v1::PipelineResponse>;

async fn dial(
    endpoint: Endpoint,
    learn: Learn,
) -> Result<(mpsc::Sender<v1::PipelineRequest>, Inbound), String> {
    let channel = endpoint.connect().await.map_err(|error| explain(&error))?;
    // Whoever could be reached tells who else is there, for when this node is gone.
    tokio::spawn(ask_members(channel.clone(), learn));
    let (outbound, requests) = mpsc::channel(16);
    let mut request = Request::new(ReceiverStream::new(requests));
    request.metadata_mut().insert("quorate-redirect", MetadataValue::from_static("true"));
    let mut client = SessionsClient::new(channel).max_decoding_message_size(64 << 20);
    let response = timeout(OPEN_TIMEOUT, client.pipeline(request)).await;
    let response = response.map_err(|_| "the node did not open a pipeline in time".to_owned())?;
    Ok((outbound, response.map_err(|status| status.message().to_owned())?.into_inner()))
}

async fn ask_members(channel: Channel, learn: Learn) {
    let mut client = ClusterClient::new(channel);
    if let Ok(Ok(status)) = timeout(MEMBERS_TIMEOUT, client.status(v1::StatusRequest::default())).await {
        learn(status.into_inner().members.into_iter().map(|member| member.client_address).collect());
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

/// An operation that was sent and is not answered yet.
struct Sent {
    answer: oneshot::Sender<Answered>,
    /// The message it went with: how long that is, and whether there was nothing else in it.
    message_bytes: usize,
    alone: bool,
}

/// What was sent and is not answered yet, by tag.
type Unanswered = Mutex<HashMap<u64, Sent>>;

/// Why a stream ended.
struct Ending {
    reason: String,
    /// The error, when it was that a message is too long.
    too_large: Option<Error>,
}

impl From<&str> for Ending {
    fn from(reason: &str) -> Self {
        Ending { reason: reason.into(), too_large: None }
    }
}

impl Ending {
    fn broken(status: &tonic::Status) -> Self {
        let error = Error::from_status(status);
        let too_large = (error.reason() == Some(MESSAGE_TOO_LARGE)).then_some(error);
        Ending { reason: status.message().to_owned(), too_large }
    }

    /// What it means for each of those that wait. A node that finds a message too long reads neither that nor what
    /// comes after, so the longest one was not read; what others met with is not known.
    fn tell(self, unanswered: HashMap<u64, Sent>) {
        let longest = unanswered.values().map(|sent| sent.message_bytes).max();
        for (_, sent) in unanswered {
            let broken = match &self.too_large {
                Some(error) if Some(sent.message_bytes) == longest && sent.alone => {
                    Broken::TooLarge(Box::new(error.clone()))
                }
                Some(_) if Some(sent.message_bytes) == longest => Broken::NotSent(self.reason.clone()),
                _ => Broken::Lost(self.reason.clone()),
            };
            // A caller who has gone needs no answer.
            let _ = sent.answer.send(Err(broken));
        }
    }
}

/// Runs until the stream breaks or no client is left; says why. What is unanswered then is lost.
async fn pump(
    outbound: mpsc::Sender<v1::PipelineRequest>,
    inbound: Inbound,
    queued: &mut mpsc::Receiver<Queued>,
) -> String {
    let unanswered = Unanswered::default();
    let ending = tokio::select! {
        // The node's own word on why it ends the stream comes before that the stream has ended.
        biased;
        ending = receive(inbound, &unanswered) => ending,
        ending = send(&outbound, queued, &unanswered) => ending,
    };
    let reason = ending.reason.clone();
    ending.tell(unanswered.into_inner());
    reason
}

async fn send(
    outbound: &mpsc::Sender<v1::PipelineRequest>,
    queued: &mut mpsc::Receiver<Queued>,
    unanswered: &Unanswered,
) -> Ending {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    let mut next_tag = 0;
    loop {
        if queued.recv_many(&mut waiting, BATCH_MAX).await == 0 {
            return "no client uses it any more".into();
        }
        let mut batch = Batch::default();
        for Queued { mut operation, answer, claim } in waiting.drain(..) {
            next_tag += 1;
            operation.tag = next_tag;
            let bytes = field_bytes(operation.encoded_len());
            if !batch.has_room(bytes) && !batch.take().send(outbound, unanswered).await {
                return "the pipeline is closed".into();
            }
            // What its caller gave up, or withdrew, before it was sent is not sent.
            if !answer.is_closed() && claim.take() {
                batch.push(operation, bytes, answer);
            }
        }
        if !batch.send(outbound, unanswered).await {
            return "the pipeline is closed".into();
        }
    }
}

/// What goes out as one message.
#[derive(Default)]
struct Batch {
    operations: Vec<v1::Operation>,
    answers: Vec<oneshot::Sender<Answered>>,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, bytes: usize) -> bool {
        self.operations.is_empty() || self.bytes + bytes <= BATCH_BYTES_MAX
    }

    fn push(&mut self, operation: v1::Operation, bytes: usize, answer: oneshot::Sender<Answered>) {
        self.operations.push(operation);
        self.answers.push(answer);
        self.bytes += bytes;
    }

    fn take(&mut self) -> Batch {
        std::mem::take(self)
    }

    /// Sends it, unless it is empty; `false` when the stream is closed.
    async fn send(self, outbound: &mpsc::Sender<v1::PipelineRequest>, unanswered: &Unanswered) -> bool {
        if self.operations.is_empty() {
            return true;
        }
        let alone = self.operations.len() == 1;
        {
            let mut unanswered = unanswered.lock();
            for (operation, answer) in self.operations.iter().zip(self.answers) {
                unanswered.insert(operation.tag, Sent { answer, message_bytes: self.bytes, alone });
            }
        }
        outbound.send(v1::PipelineRequest { operations: self.operations }).await.is_ok()
    }
}

/// The bytes of a message's field that holds `bytes`: its key and its length come first.
fn field_bytes(bytes: usize) -> usize {
    1 + prost::length_delimiter_len(bytes) + bytes
}

async fn receive(mut inbound: Inbound, unanswered: &Unanswered) -> Ending {
    loop {
        match inbound.message().await {
            Ok(Some(response)) => {
                let mut unanswered = unanswered.lock();
                for answer in response.answers {
                    if let Some(waiting) = unanswered.remove(&answer.tag) {
                        let _ = waiting.answer.send(Ok(answer));
                    }
                }
            }
            Ok(None) => return "the node ended the pipeline".into(),
            Err(status) => return Ending::broken(&status),
        }
    }
}
