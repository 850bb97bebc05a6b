//! The session operations for a program that runs a node inside itself: no connection, the same code.

use quorate_proto::SessionStore;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use tonic::Status;

use super::answer::FromAnswer;
use super::executor::{Context, deadline_after};
use super::server::Services;

impl Services {
    async fn embedded<R: FromAnswer>(&self, operation: Wire) -> Result<R, Status> {
        let context = Context { deadline: deadline_after(None), redirect: false, forwarded: false };
        // Boxed: the futures within are too deep for the compiler to lay out in a caller's own.
        Box::pin(self.executor().call(operation, context)).await
    }
}

/// Each call takes at most 5 s, and is forwarded when another node leads. Errors are what a remote caller would get.
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
}
