//! The session operations for a program that runs a node inside itself: no connection, the same code.

use std::time::Duration;

use quorate_proto::SessionStore;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use tonic::Status;

use super::answer::FromAnswer;
use super::executor::{Context, TIMEOUT_DEFAULT, deadline_after};
use super::server::Services;

impl Services {
    async fn embedded<R: FromAnswer>(&self, operation: Wire) -> Result<R, Status> {
        self.embedded_within(operation, TIMEOUT_DEFAULT).await
    }

    async fn embedded_within<R: FromAnswer>(&self, operation: Wire, timeout: Duration) -> Result<R, Status> {
        let deadline = deadline_after(Some(timeout));
        let context = Context { deadline, redirect: false, forwarded: false };
        // Boxed: the futures within are too deep for the compiler to lay out in a caller's own.
        Box::pin(self.executor().call(operation, context)).await
    }
}

/// Each call takes at most 5 s, a lock as long as it waits besides, and is forwarded when another node leads. Errors are what a remote caller would get.
impl SessionStore for Services {
    type Error = Status;

    async fn create(&self, request: v1::CreateRequest) -> Result<v1::CreateResponse, Status> {
        self.embedded(Wire::Create(request)).await
    }

    async fn get(&self, request: v1::GetRequest) -> Result<v1::GetResponse, Status> {
        self.embedded(Wire::Get(request)).await
    }

    async fn write(&self, request: v1::WriteRequest) -> Result<v1::WriteResponse, Status> {
        self.embedded(Wire::Write(request)).await
    }

    async fn touch(&self, request: v1::TouchRequest) -> Result<v1::TouchResponse, Status> {
        self.embedded(Wire::Touch(request)).await
    }

    async fn delete(&self, request: v1::DeleteRequest) -> Result<v1::DeleteResponse, Status> {
        self.embedded(Wire::Delete(request)).await
    }

    async fn regenerate(&self, request: v1::RegenerateRequest) -> Result<v1::RegenerateResponse, Status> {
        self.embedded(Wire::Regenerate(request)).await
    }

    async fn touch_many(&self, request: v1::TouchManyRequest) -> Result<v1::TouchManyResponse, Status> {
        self.embedded(Wire::TouchMany(request)).await
    }

    async fn unlock(&self, request: v1::UnlockRequest) -> Result<v1::UnlockResponse, Status> {
        self.embedded(Wire::Unlock(request)).await
    }

    async fn break_lock(&self, request: v1::BreakLockRequest) -> Result<v1::BreakLockResponse, Status> {
        self.embedded(Wire::BreakLock(request)).await
    }

    async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, Status> {
        self.embedded(Wire::List(request)).await
    }

    async fn revoke(&self, request: v1::RevokeRequest) -> Result<v1::RevokeResponse, Status> {
        self.embedded(Wire::Revoke(request)).await
    }

    async fn lock(&self, request: v1::LockRequest) -> Result<v1::LockResponse, Status> {
        let timeout = TIMEOUT_DEFAULT + Duration::from_millis(request.wait_ms);
        self.embedded_within(Wire::Lock(request), timeout).await
    }
}
