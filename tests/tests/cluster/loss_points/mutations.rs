//! The mutations: how each is sent, and how to tell that it took effect once.
//!
//! # One more mutation
//!
//! Write a type with [`Mutation`] for it (or another `Write`), in a file of its own when it is long, and add it to
//! [`all`]. `overtake` should do what a second effect would undo, repeat or meet: then a retry that is carried out again
//! cannot look like the first.

use std::sync::Arc;

use quorate_client::{Client, Error, ErrorKind, NewSession, Patch, Session, SessionId};
use quorate_proto::v1;
use quorate_proto::v1::namespaces_client::NamespacesClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::new_id;
use tonic::Status;
use tonic::transport::Channel;

use super::answer::{Answer, answered, decoded};
use super::locks::{BreakLock, FencedRegenerate, FencedWrite, Lock, Unlock};
use super::many::{DeleteNamespace, PutNamespace, Revoke};
use super::touch::Touch;
use crate::common::looking;

/// One node, for plain calls.
#[derive(Clone)]
pub(super) struct Stub {
    pub(super) sessions: SessionsClient<Channel>,
    pub(super) namespaces: NamespacesClient<Channel>,
}

impl Stub {
    pub(super) fn new(channel: Channel) -> Stub {
        Stub { sessions: SessionsClient::new(channel.clone()), namespaces: NamespacesClient::new(channel) }
    }
}

/// One row of the table.
#[tonic::async_trait]
pub(super) trait Mutation: Send + Sync {
    fn name(&self) -> &'static str;

    /// Whether its outcome is a refusal.
    fn is_refused(&self) -> bool {
        false
    }

    /// How many fencing tokens are drawn by it and by all that is done around it.
    fn fences(&self) -> u64 {
        0
    }

    /// Makes what it needs.
    async fn prepare(&self, _client: &Client) -> Result<(), Error> {
        Ok(())
    }

    /// Sends it.
    async fn send(&self, stub: Stub, id: v1::RequestId) -> Result<Answer, Status>;

    /// Reads a response that was caught on its way.
    fn decode(&self, message: &[u8]) -> Option<Answer>;

    /// `Err` says what differs from its having taken effect once, and nothing after it.
    async fn check(&self, client: &Client) -> Result<(), String>;

    /// What somebody else does after it.
    async fn overtake(&self, _client: &Client) -> Result<(), Error> {
        Ok(())
    }

    /// `Err` says what differs from its having taken effect once, and then what `overtake` does.
    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        self.check(client).await
    }
}

/// The table.
pub(super) fn all() -> Vec<Arc<dyn Mutation>> {
    use v1::write_request::Change;
    let attributes = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())).collect()
    };
    let replace = Change::Replace(v1::Attributes { attributes: attributes(&[("a", "sent")]) });
    let patch = v1::Patch { set: attributes(&[("a", "sent")]), remove: vec!["b".to_owned()] };
    let by_patch = v1::WriteRequest { change: Some(Change::Patch(patch)), ..Default::default() };
    let timeouts = v1::Timeouts { idle_ms: Some(7_200_000), absolute_ms: None };
    vec![
        Arc::new(Create { id: new_id(), taken: false }),
        Arc::new(Create { id: new_id(), taken: true }),
        write("write, replace", v1::WriteRequest { change: Some(replace), ..Default::default() }),
        write("write, patch", by_patch.clone()),
        write("write, on condition", v1::WriteRequest { if_version: Some(1), ..by_patch.clone() }),
        write("write, condition not met", v1::WriteRequest { if_version: Some(2), ..by_patch }),
        write(
            "write, sign in",
            v1::WriteRequest {
                principal: Some("alice".to_owned()),
                timeouts: Some(timeouts),
                ..Default::default()
            },
        ),
        Touch::row(),
        Touch::row_with_nearer_deadline(),
        Touch::row_of_many(),
        Arc::new(Delete { id: new_id() }),
        Arc::new(Regenerate { id: new_id(), new: new_id(), later: new_id() }),
        Lock::row(),
        Lock::row_held_by_another(),
        Unlock::row(),
        BreakLock::row(),
        FencedWrite::row(),
        FencedRegenerate::row(),
        Revoke::row(),
        Revoke::row_of_all_but_one(),
        PutNamespace::row(),
        DeleteNamespace::row(),
    ]
}

/// A linearizable look.
pub(super) async fn read(client: &Client, id: &SessionId) -> Result<Session, String> {
    client.get_with(id, looking()).await.map_err(|error| error.to_string())
}

/// `Err` unless there is no such session, for that reason.
pub(super) async fn gone(client: &Client, id: &SessionId, reason: &str) -> Result<(), String> {
    match client.get_with(id, looking()).await {
        Err(error) if error.kind() == ErrorKind::NotFound && error.reason() == Some(reason) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(session) => Err(format!("it is there, with version {}", session.version)),
    }
}

/// `Err` unless the session has this version and this value of `a`.
pub(super) async fn holds(
    client: &Client,
    id: &SessionId,
    version: u64,
    value: &str,
) -> Result<Session, String> {
    let session = read(client, id).await?;
    let a = session.attributes.get("a").map(|value| String::from_utf8_lossy(value).into_owned());
    if (session.version, a.as_deref()) == (version, Some(value)) {
        return Ok(session);
    }
    Err(format!("version {} with a={a:?}, not version {version} with a={value:?}", session.version))
}

/// Creates a session with the attributes that the other rows change.
pub(super) async fn make(client: &Client, id: &SessionId) -> Result<(), Error> {
    let new = NewSession::new().id(id.clone()).attribute("a", "before").attribute("b", "before");
    client.create(new).await.map(drop)
}

struct Create {
    id: SessionId,
    /// Its id is in use: the retry must be refused as the first was, although the id has been deleted since.
    taken: bool,
}

#[tonic::async_trait]
impl Mutation for Create {
    fn name(&self) -> &'static str {
        if self.taken { "create, id in use" } else { "create" }
    }

    fn is_refused(&self) -> bool {
        self.taken
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        if self.taken { make(client, &self.id).await } else { Ok(()) }
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let request = v1::CreateRequest {
            id: self.id.reveal().to_owned(),
            request_id: Some(id),
            attributes: [("a".to_owned(), "sent".into())].into(),
            ..Default::default()
        };
        stub.sessions.create(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::CreateResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        holds(client, &self.id, 1, if self.taken { "before" } else { "sent" }).await.map(drop)
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        client.delete(&self.id).await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        gone(client, &self.id, "NOT_FOUND").await
    }
}

/// A write of a session with version 1. `request` lacks id and request id.
struct Write {
    name: &'static str,
    id: SessionId,
    request: v1::WriteRequest,
}

fn write(name: &'static str, request: v1::WriteRequest) -> Arc<dyn Mutation> {
    let id = new_id();
    Arc::new(Write { name, request: v1::WriteRequest { id: id.reveal().to_owned(), ..request }, id })
}

#[tonic::async_trait]
impl Mutation for Write {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_refused(&self) -> bool {
        self.request.if_version.is_some_and(|version| version != 1)
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        stub.sessions
            .write(v1::WriteRequest { request_id: Some(id), ..self.request.clone() })
            .await
            .map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::WriteResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        if self.is_refused() {
            return holds(client, &self.id, 1, "before").await.map(drop);
        }
        let value = if self.request.change.is_some() { "sent" } else { "before" };
        let session = holds(client, &self.id, 2, value).await?;
        let keeps_b = self.request.change.is_none();
        if session.attributes.contains_key("b") != keeps_b {
            return Err("attribute b is not as the write leaves it".to_owned());
        }
        match &self.request.principal {
            Some(principal) if *principal != session.principal => {
                Err("somebody else is signed in".to_owned())
            }
            _ => Ok(()),
        }
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        // Also brings the version at which a condition that was not met would be.
        let later = Patch::new().set("a", "later");
        client.write(&self.id, quorate_client::Write::patch(later).principal("")).await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        let version = if self.is_refused() { 2 } else { 3 };
        let session = holds(client, &self.id, version, "later").await?;
        if session.principal.is_empty() { Ok(()) } else { Err("somebody is signed in again".to_owned()) }
    }
}

struct Delete {
    id: SessionId,
}

#[tonic::async_trait]
impl Mutation for Delete {
    fn name(&self) -> &'static str {
        "delete"
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let request =
            v1::DeleteRequest { id: self.id.reveal().to_owned(), request_id: Some(id), ..Default::default() };
        stub.sessions.delete(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::DeleteResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        // A second effect would have been answered with NOT_FOUND.
        gone(client, &self.id, "NOT_FOUND").await
    }
}

struct Regenerate {
    id: SessionId,
    new: SessionId,
    later: SessionId,
}

#[tonic::async_trait]
impl Mutation for Regenerate {
    fn name(&self) -> &'static str {
        "regenerate"
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let request = v1::RegenerateRequest {
            id: self.id.reveal().to_owned(),
            new_id: self.new.reveal().to_owned(),
            request_id: Some(id),
            ..Default::default()
        };
        stub.sessions.regenerate(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::RegenerateResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        gone(client, &self.id, "RENAMED").await?;
        holds(client, &self.new, 2, "before").await.map(drop)
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        client.regenerate_to(&self.new, self.later.clone()).await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        gone(client, &self.id, "RENAMED").await?;
        gone(client, &self.new, "RENAMED").await?;
        holds(client, &self.later, 3, "before").await.map(drop)
    }
}
