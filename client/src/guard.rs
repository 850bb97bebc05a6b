//! A lock that its holder holds on to.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::change::Write;
use crate::error::Error;
use crate::id::SessionId;
use crate::lease::{Lease, is_free};
use crate::position::Position;
use crate::session::{Created, Written};

/// A session's lock, held: its lease is renewed in the background, a third of it after the last renewal, until the guard
/// is dropped or [given back](Self::unlock).
///
/// A lock can be lost while its guard lives: when no node could be reached for as long as the lease, when an
/// administrator broke it, when the session ended. [`Self::lost`] tells, and no later than anybody else can have the
/// lock. Writes under the lock are refused here from then on; those under way are refused by the servers, which compare
/// the [fencing token](Self::fence).
///
/// Dropped, it gives the lock back in the background as well as it can; to be sure, await [`Self::unlock`].
#[must_use = "dropped, the lock is given back"]
pub struct LockGuard {
    lease: Arc<Lease>,
    position: Position,
    renewals: AbortHandle,
    runtime: Handle,
    /// The lock is to be given back.
    armed: bool,
}

impl LockGuard {
    pub(crate) fn new(lease: Arc<Lease>, position: Position) -> Self {
        let runtime = Handle::current();
        let renewals = runtime.spawn(Arc::clone(&lease).keep()).abort_handle();
        LockGuard { lease, position, renewals, runtime, armed: true }
    }

    /// The fencing token. Rises with every lock taken in the cluster, so other systems can refuse late writers by it too.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.lease.fence()
    }

    /// The session's id: another one after [`Self::regenerate`].
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.lease.id()
    }

    /// Reads at least at this position see the lock.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether the lock can no longer be relied on. Once true, always true.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lease.check().is_err()
    }

    /// Ends when the lock is lost, with an error of the kind `LockLost` that says why; never, when it is given back
    /// first. Borrows nothing: good in a `select!` beside the work. After [`Self::into_fence`] it never ends
    /// either: nobody looks after the lock any more.
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static + use<> {
        self.lease.lost()
    }

    /// Changes the session under the lock. A write that [gives the lock back](Write::release) ends it for this guard, which
    /// is lost from then on; better is [`Self::write_and_release`].
    ///
    /// # Errors
    /// `LockLost`, without asking a server when it is known already; else as [`Client::write`](crate::Client::write).
    pub async fn write(&self, write: Write) -> Result<Written, Error> {
        let releases = write.release;
        let written = self.lease.write(write).await;
        if releases {
            self.lease.given_back(&written).await;
        }
        written
    }

    /// Changes the session and gives the lock back in one step. When the write is refused the lock is given back all the
    /// same, in the background.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_and_release(mut self, write: Write) -> Result<Written, Error> {
        // A renewal that comes after it would only be refused.
        self.renewals.abort();
        let written = self.lease.write(write.release()).await?;
        self.armed = false;
        Ok(written)
    }

    /// Gives the session a new random id; the guard moves along. Those who wait for the lock are told that the session has
    /// another id.
    ///
    /// # Errors
    /// `LockLost`; else as [`Client::regenerate`](crate::Client::regenerate). When it
    /// [may have taken effect](Error::may_have_taken_effect), the guard finds out which id is the live one.
    pub async fn regenerate(&self) -> Result<Created, Error> {
        self.regenerate_to(SessionId::random()).await
    }

    /// As [`Self::regenerate`], to the id `new_id`.
    ///
    /// # Errors
    /// As [`Self::regenerate`]; `AlreadyExists` when `new_id` is in use.
    pub async fn regenerate_to(&self, new_id: SessionId) -> Result<Created, Error> {
        let (client, fence, new) = (self.lease.client(), self.fence(), new_id.clone());
        let change = async move |id: SessionId| client.regenerate_locked(&id, new, fence).await;
        self.lease.rename(&new_id, change).await
    }

    /// Gives the lock back, so that the next in line has it at once.
    ///
    /// # Errors
    /// `LockLost` when it was not held any more; `NotFound` when the session has ended. Otherwise it goes on being given
    /// back in the background, as when the guard or this future is dropped; the lock is free when its lease ends at the
    /// latest.
    pub async fn unlock(mut self) -> Result<Position, Error> {
        self.renewals.abort();
        let released = self.lease.release().await;
        // Dropped before, or without an answer, it goes on in the background.
        self.armed = !is_free(&released);
        released
    }

    /// Keeps the lock until its lease ends and returns its token: nobody renews it or gives it back, unless by
    /// [`Client::renew_lock`](crate::Client::renew_lock) and [`Client::unlock`](crate::Client::unlock).
    pub fn into_fence(mut self) -> u64 {
        self.disarm();
        self.fence()
    }

    fn disarm(&mut self) {
        self.armed = false;
        self.renewals.abort();
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.renewals.abort();
        if self.armed {
            let lease = Arc::clone(&self.lease);
            self.runtime.spawn(async move {
                if let Err(error) = lease.release().await {
                    tracing::debug!(fence = lease.fence(), %error, "a lock was not given back");
                }
            });
        }
    }
}

/// Shows neither id nor content.
impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("fence", &self.fence())
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}
