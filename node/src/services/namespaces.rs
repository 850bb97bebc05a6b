//! `quorate.v1.Namespaces`: each call is a pipelined operation on its own.

use quorate_proto::v1;
use quorate_proto::v1::namespaces_server::Namespaces;
use quorate_proto::v1::operation::Operation as Wire;
use tonic::{Request, Response, Status};

use super::backend::Backend;
use super::executor::Executor;
use super::unary::unary;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct NamespacesService<B>(pub(crate) Executor<B>);

#[tonic::async_trait]
impl<B: Backend> Namespaces for NamespacesService<B> {
    async fn put(
        &self,
        request: Request<v1::PutNamespaceRequest>,
    ) -> Result<Response<v1::PutNamespaceResponse>, Status> {
        unary(&self.0, request, Wire::PutNamespace).await
    }

    async fn get(
        &self,
        request: Request<v1::GetNamespaceRequest>,
    ) -> Result<Response<v1::GetNamespaceResponse>, Status> {
        unary(&self.0, request, Wire::GetNamespace).await
    }

    async fn list(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        unary(&self.0, request, Wire::ListNamespaces).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteNamespaceRequest>,
    ) -> Result<Response<v1::DeleteNamespaceResponse>, Status> {
        unary(&self.0, request, Wire::DeleteNamespace).await
    }
}
