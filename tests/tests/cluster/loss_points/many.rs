//! The rows of what changes many sessions at once: revocation and namespaces.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, Error, ErrorKind, NewSession, PolicyChange, SessionId};
use quorate_proto::v1;
use quorate_tests::new_id;
use tonic::Status;

use super::answer::{Answer, answered, decoded};
use super::mutations::{Mutation, Stub, gone, make, read};

const IDLE_SENT: Duration = Duration::from_secs(600);
const IDLE_LATER: Duration = Duration::from_secs(900);

/// Ends the sessions of a principal, who then signs in again: that session a retry must not end.
pub(super) struct Revoke {
    /// Both of the principal.
    sessions: [SessionId; 2],
    /// The second stays.
    is_all_but_one: bool,
    later: SessionId,
}

impl Revoke {
    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(Revoke { sessions: [new_id(), new_id()], is_all_but_one: false, later: new_id() })
    }

    pub(super) fn row_of_all_but_one() -> Arc<dyn Mutation> {
        Arc::new(Revoke { sessions: [new_id(), new_id()], is_all_but_one: true, later: new_id() })
    }

    /// Another in each row.
    fn principal(&self) -> &'static str {
        if self.is_all_but_one { "bob" } else { "carol" }
    }

    async fn sign_in(&self, client: &Client, id: &SessionId) -> Result<(), Error> {
        client.create(NewSession::new().id(id.clone()).principal(self.principal())).await.map(drop)
    }
}

#[tonic::async_trait]
impl Mutation for Revoke {
    fn name(&self) -> &'static str {
        if self.is_all_but_one { "revoke, all but one" } else { "revoke" }
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        for id in &self.sessions {
            self.sign_in(client, id).await?;
        }
        Ok(())
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let [_, kept] = &self.sessions;
        let request = v1::RevokeRequest {
            principal: self.principal().to_owned(),
            request_id: Some(id),
            except_id: if self.is_all_but_one { kept.reveal().to_owned() } else { String::new() },
            ..Default::default()
        };
        stub.sessions.revoke(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::RevokeResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        let [ended, kept] = &self.sessions;
        gone(client, ended, "NOT_FOUND").await?;
        if self.is_all_but_one {
            read(client, kept).await.map(drop)
        } else {
            gone(client, kept, "NOT_FOUND").await
        }
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        self.sign_in(client, &self.later).await
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        self.check(client).await?;
        read(client, &self.later).await.map(drop)
    }
}

/// Creates a namespace, whose policy is then changed: a retry must not change it back.
pub(super) struct PutNamespace;

impl PutNamespace {
    const NAME: &str = "put";

    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(PutNamespace)
    }

    async fn has_idle(client: &Client, idle: Duration) -> Result<(), String> {
        let found = client.get_namespace(Self::NAME).await.map_err(|error| error.to_string())?;
        if found.policy.default_idle == Some(idle) { Ok(()) } else { Err(format!("{:?}", found.policy)) }
    }
}

#[tonic::async_trait]
impl Mutation for PutNamespace {
    fn name(&self) -> &'static str {
        "put a namespace"
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let default_idle_ms = u64::try_from(IDLE_SENT.as_millis()).ok();
        let request = v1::PutNamespaceRequest {
            name: Self::NAME.to_owned(),
            policy: Some(v1::Policy { default_idle_ms, ..Default::default() }),
            request_id: Some(id),
            ..Default::default()
        };
        // That it was created is part of the answer; carried out again it would say that it was not.
        let response = stub.namespaces.put(request).await?;
        if response.get_ref().created {
            Ok(answered(response))
        } else {
            Err(Status::internal("it was there before"))
        }
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::PutNamespaceResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        Self::has_idle(client, IDLE_SENT).await
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        let later = PolicyChange::new().default_idle(IDLE_LATER);
        client.change_namespace(Self::NAME, later).await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        Self::has_idle(client, IDLE_LATER).await
    }
}

/// Deletes a namespace, which is then made anew: that one a retry must not delete.
pub(super) struct DeleteNamespace {
    before: SessionId,
    later: SessionId,
}

impl DeleteNamespace {
    const NAME: &str = "deleted";

    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(DeleteNamespace { before: new_id(), later: new_id() })
    }

    async fn make(client: &Client, id: &SessionId) -> Result<(), Error> {
        client.create_namespace(Self::NAME, PolicyChange::new()).await?;
        make(&client.with_namespace(Self::NAME), id).await
    }
}

#[tonic::async_trait]
impl Mutation for DeleteNamespace {
    fn name(&self) -> &'static str {
        "delete a namespace"
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        Self::make(client, &self.before).await
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let request = v1::DeleteNamespaceRequest { name: Self::NAME.to_owned(), request_id: Some(id) };
        stub.namespaces.delete(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::DeleteNamespaceResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        match client.get_namespace(Self::NAME).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
            Ok(_) => return Err("the namespace is there".to_owned()),
        }
        gone(&client.with_namespace(Self::NAME), &self.before, "UNKNOWN_NAMESPACE").await
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        Self::make(client, &self.later).await
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        let within = client.with_namespace(Self::NAME);
        gone(&within, &self.before, "NOT_FOUND").await?;
        read(&within, &self.later).await.map(drop)
    }
}
