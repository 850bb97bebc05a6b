//! The rows of locks, and of what is done under them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_client::{Client, Error, LockOptions, LockState, Patch, SessionId, Write};
use quorate_proto::v1;
use quorate_tests::new_id;
use tonic::Status;

use super::BETWEEN;
use super::answer::{Answer, answered, decoded};
use super::mutations::{Mutation, Stub, gone, holds, make, read};

/// Longer than any story.
const LEASE: Duration = Duration::from_secs(1_200);
const RENEWED: Duration = Duration::from_secs(3_600);

/// Takes the lock of a session and leaves it held.
async fn take(client: &Client, id: &SessionId, owner: &str) -> Result<u64, Error> {
    Ok(client.lock(id, LockOptions::new().lease(LEASE).owner(owner)).await?.into_fence())
}

/// `Err` unless `owner` holds the lock and nobody waits for it; `None`: unless nobody holds it.
async fn held_by(client: &Client, id: &SessionId, owner: Option<&str>) -> Result<Option<LockState>, String> {
    let lock = read(client, id).await?.lock;
    let seen = lock.as_ref().map(|lock| (lock.owner.as_str(), lock.waiting));
    if seen == owner.map(|owner| (owner, 0)) { Ok(lock) } else { Err(format!("the lock is {lock:?}")) }
}

/// Takes a lock that is free, or is refused one that is held.
pub(super) struct Lock {
    id: SessionId,
    is_held: bool,
    /// What it, or the other holder, got.
    fence: Mutex<u64>,
}

impl Lock {
    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(Lock { id: new_id(), is_held: false, fence: Mutex::default() })
    }

    pub(super) fn row_held_by_another() -> Arc<dyn Mutation> {
        Arc::new(Lock { id: new_id(), is_held: true, fence: Mutex::default() })
    }
}

#[tonic::async_trait]
impl Mutation for Lock {
    fn name(&self) -> &'static str {
        if self.is_held { "lock, held by another" } else { "lock" }
    }

    fn is_refused(&self) -> bool {
        self.is_held
    }

    fn fences(&self) -> u64 {
        1
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await?;
        if self.is_held {
            *self.fence.lock() = take(client, &self.id, "another").await?;
        }
        Ok(())
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let request = v1::LockRequest {
            id: self.id.reveal().to_owned(),
            request_id: Some(id),
            lease_ms: u64::try_from(LEASE.as_millis()).unwrap_or(0),
            owner: "sent".to_owned(),
            ..Default::default()
        };
        let response = stub.sessions.lock(request).await?;
        *self.fence.lock() = response.get_ref().fence;
        Ok(answered(response))
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        *self.fence.lock() = <v1::LockResponse as prost::Message>::decode(message).ok()?.fence;
        decoded::<v1::LockResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        held_by(client, &self.id, Some(if self.is_held { "another" } else { "sent" })).await.map(drop)
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        let fence = *self.fence.lock();
        if self.is_held {
            // Now it could be had.
            client.unlock(&self.id, fence).await.map(drop)
        } else {
            client.renew_lock(&self.id, fence, RENEWED).await.map(drop)
        }
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        if self.is_held {
            return held_by(client, &self.id, None).await.map(drop);
        }
        match held_by(client, &self.id, Some("sent")).await? {
            // Taken anew it would be as young as the retry, and have the lease that was asked for first.
            Some(lock) if lock.age >= BETWEEN && lock.remaining > LEASE => Ok(()),
            lock => Err(format!("the lock was taken again: {lock:?}")),
        }
    }
}

/// Gives back a lock, which another then takes.
pub(super) struct Unlock {
    id: SessionId,
    fence: Mutex<u64>,
}

impl Unlock {
    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(Unlock { id: new_id(), fence: Mutex::default() })
    }
}

#[tonic::async_trait]
impl Mutation for Unlock {
    fn name(&self) -> &'static str {
        "unlock"
    }

    fn fences(&self) -> u64 {
        2
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await?;
        *self.fence.lock() = take(client, &self.id, "first").await?;
        Ok(())
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let request = v1::UnlockRequest {
            id: self.id.reveal().to_owned(),
            request_id: Some(id),
            fence: *self.fence.lock(),
            ..Default::default()
        };
        stub.sessions.unlock(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::UnlockResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        held_by(client, &self.id, None).await.map(drop)
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        take(client, &self.id, "next").await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        held_by(client, &self.id, Some("next")).await.map(drop)
    }
}

/// Breaks a lock, which another then takes: a second effect would break that one too.
pub(super) struct BreakLock {
    id: SessionId,
    handle: Mutex<String>,
}

impl BreakLock {
    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(BreakLock { id: new_id(), handle: Mutex::default() })
    }
}

#[tonic::async_trait]
impl Mutation for BreakLock {
    fn name(&self) -> &'static str {
        "break a lock"
    }

    fn fences(&self) -> u64 {
        2
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await?;
        take(client, &self.id, "first").await?;
        *self.handle.lock() = client.get(&self.id).await?.handle;
        Ok(())
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let handle = self.handle.lock().clone();
        let request = v1::BreakLockRequest { handle, request_id: Some(id), ..Default::default() };
        stub.sessions.break_lock(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::BreakLockResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        held_by(client, &self.id, None).await.map(drop)
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        take(client, &self.id, "next").await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        held_by(client, &self.id, Some("next")).await.map(drop)
    }
}

/// Writes under a lock and gives it back in the same step.
pub(super) struct FencedWrite {
    id: SessionId,
    fence: Mutex<u64>,
}

impl FencedWrite {
    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(FencedWrite { id: new_id(), fence: Mutex::default() })
    }
}

#[tonic::async_trait]
impl Mutation for FencedWrite {
    fn name(&self) -> &'static str {
        "write with fence, and release"
    }

    fn fences(&self) -> u64 {
        2
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await?;
        *self.fence.lock() = take(client, &self.id, "first").await?;
        Ok(())
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let patch = v1::Patch { set: [("a".to_owned(), "sent".into())].into(), remove: Vec::new() };
        let request = v1::WriteRequest {
            id: self.id.reveal().to_owned(),
            request_id: Some(id),
            change: Some(v1::write_request::Change::Patch(patch)),
            fence: Some(*self.fence.lock()),
            release: true,
            ..Default::default()
        };
        stub.sessions.write(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::WriteResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        holds(client, &self.id, 2, "sent").await?;
        held_by(client, &self.id, None).await.map(drop)
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        let fence = take(client, &self.id, "next").await?;
        let later = Write::patch(Patch::new().set("a", "later"));
        client.write(&self.id, later.fence(fence)).await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        holds(client, &self.id, 3, "later").await?;
        held_by(client, &self.id, Some("next")).await.map(drop)
    }
}

/// Gives a session that is locked a new id; its holder keeps the lock.
pub(super) struct FencedRegenerate {
    id: SessionId,
    new: SessionId,
    later: SessionId,
    fence: Mutex<u64>,
}

impl FencedRegenerate {
    pub(super) fn row() -> Arc<dyn Mutation> {
        let (id, new, later) = (new_id(), new_id(), new_id());
        Arc::new(FencedRegenerate { id, new, later, fence: Mutex::default() })
    }
}

#[tonic::async_trait]
impl Mutation for FencedRegenerate {
    fn name(&self) -> &'static str {
        "regenerate with fence"
    }

    fn fences(&self) -> u64 {
        1
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        make(client, &self.id).await?;
        *self.fence.lock() = take(client, &self.id, "holder").await?;
        Ok(())
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        let request = v1::RegenerateRequest {
            id: self.id.reveal().to_owned(),
            new_id: self.new.reveal().to_owned(),
            request_id: Some(id),
            fence: Some(*self.fence.lock()),
            ..Default::default()
        };
        stub.sessions.regenerate(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        decoded::<v1::RegenerateResponse>(message)
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        gone(client, &self.id, "RENAMED").await?;
        holds(client, &self.new, 2, "before").await?;
        held_by(client, &self.new, Some("holder")).await.map(drop)
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        let fence = *self.fence.lock();
        client.regenerate_locked(&self.new, self.later.clone(), fence).await.map(drop)
    }

    async fn check_overtaken(&self, client: &Client) -> Result<(), String> {
        gone(client, &self.id, "RENAMED").await?;
        gone(client, &self.new, "RENAMED").await?;
        holds(client, &self.later, 3, "before").await?;
        held_by(client, &self.later, Some("holder")).await.map(drop)
    }
}
