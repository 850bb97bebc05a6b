//! One interface for all who hold sessions: the client, and a node used as a library.

use std::future::Future;

use crate::v1;

/// The session operations over the wire's own types. See `sessions.proto` for what each promises.
pub trait SessionStore {
    /// What can go wrong.
    type Error;

    /// Creates a session.
    fn create(
        &self,
        request: v1::CreateRequest,
    ) -> impl Future<Output = Result<v1::CreateResponse, Self::Error>> + Send;
    /// Reads a session.
    fn get(
        &self,
        request: v1::GetRequest,
    ) -> impl Future<Output = Result<v1::GetResponse, Self::Error>> + Send;
    /// Changes a session.
    fn write(
        &self,
        request: v1::WriteRequest,
    ) -> impl Future<Output = Result<v1::WriteResponse, Self::Error>> + Send;
    /// Renews a session's idle deadline.
    fn touch(
        &self,
        request: v1::TouchRequest,
    ) -> impl Future<Output = Result<v1::TouchResponse, Self::Error>> + Send;
    /// Ends a session.
    fn delete(
        &self,
        request: v1::DeleteRequest,
    ) -> impl Future<Output = Result<v1::DeleteResponse, Self::Error>> + Send;
    /// Gives a session a new id.
    fn regenerate(
        &self,
        request: v1::RegenerateRequest,
    ) -> impl Future<Output = Result<v1::RegenerateResponse, Self::Error>> + Send;
    /// Renews the idle deadlines of many sessions.
    fn touch_many(
        &self,
        request: v1::TouchManyRequest,
    ) -> impl Future<Output = Result<v1::TouchManyResponse, Self::Error>> + Send;
    /// Locks a session, or renews the lock's lease.
    fn lock(
        &self,
        request: v1::LockRequest,
    ) -> impl Future<Output = Result<v1::LockResponse, Self::Error>> + Send;
    /// Gives a lock back.
    fn unlock(
        &self,
        request: v1::UnlockRequest,
    ) -> impl Future<Output = Result<v1::UnlockResponse, Self::Error>> + Send;
    /// Takes a lock away from its holder.
    fn break_lock(
        &self,
        request: v1::BreakLockRequest,
    ) -> impl Future<Output = Result<v1::BreakLockResponse, Self::Error>> + Send;
    /// Lists sessions, a page at a time.
    fn list(
        &self,
        request: v1::ListRequest,
    ) -> impl Future<Output = Result<v1::ListResponse, Self::Error>> + Send;
    /// Ends a principal's sessions.
    fn revoke(
        &self,
        request: v1::RevokeRequest,
    ) -> impl Future<Output = Result<v1::RevokeResponse, Self::Error>> + Send;
}
