//! A node of one, in memory (`more`: locks, lists, namespaces, events): enough of `quorate.v1` to run the command line against. No Raft, no expiry.

mod more;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use self::more::More;
use bytes::Bytes;
use futures_util::StreamExt;
use quorate_proto::v1::{
    Answer, BreakLockRequest, BreakLockResponse, CreateRequest, CreateResponse, DeleteRequest,
    DeleteResponse, Error, GetRequest, GetResponse, ListRequest, ListResponse, LockRequest, LockResponse,
    Member, OpenClientRequest, OpenClientResponse, Operation, PipelineRequest, PipelineResponse, Position,
    RegenerateRequest, RegenerateResponse, RevokeRequest, RevokeResponse, Session, StatusRequest,
    StatusResponse, TouchManyRequest, TouchManyResponse, TouchRequest, TouchResponse, UnlockRequest,
    UnlockResponse, WatchRequest, WatchResponse, WriteRequest, WriteResponse, answer, cluster_server,
    operation, sessions_server, write_request,
};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

const CLUSTER: u64 = 0xc1;

type Refusal = (Code, &'static str, Vec<(&'static str, String)>);
type Outcome = Result<answer::Answer, Refusal>;

#[derive(Clone)]
pub(crate) struct FakeNode {
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddr,
    store: Mutex<Store>,
    leads: AtomicBool,
}

#[derive(Default)]
struct Store {
    sessions: HashMap<String, Session>,
    index: u64,
    forgetful: bool,
    leaderless: bool,
    /// Locks that were to be given back.
    unlocks: usize,
    losing: Losing,
    more: More,
}

/// How far it is with losing an answer.
#[derive(Default, PartialEq)]
enum Losing {
    #[default]
    Not,
    /// The next change happens and its answer is lost.
    Answer,
    /// Whoever asks again is not known.
    Client,
}

impl FakeNode {
    /// A node that serves on a free port of its own.
    pub(crate) async fn start() -> FakeNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let store = Mutex::new(Store::default());
        let node = FakeNode { inner: Arc::new(Inner { address, store, leads: AtomicBool::new(true) }) };
        let server = tonic::transport::Server::builder()
            .add_service(sessions_server::SessionsServer::new(node.clone()))
            .add_service(cluster_server::ClusterServer::new(node.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        node
    }

    pub(crate) fn address(&self) -> String {
        self.inner.address.to_string()
    }

    /// Makes the node say that it follows nobody.
    pub(crate) fn abdicate(&self) {
        self.inner.leads.store(false, Ordering::Relaxed);
    }

    /// Makes the node answer every read that there is no such session.
    pub(crate) fn forget(&self) {
        self.inner.store.lock().expect("no panic").forgetful = true;
    }

    /// Makes the node answer everything that nobody leads.
    pub(crate) fn lose_leader(&self) {
        self.inner.store.lock().expect("no panic").leaderless = true;
    }

    /// How many locks were to be given back.
    pub(crate) fn unlocks(&self) -> usize {
        self.inner.store.lock().expect("no panic").unlocks
    }

    /// Makes the node lose the answer of the next change, and the client that asks for it again.
    pub(crate) fn lose_answer(&self) {
        self.inner.store.lock().expect("no panic").losing = Losing::Answer;
    }

    /// Makes the node give a lock to whoever asks, held or not.
    pub(crate) fn give_locks_to_all(&self) {
        self.inner.store.lock().expect("no panic").more.lavish = true;
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> usize {
        self.inner.store.lock().expect("no panic").sessions.len()
    }

    /// What a session of the namespace "default" holds now.
    pub(crate) fn session(&self, id: &str) -> Option<Session> {
        self.inner.store.lock().expect("no panic").sessions.get(&key("", id)).cloned()
    }

    /// Whether a session's lock is held.
    pub(crate) fn is_locked(&self, id: &str) -> bool {
        self.inner.store.lock().expect("no panic").more.is_locked(&key("", id))
    }

    /// Takes a session's lock away, as an administrator could.
    pub(crate) fn free(&self, id: &str) {
        self.inner.store.lock().expect("no panic").more.free(&key("", id));
    }

    fn perform(&self, operation: Operation) -> Answer {
        let tag = operation.tag;
        let outcome = match operation.operation {
            Some(operation) => self.inner.store.lock().expect("no panic").perform(operation),
            None => Err((Code::InvalidArgument, "NO_OPERATION", vec![])),
        };
        let answer = outcome.unwrap_or_else(|refusal| {
            let status = refuse(refusal);
            let details = Bytes::copy_from_slice(status.details());
            let message = status.message().to_owned();
            let code = status.code() as i32;
            answer::Answer::Error(Error { code, message, details })
        });
        Answer { tag, answer: Some(answer) }
    }

    fn unary(&self, operation: operation::Operation) -> Result<answer::Answer, Status> {
        self.inner.store.lock().expect("no panic").perform(operation).map_err(refuse)
    }
}

fn refuse((code, reason, facts): Refusal) -> Status {
    let mut metadata: HashMap<String, String> =
        HashMap::from([("retryable".into(), "false".into()), ("maybe_applied".into(), "false".into())]);
    metadata.extend(facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)));
    let details = ErrorDetails::with_error_info(reason, "quorate", metadata);
    Status::with_error_details(code, format!("refused: {reason}"), details)
}

fn key(namespace: &str, id: &str) -> String {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    format!("{namespace}/{id}")
}

fn not_found() -> Refusal {
    (Code::NotFound, "SESSION_NOT_FOUND", vec![])
}

fn maybe(code: Code, reason: &'static str) -> Refusal {
    (code, reason, vec![("maybe_applied", "true".to_owned())])
}

impl Store {
    fn next(&mut self) -> Option<Position> {
        self.index += 1;
        Some(Position { cluster: CLUSTER, index: self.index })
    }

    fn perform(&mut self, operation: operation::Operation) -> Outcome {
        use operation::Operation as O;
        self.unlocks += usize::from(matches!(operation, O::Unlock(_)));
        if self.leaderless {
            return Err((Code::Unavailable, "NO_LEADER", vec![("retryable", "true".to_owned())]));
        }
        if !matches!(operation, O::OpenClient(_) | O::Get(_) | O::List(_)) {
            match std::mem::take(&mut self.losing) {
                Losing::Not => {}
                Losing::Answer => {
                    self.perform(operation)?;
                    self.losing = Losing::Client;
                    return Err(maybe(Code::Unavailable, "OUTCOME_UNKNOWN"));
                }
                Losing::Client => return Err(maybe(Code::FailedPrecondition, "UNKNOWN_CLIENT")),
            }
        }
        match operation {
            O::OpenClient(OpenClientRequest {}) => {
                let position = self.next();
                Ok(answer::Answer::OpenClient(OpenClientResponse { client: self.index, position }))
            }
            O::Create(request) => self.create(request),
            O::Get(request) => self.get(request),
            O::Write(request) => self.write(request),
            O::Touch(TouchRequest { namespace, id, .. }) => {
                self.sessions.get(&key(&namespace, &id)).ok_or_else(not_found)?;
                let position = self.next();
                Ok(answer::Answer::Touch(TouchResponse { remaining_ms: Some(1_200_000), position }))
            }
            O::Delete(DeleteRequest { namespace, handle, .. }) if !handle.is_empty() => {
                let key = self.by_handle(&namespace, &handle)?;
                self.sessions.remove(&key);
                Ok(answer::Answer::Delete(DeleteResponse { position: self.next() }))
            }
            O::Delete(DeleteRequest { namespace, id, .. }) => {
                self.sessions.remove(&key(&namespace, &id)).ok_or_else(not_found)?;
                Ok(answer::Answer::Delete(DeleteResponse { position: self.next() }))
            }
            O::Regenerate(RegenerateRequest { namespace, id, new_id, .. }) => {
                let session = self.sessions.remove(&key(&namespace, &id)).ok_or_else(not_found)?;
                let (handle, version) = (session.handle.clone(), session.version);
                self.sessions.insert(key(&namespace, &new_id), session);
                let position = self.next();
                Ok(answer::Answer::Regenerate(RegenerateResponse { id: new_id, handle, version, position }))
            }
            operation => self.perform_more(operation),
        }
    }

    fn create(&mut self, request: CreateRequest) -> Outcome {
        let key = key(&request.namespace, &request.id);
        if self.sessions.contains_key(&key) {
            return Err((Code::AlreadyExists, "SESSION_EXISTS", vec![]));
        }
        let position = self.next();
        let timeouts = request.timeouts.unwrap_or_default();
        let session = Session {
            handle: format!("{:032x}", self.index),
            version: 1,
            attributes: request.attributes,
            principal: request.principal,
            created_ms: 1_795_489_323_120,
            idle_timeout_ms: timeouts.idle_ms.unwrap_or(1_200_000),
            absolute_timeout_ms: timeouts.absolute_ms.unwrap_or(0),
            remaining_ms: Some(1_200_000),
            lock: None,
        };
        let handle = session.handle.clone();
        self.sessions.insert(key, session);
        Ok(answer::Answer::Create(CreateResponse { id: request.id, handle, version: 1, position }))
    }

    fn get(&mut self, request: GetRequest) -> Outcome {
        if self.forgetful {
            return Err(not_found());
        }
        let session = self.sessions.get(&key(&request.namespace, &request.id)).ok_or_else(not_found)?;
        let mut session = session.clone();
        session.lock = self.more.state(&key(&request.namespace, &request.id));
        if let Some(wanted) = request.attributes {
            session.attributes.retain(|name, _| wanted.names.contains(name));
        }
        let position = Some(Position { cluster: CLUSTER, index: self.index });
        Ok(answer::Answer::Get(GetResponse { session: Some(session), position }))
    }

    fn write(&mut self, request: WriteRequest) -> Outcome {
        self.more.check(&key(&request.namespace, &request.id), request.fence)?;
        let session = self.sessions.get_mut(&key(&request.namespace, &request.id)).ok_or_else(not_found)?;
        if let Some(current) =
            Some(session.version).filter(|version| request.if_version.is_some_and(|v| v != *version))
        {
            return Err((Code::Aborted, "VERSION_CONFLICT", vec![("current_version", current.to_string())]));
        }
        match request.change {
            Some(write_request::Change::Replace(replace)) => session.attributes = replace.attributes,
            Some(write_request::Change::Patch(patch)) => {
                session.attributes.extend(patch.set);
                session.attributes.retain(|name, _| !patch.remove.contains(name));
            }
            None => {}
        }
        if let Some(principal) = request.principal {
            session.principal = principal;
        }
        session.version += 1;
        let version = session.version;
        let position = self.next();
        Ok(answer::Answer::Write(WriteResponse { version, position }))
    }
}

macro_rules! unary {
    ($($method:ident $request:ident $response:ident $variant:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl sessions_server::Sessions for FakeNode {
            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                match self.unary(operation::Operation::$variant(request.into_inner()))? {
                    answer::Answer::$variant(response) => Ok(Response::new(response)),
                    _ => Err(Status::internal("another answer")),
                }
            })*

            type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

            async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
                let events = self.inner.store.lock().expect("no panic").more.watch(&request.into_inner()).map_err(refuse)?;
                Ok(Response::new(Box::pin(events)))
            }

            type PipelineStream = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

            async fn pipeline(
                &self,
                request: Request<Streaming<PipelineRequest>>,
            ) -> Result<Response<Self::PipelineStream>, Status> {
                let node = self.clone();
                let answers = request.into_inner().map(move |batch| {
                    let answers = batch?.operations.into_iter().map(|operation| node.perform(operation)).collect();
                    Ok(PipelineResponse { answers })
                });
                Ok(Response::new(Box::pin(answers)))
            }
        }
    };
}

unary! {
    open_client OpenClientRequest OpenClientResponse OpenClient,
    create CreateRequest CreateResponse Create,
    get GetRequest GetResponse Get,
    write WriteRequest WriteResponse Write,
    touch TouchRequest TouchResponse Touch,
    delete DeleteRequest DeleteResponse Delete,
    regenerate RegenerateRequest RegenerateResponse Regenerate,
    touch_many TouchManyRequest TouchManyResponse TouchMany,
    lock LockRequest LockResponse Lock,
    unlock UnlockRequest UnlockResponse Unlock,
    break_lock BreakLockRequest BreakLockResponse BreakLock,
    list ListRequest ListResponse List,
    revoke RevokeRequest RevokeResponse Revoke,
}

#[tonic::async_trait]
impl cluster_server::Cluster for FakeNode {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let store = self.inner.store.lock().expect("no panic");
        let leads = self.inner.leads.load(Ordering::Relaxed);
        let sessions = store.sessions.len();
        Ok(Response::new(StatusResponse {
            cluster: CLUSTER,
            node: 1,
            leader: u64::from(leads),
            term: 3,
            last_log_index: store.index,
            applied_index: store.index,
            members: vec![Member {
                node: 1,
                client_address: self.address(),
                voter: true,
                ..Member::default()
            }],
            sessions: sessions.try_into().expect("few"),
            digest: if request.into_inner().digest { format!("{:032x}", sessions) } else { String::new() },
            version: "0.1.0".to_owned(),
            role: if leads { "leader" } else { "candidate" }.to_owned(),
            ..StatusResponse::default()
        }))
    }
}
