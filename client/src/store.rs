//! The wire's own requests, through the same tries.

use std::time::Duration;

use prost::Message as _;
use quorate_proto::SessionStore;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation;

use crate::client::Client;
use crate::consistency;
use crate::error::Error;
use crate::id::SessionId;
use crate::presence::attended;

/// The wire's own requests, through the same tries. The `request_id` is set here; one that is given is replaced.
impl SessionStore for Client {
    type Error = Error;

    async fn create(&self, request: v1::CreateRequest) -> Result<v1::CreateResponse, Error> {
        let mut request = request;
        if request.id.is_empty() {
            request.id = SessionId::random().reveal().to_owned();
        }
        let build = |id| Operation::Create(v1::CreateRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, Create)
    }

    async fn get(&self, request: v1::GetRequest) -> Result<v1::GetResponse, Error> {
        let route = consistency::route(request.at_least.as_ref(), request.stale_ms);
        expect!(self.caller.read(Operation::Get(request), route).await?, Get)
    }

    async fn write(&self, request: v1::WriteRequest) -> Result<v1::WriteResponse, Error> {
        let build = |id| Operation::Write(v1::WriteRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, Write)
    }

    async fn touch(&self, request: v1::TouchRequest) -> Result<v1::TouchResponse, Error> {
        let build = |id| Operation::Touch(v1::TouchRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, Touch)
    }

    async fn delete(&self, request: v1::DeleteRequest) -> Result<v1::DeleteResponse, Error> {
        let build = |id| Operation::Delete(v1::DeleteRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, Delete)
    }

    async fn regenerate(&self, request: v1::RegenerateRequest) -> Result<v1::RegenerateResponse, Error> {
        let mut request = request;
        if request.new_id.is_empty() {
            request.new_id = SessionId::random().reveal().to_owned();
        }
        let build =
            |id| Operation::Regenerate(v1::RegenerateRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, Regenerate)
    }

    async fn touch_many(&self, request: v1::TouchManyRequest) -> Result<v1::TouchManyResponse, Error> {
        let build =
            |id| Operation::TouchMany(v1::TouchManyRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, TouchMany)
    }

    /// A caller who goes away leaves the line. A lock that was granted just then is given back as well as it can be, and
    /// else held until its lease ends; see [`Client::lock`].
    async fn lock(&self, request: v1::LockRequest) -> Result<v1::LockResponse, Error> {
        let client = self.clone();
        attended(async move |presence| {
            let time = client.caller.time().waiting(Duration::from_millis(request.wait_ms));
            let unlock = v1::UnlockRequest {
                namespace: request.namespace.clone(),
                id: request.id.clone(),
                ..v1::UnlockRequest::default()
            };
            let renewal = request.fence.is_some();
            let locked = client.lock_within(time, presence.clone(), request).await?;
            if presence.has_gone() && !renewal {
                // Nobody is there to be told of a failure.
                let unlock = v1::UnlockRequest { fence: locked.fence, ..unlock };
                let _ = SessionStore::unlock(&client, unlock).await;
            }
            Ok(locked)
        })
        .await
    }

    async fn unlock(&self, request: v1::UnlockRequest) -> Result<v1::UnlockResponse, Error> {
        let build = |id| Operation::Unlock(v1::UnlockRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, Unlock)
    }

    async fn break_lock(&self, request: v1::BreakLockRequest) -> Result<v1::BreakLockResponse, Error> {
        let build =
            |id| Operation::BreakLock(v1::BreakLockRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, BreakLock)
    }

    async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        let route = consistency::route(request.at_least.as_ref(), request.stale_ms);
        expect!(self.caller.read(Operation::List(request), route).await?, List)
    }

    async fn revoke(&self, request: v1::RevokeRequest) -> Result<v1::RevokeResponse, Error> {
        let build = |id| Operation::Revoke(v1::RevokeRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate(request.encoded_len(), build).await?, Revoke)
    }
}
