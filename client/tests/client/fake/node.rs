//! One node of the fake cluster: a real gRPC server whose behaviour is scripted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use quorate_proto::v1::answer::Answer;
use quorate_proto::v1::operation::Operation;
use quorate_proto::v1::{self, RequestId, cluster_server, sessions_server};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::state::{Attempt, State, error, refusal, request_id};

/// What a node does with an operation.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Runs it and answers.
    None,
    /// Breaks the stream without having run it.
    DropBefore,
    /// Runs it and breaks the stream instead of answering.
    DropAfter,
    /// Neither runs nor answers it.
    Silent,
    /// Runs and answers it once [`Node::release`] was called.
    Hold,
    /// Says that it does not lead, and who does.
    Redirect(Option<String>),
    /// Answers with this error, without running it.
    Refuse(Code, &'static str, Vec<(&'static str, &'static str)>),
    /// Runs it and answers as if it had been another kind of operation.
    OtherKind,
    /// Runs it and answers with nothing in the answer.
    Empty,
    /// Runs it and answers under a tag that was never given, once; then breaks the stream.
    OtherTag,
    /// Breaks the stream as if the message had been too long for it.
    TooLarge,
}

struct Inner {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// For the next operations but OpenClient, one each; then `always`.
    script: Mutex<VecDeque<Fault>>,
    always: Mutex<Fault>,
    released: watch::Sender<bool>,
    /// Request ids held: one that is sent again meanwhile is held again.
    held: Mutex<Vec<RequestId>>,
    /// Whether Status is never answered.
    mute_status: AtomicBool,
    /// Whether OpenClient is held like [`Fault::Hold`].
    holds_open: AtomicBool,
    /// Tags that were cancelled.
    cancelled: watch::Sender<Vec<u64>>,
    /// Whether it is a node that knows of no cancelling.
    ignores_cancels: AtomicBool,
    /// Operations per message received.
    messages: Mutex<Vec<usize>>,
    /// Messages that could not be read.
    unread: AtomicUsize,
    /// Rises whenever all watches are to break.
    breaks: watch::Sender<u64>,
    /// How many events are sent again at the begin of a watch.
    repeats: AtomicUsize,
    refuses_watches: Mutex<Option<Status>>,
    /// Whether watches hear nothing after their first message.
    stalls: AtomicBool,
}

/// A node. It serves until the test's runtime ends.
#[derive(Clone)]
pub(crate) struct Node {
    inner: Arc<Inner>,
}

type Sender = mpsc::Sender<Result<v1::PipelineResponse, Status>>;

impl Node {
    pub(crate) async fn start(state: Arc<Mutex<State>>) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        state.lock().members.push(address.to_string());
        let inner = Inner {
            address,
            state,
            script: Mutex::default(),
            always: Mutex::new(Fault::None),
            released: watch::Sender::new(false),
            held: Mutex::default(),
            mute_status: AtomicBool::new(false),
            holds_open: AtomicBool::new(false),
            cancelled: watch::Sender::new(Vec::new()),
            ignores_cancels: AtomicBool::new(false),
            messages: Mutex::default(),
            unread: AtomicUsize::new(0),
            breaks: watch::Sender::new(0),
            repeats: AtomicUsize::new(0),
            refuses_watches: Mutex::default(),
            stalls: AtomicBool::new(false),
        };
        let node = Node { inner: Arc::new(inner) };
        let server = tonic::transport::Server::builder()
            .add_service(sessions_server::SessionsServer::new(node.clone()))
            .add_service(cluster_server::ClusterServer::new(node.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        node
    }

    pub(crate) fn address(&self) -> String {
        self.inner.address.to_string()
    }

    /// What it does with the next operations, one fault each.
    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner.script.lock().extend(faults);
    }

    /// What it does once the script is through.
    pub(crate) fn always(&self, fault: Fault) {
        *self.inner.always.lock() = fault;
    }

    /// Makes it a follower of `leader`.
    pub(crate) fn follow(&self, leader: &Node) {
        self.always(Fault::Redirect(Some(leader.address())));
    }

    /// Holds every OpenClient until [`Node::release`] was called.
    pub(crate) fn hold_open(&self) {
        self.inner.holds_open.store(true, Ordering::Relaxed);
    }

    /// Never answers Status.
    pub(crate) fn mute_status(&self) {
        self.inner.mute_status.store(true, Ordering::Relaxed);
    }

    /// Lets everything held go on.
    pub(crate) fn release(&self) {
        self.inner.released.send_replace(true);
    }

    /// Has it take no notice of callers who have gone, as a node that has granted what they asked for.
    pub(crate) fn ignore_cancels(&self) {
        self.inner.ignores_cancels.store(true, Ordering::Relaxed);
    }

    pub(crate) fn heed_cancels(&self) {
        self.inner.ignores_cancels.store(false, Ordering::Relaxed);
    }

    /// How many tags were cancelled.
    pub(crate) fn cancelled(&self) -> usize {
        self.inner.cancelled.borrow().len()
    }

    /// Breaks every watch that it serves.
    pub(crate) fn break_watches(&self) {
        self.inner.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// Has it send so many events again at the begin of each watch.
    pub(crate) fn repeat(&self, events: usize) {
        self.inner.repeats.store(events, Ordering::Relaxed);
    }

    /// Whether it takes no more watches, and why.
    pub(crate) fn refuse_watches(&self, why: Option<Status>) {
        *self.inner.refuses_watches.lock() = why;
    }

    /// How many watches it serves.
    pub(crate) fn serving(&self) -> usize {
        self.inner.breaks.receiver_count()
    }

    pub(super) fn breaks(&self) -> watch::Receiver<u64> {
        self.inner.breaks.subscribe()
    }

    pub(super) fn repeats(&self) -> usize {
        self.inner.repeats.load(Ordering::Relaxed)
    }

    /// As if it were cut off from the others: its watches hear of nothing.
    pub(crate) fn stall(&self) {
        self.inner.stalls.store(true, Ordering::Relaxed);
    }

    pub(super) fn stalls(&self) -> bool {
        self.inner.stalls.load(Ordering::Relaxed)
    }

    pub(super) fn refuses_watches(&self) -> Option<Status> {
        self.inner.refuses_watches.lock().clone()
    }

    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.inner.state.lock()
    }

    /// Operations per message received so far.
    pub(crate) fn messages(&self) -> Vec<usize> {
        self.inner.messages.lock().clone()
    }

    /// Messages that could not be read, such as those that are too long.
    pub(crate) fn unread(&self) -> usize {
        self.inner.unread.load(Ordering::Relaxed)
    }

    /// Scripted faults are for sessions; a node that follows redirects OpenClient too.
    fn fault(&self, operation: &Operation) -> Fault {
        let request = request_id(operation);
        if request.is_some_and(|request| self.inner.held.lock().contains(&request)) {
            return Fault::Hold;
        }
        let always = self.inner.always.lock().clone();
        if matches!(operation, Operation::OpenClient(_)) {
            self.inner.state.lock().open_attempts += 1;
            return match always {
                Fault::Redirect(_) => always,
                _ if self.inner.holds_open.load(Ordering::Relaxed) => Fault::Hold,
                _ => Fault::None,
            };
        }
        self.inner.script.lock().pop_front().unwrap_or(always)
    }

    /// Serves one operation; an error breaks the stream.
    async fn serve(&self, wire: v1::Operation, sender: &Sender) -> Result<(), Status> {
        let broken = || Err(Status::unavailable("scripted: the stream breaks"));
        let Some(operation) = wire.operation else { return Err(Status::internal("an empty operation")) };
        if !matches!(operation, Operation::OpenClient(_)) {
            let attempt = Attempt { node: self.address(), request: request_id(&operation) };
            self.inner.state.lock().attempts.push(attempt);
        }
        let apply = || self.inner.state.lock().apply(&operation);
        let (tag, answer) = match self.fault(&operation) {
            Fault::None => (wire.tag, Some(apply())),
            Fault::DropBefore => return broken(),
            Fault::DropAfter => {
                apply();
                return broken();
            }
            Fault::Silent => return Ok(()),
            Fault::Hold => {
                self.inner.held.lock().extend(request_id(&operation));
                let (node, sender) = (self.clone(), sender.clone());
                tokio::spawn(async move { node.serve_later(wire.tag, operation, sender).await });
                return Ok(());
            }
            Fault::Redirect(leader) => (wire.tag, Some(not_leader(leader.as_deref()))),
            Fault::Refuse(code, reason, facts) => (wire.tag, Some(error(code, reason, &facts))),
            Fault::OtherKind => {
                apply();
                (wire.tag, Some(Answer::OpenClient(v1::OpenClientResponse::default())))
            }
            Fault::Empty => {
                apply();
                (wire.tag, None)
            }
            Fault::OtherTag => {
                answer_one(sender, u64::MAX, Some(apply())).await;
                return broken();
            }
            Fault::TooLarge => {
                let facts = [("retryable", "false"), ("maybe_applied", "false")];
                return Err(refusal(Code::OutOfRange, "MESSAGE_TOO_LARGE", &facts));
            }
        };
        answer_one(sender, tag, answer).await;
        Ok(())
    }

    async fn serve_later(&self, tag: u64, operation: Operation, sender: Sender) {
        let mut released = self.inner.released.subscribe();
        let mut cancelled = self.inner.cancelled.subscribe();
        let ignores = self.inner.ignores_cancels.load(Ordering::Relaxed);
        let released = async { released.wait_for(|released| *released).await.is_ok() };
        // Tags are one stream's: tests that cancel have one at a time.
        let gone = async { cancelled.wait_for(|tags| !ignores && tags.contains(&tag)).await.is_ok() };
        let answer = tokio::select! {
            _ = released => self.inner.state.lock().apply(&operation),
            _ = gone => error(Code::Aborted, "LOCKED", &[]),
        };
        answer_one(&sender, tag, Some(answer)).await;
    }

    async fn pump(self, mut incoming: Streaming<v1::PipelineRequest>, sender: Sender) {
        loop {
            let message = match incoming.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(status) => {
                    // Else the client went away.
                    if status.code() == Code::OutOfRange {
                        self.inner.unread.fetch_add(1, Ordering::Relaxed);
                    }
                    return;
                }
            };
            if !message.operations.is_empty() {
                self.inner.messages.lock().push(message.operations.len());
            }
            for operation in message.operations {
                if let Err(status) = self.serve(operation, &sender).await {
                    let _ = sender.send(Err(status)).await;
                    return;
                }
            }
            self.inner.cancelled.send_modify(|cancelled| cancelled.extend(message.cancel));
        }
    }
}

async fn answer_one(sender: &Sender, tag: u64, answer: Option<Answer>) {
    // A client that is gone needs no answer.
    let _ = sender.send(Ok(v1::PipelineResponse { answers: vec![v1::Answer { tag, answer }] })).await;
}

fn not_leader(leader: Option<&str>) -> Answer {
    match leader {
        Some(leader) => error(Code::Unavailable, "NOT_LEADER", &[("retryable", "true"), ("leader", leader)]),
        None => error(Code::Unavailable, "NO_LEADER", &[("retryable", "true")]),
    }
}

/// The whole implementation: `async_trait` does not see through a macro inside of it.
macro_rules! sessions {
    ($($unary:ident $request:ident $response:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl sessions_server::Sessions for Node {
            // The client library pipelines everything.
            $(async fn $unary(
                &self,
                _: Request<v1::$request>,
            ) -> Result<Response<v1::$response>, Status> {
                Err(Status::unimplemented("unary"))
            })*

            type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

            async fn watch(
                &self,
                request: Request<v1::WatchRequest>,
            ) -> Result<Response<Self::WatchStream>, Status> {
                let request = request.into_inner();
                self.takes(&request)?;
                let (told, events) = mpsc::channel(4);
                tokio::spawn(self.clone().feed(request, told));
                Ok(Response::new(ReceiverStream::new(events)))
            }

            type PipelineStream = ReceiverStream<Result<v1::PipelineResponse, Status>>;

            async fn pipeline(
                &self,
                request: Request<Streaming<v1::PipelineRequest>>,
            ) -> Result<Response<Self::PipelineStream>, Status> {
                if request.metadata().get("quorate-redirect").is_none_or(|value| value != "true") {
                    return Err(Status::invalid_argument("the client library must ask for redirects"));
                }
                let (sender, answers) = mpsc::channel(1_024);
                tokio::spawn(self.clone().pump(request.into_inner(), sender));
                Ok(Response::new(ReceiverStream::new(answers)))
            }
        }
    };
}

sessions! {
    open_client OpenClientRequest OpenClientResponse,
    create CreateRequest CreateResponse,
    get GetRequest GetResponse,
    write WriteRequest WriteResponse,
    touch TouchRequest TouchResponse,
    delete DeleteRequest DeleteResponse,
    regenerate RegenerateRequest RegenerateResponse,
    touch_many TouchManyRequest TouchManyResponse,
    lock LockRequest LockResponse,
    unlock UnlockRequest UnlockResponse,
    break_lock BreakLockRequest BreakLockResponse,
    list ListRequest ListResponse,
    revoke RevokeRequest RevokeResponse,
}

#[tonic::async_trait]
impl cluster_server::Cluster for Node {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        if self.inner.mute_status.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let members = self.inner.state.lock().members.clone();
        let member = |client_address| v1::Member { client_address, ..v1::Member::default() };
        let members = members.into_iter().map(member).collect();
        Ok(Response::new(v1::StatusResponse { cluster: 7, members, ..v1::StatusResponse::default() }))
    }
}
