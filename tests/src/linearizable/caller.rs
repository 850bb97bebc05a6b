//! How a client calls: by the Rust client, which follows the leader and retries, or by plain gRPC at one node, which
//! forwards and is asked once.

use std::net::SocketAddrV4;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::SessionStore;
use quorate_proto::v1;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_proto::v1::write_request::Change;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::operation::{Number, Operation};
use super::outcome::{Outcome, Seen};
use super::subject::{Name, Subject};
use super::trouble::Trouble;
use crate::status::channel;

/// The one attribute; its value is the number of the operation that wrote it.
const ATTRIBUTE: &str = "written_by";
/// Longer than any history that is judged.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Longer than any history that is judged.
const LEASE: Duration = Duration::from_secs(3_600);

/// How a client calls.
#[derive(Debug)]
pub(crate) enum Caller {
    Library(Client),
    Plain(Plain),
}

/// One node, called without the client library.
#[derive(Debug)]
pub(crate) struct Plain {
    address: SocketAddrV4,
    /// For one call.
    deadline: Duration,
    stub: Option<SessionsClient<Channel>>,
}

/// What a call asks for, in the cluster's terms.
pub(crate) struct Call<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) number: Number,
    pub(crate) operation: Operation,
    /// The session's id, and another one for it.
    pub(crate) name: Name,
    pub(crate) new_name: Option<Name>,
    /// The token of the lock that the operation names.
    pub(crate) fence: Option<u64>,
    /// A read renews the idle deadline.
    pub(crate) touch: bool,
    /// A write names the attribute instead of replacing all.
    pub(crate) patch: bool,
}

/// What was answered, and the session's handle where that tells it.
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) handle: Option<String>,
}

impl Plain {
    pub(crate) fn new(address: SocketAddrV4, deadline: Duration) -> Plain {
        Plain { address, deadline, stub: None }
    }

    async fn settle<T>(
        &mut self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Trouble> {
        let answer = timeout(self.deadline, call).await;
        let Ok(answer) = answer else { return Err(Trouble::Unknown) };
        answer.map(Response::into_inner).map_err(|status| {
            let trouble = Trouble::from(status);
            if trouble == Trouble::Unknown {
                self.stub = None;
            }
            trouble
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }
}

/// One unary call, either way.
macro_rules! call {
    ($caller:expr, $method:ident, $message:expr) => {
        match $caller {
            Caller::Library(client) => SessionStore::$method(client, $message).await.map_err(Trouble::from),
            Caller::Plain(node) => {
                let Some(mut stub) = node.stub.clone() else { return Err(Trouble::NotApplied) };
                let request = node.request($message);
                node.settle(async move { stub.$method(request).await }).await
            }
        }
    };
}

impl Caller {
    /// Whether a call can be made now: whether the node is there, for one that calls one node.
    pub(crate) async fn is_connected(&mut self) -> bool {
        let Caller::Plain(node) = self else { return true };
        if node.stub.is_none() {
            node.stub = channel(node.address).await.ok().map(SessionsClient::new);
        }
        node.stub.is_some()
    }

    /// Carries a call out.
    ///
    /// # Errors
    /// [`Trouble`], refusals included.
    pub(crate) async fn call(&mut self, call: &Call<'_>) -> Result<Answer, Trouble> {
        let id = call.name.id.reveal().to_owned();
        let done = |outcome| Ok(Answer { outcome, handle: None });
        match call.operation {
            Operation::Create => {
                let request = v1::CreateRequest {
                    id,
                    attributes: value(call.number).attributes,
                    timeouts: Some(v1::Timeouts {
                        idle_ms: Some(millis(IDLE_TIMEOUT)),
                        absolute_ms: call.subject.absolute_timeout().map(millis),
                    }),
                    ..v1::CreateRequest::default()
                };
                let created = call!(self, create, request)?;
                Ok(Answer { outcome: Outcome::Written(created.version), handle: Some(created.handle) })
            }
            Operation::Get { .. } => {
                let request = v1::GetRequest { id, touch: Some(call.touch), ..v1::GetRequest::default() };
                let session = call!(self, get, request)?.session.unwrap_or_default();
                Ok(Answer { outcome: Outcome::Found(seen(&session)?), handle: Some(session.handle) })
            }
            Operation::Touch { .. } => {
                call!(self, touch, v1::TouchRequest { id, ..v1::TouchRequest::default() })?;
                done(Outcome::Done)
            }
            Operation::Write { if_version, release, .. } => {
                let change =
                    if call.patch { patch(call.number) } else { Change::Replace(value(call.number)) };
                let request = v1::WriteRequest {
                    id,
                    if_version,
                    release,
                    fence: call.fence,
                    change: Some(change),
                    ..v1::WriteRequest::default()
                };
                done(Outcome::Written(call!(self, write, request)?.version))
            }
            Operation::Delete { .. } => {
                call!(self, delete, v1::DeleteRequest { id, ..v1::DeleteRequest::default() })?;
                done(Outcome::Done)
            }
            Operation::Regenerate { .. } => {
                let Some(new) = &call.new_name else { return Err(Trouble::NotApplied) };
                let new_id = new.id.reveal().to_owned();
                let fence = call.fence;
                let request = v1::RegenerateRequest { id, new_id, fence, ..v1::RegenerateRequest::default() };
                let renamed = call!(self, regenerate, request)?;
                Ok(Answer { outcome: Outcome::Written(renamed.version), handle: Some(renamed.handle) })
            }
            Operation::Lock { .. }
            | Operation::Renew { .. }
            | Operation::Unlock { .. }
            | Operation::Break { .. }
            | Operation::Expire { .. } => self.call_on_lock(call, id).await,
        }
    }

    async fn call_on_lock(&mut self, call: &Call<'_>, id: String) -> Result<Answer, Trouble> {
        let done = |outcome| Ok(Answer { outcome, handle: None });
        match call.operation {
            Operation::Lock { .. } | Operation::Renew { .. } => {
                let request = v1::LockRequest {
                    id,
                    lease_ms: millis(LEASE),
                    fence: call.fence,
                    owner: call.number.to_string(),
                    ..v1::LockRequest::default()
                };
                let locked = call!(self, lock, request)?;
                match call.fence {
                    None => done(Outcome::Locked(locked.fence)),
                    Some(fence) if fence == locked.fence => done(Outcome::Done),
                    Some(_) => Err(Trouble::Unexpected("a renewal gave another token".to_owned())),
                }
            }
            Operation::Unlock { .. } => {
                let fence = call.fence.unwrap_or_default();
                call!(self, unlock, v1::UnlockRequest { id, fence, ..v1::UnlockRequest::default() })?;
                done(Outcome::Done)
            }
            Operation::Break { .. } => {
                let handle = call.name.handle.clone().unwrap_or_default();
                call!(self, break_lock, v1::BreakLockRequest { handle, ..v1::BreakLockRequest::default() })?;
                done(Outcome::Done)
            }
            _ => Err(Trouble::NotApplied),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn value(number: Number) -> v1::Attributes {
    v1::Attributes { attributes: [(ATTRIBUTE.to_owned(), number.to_string().into())].into() }
}

fn patch(number: Number) -> Change {
    Change::Patch(v1::Patch { set: value(number).attributes, remove: Vec::new() })
}

fn seen(session: &v1::Session) -> Result<Seen, Trouble> {
    let number = |text: &str| text.parse::<Number>().ok();
    let value = session.attributes.get(ATTRIBUTE);
    let value = value.and_then(|value| std::str::from_utf8(value).ok()).and_then(number);
    let value = value.ok_or_else(|| Trouble::Unexpected("a session without its attribute".to_owned()))?;
    let holder = match &session.lock {
        None => None,
        Some(lock) => {
            let unnamed = || Trouble::Unexpected("a lock of nobody's".to_owned());
            Some(number(&lock.owner).ok_or_else(unnamed)?)
        }
    };
    Ok(Seen { version: session.version, value, holder })
}
