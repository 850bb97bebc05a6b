//! Locks: taken, renewed, given back, broken.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use quorate_proto::SessionStore;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation;
use tokio::time::{Instant, timeout_at};

use crate::change::millis;
use crate::client::{Client, position};
use crate::error::Error;
use crate::guard::LockGuard;
use crate::id::SessionId;
use crate::lease::{Lease, bounded, is_free};
use crate::position::Position;
use crate::presence::{Presence, attended};
use crate::progress::Time;
use crate::session::{AttributeSelection, Session};

const LEASE: Duration = Duration::from_secs(30);

/// How a lock is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct LockOptions {
    lease: Duration,
    wait: Duration,
    owner: String,
}

impl Default for LockOptions {
    fn default() -> Self {
        LockOptions { lease: LEASE, wait: Duration::ZERO, owner: String::new() }
    }
}

impl LockOptions {
    /// A lease of 30 s, and no waiting.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the lock outlives its holder: 1 s to 1 h. While the holder lives, its [`LockGuard`] renews it.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long to wait in line while somebody else holds the lock: 60 s at most. The call may take this much longer
    /// than the client's deadline.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// A name for people, such as this host's: 128 bytes at most. Whoever reads the session sees it.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }
}

/// A lock as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockState {
    /// Since it was taken.
    pub age: Duration,
    /// Until its lease ends, unless renewed.
    pub remaining: Duration,
    /// What the holder calls itself; may be empty.
    pub owner: String,
    /// How many wait in line for it.
    pub waiting: u32,
}

impl From<v1::LockState> for LockState {
    fn from(lock: v1::LockState) -> Self {
        LockState {
            age: Duration::from_millis(lock.age_ms),
            remaining: Duration::from_millis(lock.remaining_ms),
            owner: lock.owner,
            waiting: lock.waiting,
        }
    }
}

impl Client {
    /// Locks a session. While the guard lives the lock is renewed; when the guard is dropped it is given back.
    ///
    /// Whoever gives up waiting, by dropping this future or by a timeout around it, leaves the line; a lock that was
    /// granted just then is given back.
    ///
    /// # Errors
    /// `Locked` while somebody else holds it, after the wait; `NotFound`, also when the session ends or gets another id
    /// meanwhile; `ResourceExhausted` when too many wait. When the error
    /// [may have taken effect](Error::may_have_taken_effect) the lock may be taken, until its lease ends.
    pub async fn lock(&self, id: &SessionId, options: LockOptions) -> Result<LockGuard, Error> {
        Ok(self.acquire(id, options, None).await?.0)
    }

    /// As [`Self::lock`], and reads the session as of the moment the lock was taken, in the same round trip.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub async fn lock_and_get(
        &self,
        id: &SessionId,
        options: LockOptions,
        attributes: AttributeSelection,
    ) -> Result<(LockGuard, Session), Error> {
        let (guard, session) = self.acquire(id, options, Some(attributes)).await?;
        Ok((guard, session.ok_or_else(crate::call::unexpected)?))
    }

    /// In a task of its own: when its caller goes it leaves the line, and gives back what it was granted before.
    async fn acquire(
        &self,
        id: &SessionId,
        options: LockOptions,
        get: Option<AttributeSelection>,
    ) -> Result<(LockGuard, Option<Session>), Error> {
        let (client, id) = (self.clone(), id.clone());
        attended(move |presence| client.take(id, options, get, presence)).await
    }

    async fn take(
        self,
        id: SessionId,
        options: LockOptions,
        get: Option<AttributeSelection>,
        presence: Presence,
    ) -> Result<(LockGuard, Option<Session>), Error> {
        let request = v1::LockRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            lease_ms: millis(options.lease).max(1),
            wait_ms: millis(options.wait),
            owner: options.owner,
            get: get.is_some(),
            attributes: get.and_then(AttributeSelection::into_wire),
            ..v1::LockRequest::default()
        };
        let sent = Instant::now();
        let time = self.caller.time().waiting(options.wait);
        let taken = self.lock_within(time, presence, request).await?;
        let position = position(taken.position);
        let session = taken.session.map(|session| Session::from_wire(session, position));
        let length = bounded(options.lease, taken.remaining_ms);
        let lease = Lease::new(self, id, taken.fence, options.lease, sent + length);
        // The lock may be as old as the call, of which nobody knows how long it was in line.
        if sent.elapsed() > length / 3 {
            confirmed(&lease, sent + time.longest()).await?;
        }
        Ok((LockGuard::new(lease, position), session))
    }

    /// Renews the lease of a lock that is held without a [`LockGuard`]: it ends `lease` from now.
    ///
    /// # Errors
    /// `LockLost` when it is no longer held with this token; `NotFound`, or trouble on the way.
    pub async fn renew_lock(&self, id: &SessionId, fence: u64, lease: Duration) -> Result<Position, Error> {
        let renewed = self.renew_within(self.caller.time(), id, fence, lease).await?;
        Ok(position(renewed.position))
    }

    pub(crate) async fn renew_within(
        &self,
        time: Time,
        id: &SessionId,
        fence: u64,
        lease: Duration,
    ) -> Result<v1::LockResponse, Error> {
        let request = v1::LockRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            lease_ms: millis(lease).max(1),
            fence: Some(fence),
            ..v1::LockRequest::default()
        };
        self.lock_within(time, Presence::given(), request).await
    }

    pub(crate) async fn lock_within(
        &self,
        time: Time,
        presence: Presence,
        request: v1::LockRequest,
    ) -> Result<v1::LockResponse, Error> {
        let build = |id| Operation::Lock(v1::LockRequest { request_id: Some(id), ..request.clone() });
        expect!(self.caller.mutate_within(time, presence, request.encoded_len(), build).await?, Lock)
    }

    /// Gives back a lock that is held without a [`LockGuard`].
    ///
    /// # Errors
    /// `LockLost` when it is no longer held with this token; `NotFound`, or trouble on the way.
    pub async fn unlock(&self, id: &SessionId, fence: u64) -> Result<Position, Error> {
        let request = v1::UnlockRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            request_id: None,
            fence,
        };
        Ok(position(SessionStore::unlock(self, request).await?.position))
    }

    /// Takes the lock of the session with this handle away from whoever holds it: for administrators.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition`, reason `NOT_LOCKED`, when nobody holds it; or trouble on the way.
    pub async fn break_lock(&self, handle: impl Into<String>) -> Result<Position, Error> {
        let request = v1::BreakLockRequest {
            namespace: self.namespace.to_string(),
            handle: handle.into(),
            request_id: None,
        };
        Ok(position(SessionStore::break_lock(self, request).await?.position))
    }
}

/// Makes sure that a lock is held, until `until` at most; else gives it back, on and on in the background.
///
/// # Errors
/// Why it is not held; or that it may be, when that could not be known by then.
async fn confirmed(lease: &Arc<Lease>, until: Instant) -> Result<(), Error> {
    let Err(error) = lease.confirm(until).await else { return Ok(()) };
    let lease = Arc::clone(lease);
    // Nobody else will give it back.
    let released = tokio::spawn(async move { is_free(&lease.release().await) });
    match timeout_at(until, released).await {
        Ok(Ok(true)) => Err(error.without_effect()),
        _ => Err(Error::deadline(Some(error), true)),
    }
}
