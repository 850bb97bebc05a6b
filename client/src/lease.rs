//! The lease of a lock that is held: renewed in time, or known to be lost before anybody else can have the lock.
//!
//! The server counts a lease from when it applies the request; this side from before it sent it, and a little faster,
//! for clocks differ. So the lease ends here first. (A machine that sleeps meanwhile does not count that time: then the
//! fencing token is what protects the session.)

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::change::Write;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::id::SessionId;
use crate::progress::Time;
use crate::session::Written;

/// By how much of a lease clocks may differ: one part in this many.
const DRIFT: u32 = 100;
/// Between tries to renew, each of which goes on for a while itself.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Ids that a session may have: more than one while it is not known what became of a new one.
const IDS_MAX: usize = 4;

/// How long a lock can be relied on, from before the request was sent that was answered so.
pub(crate) fn bounded(lease: Duration, remaining_ms: u64) -> Duration {
    let lease = lease.min(Duration::from_millis(remaining_ms));
    lease - lease / DRIFT
}

/// Whether the lock is held.
#[derive(Clone, Debug)]
enum Stage {
    /// Until then at least.
    Held(Instant),
    /// For good, and why.
    Lost(Error),
}

/// A lock that is held, or was.
#[derive(Debug)]
pub(crate) struct Lease {
    client: Client,
    fence: u64,
    /// As asked for.
    length: Duration,
    /// The session's: the last that it is known to have had, then those that it may have got since, instead of that;
    /// never empty.
    ids: Mutex<Vec<SessionId>>,
    /// Renewals and changes of the id come one after the other.
    turn: tokio::sync::Mutex<()>,
    stage: watch::Sender<Stage>,
}

fn lapsed() -> Error {
    Error::lock_lost("its lease was not renewed in time", None)
}

/// Whether, after it was to be given back, the lock is nobody's who was asked to: it is free, or somebody else's.
pub(crate) fn is_free<T>(released: &Result<T, Error>) -> bool {
    match released {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::LockLost | ErrorKind::NotFound),
    }
}

/// Whether trying again could bring something else.
fn is_final(error: &Error) -> bool {
    !error.is_retryable() && !error.may_have_taken_effect()
}

impl Lease {
    pub(crate) fn new(
        client: Client,
        id: SessionId,
        fence: u64,
        length: Duration,
        until: Instant,
    ) -> Arc<Self> {
        let stage = watch::Sender::new(Stage::Held(until));
        let (ids, turn) = (Mutex::new(vec![id]), tokio::sync::Mutex::default());
        Arc::new(Lease { client, fence, length, ids, turn, stage })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn fence(&self) -> u64 {
        self.fence
    }

    /// The session's id, as far as is known.
    pub(crate) fn id(&self) -> SessionId {
        self.ids.lock().first().cloned().expect("there is always one")
    }

    /// Fails once the lock is lost.
    pub(crate) fn check(&self) -> Result<Instant, Error> {
        match &*self.stage.borrow() {
            Stage::Held(until) if Instant::now() < *until => Ok(*until),
            Stage::Held(_) => Err(lapsed()),
            Stage::Lost(error) => Err(error.clone()),
        }
    }

    /// It is lost from now on.
    pub(crate) fn lose(&self, error: Error) {
        self.stage.send_if_modified(|stage| {
            let held = matches!(stage, Stage::Held(_));
            if held {
                *stage = Stage::Lost(error);
            }
            held
        });
    }

    /// Takes note of what a call under the lock was refused with.
    pub(crate) fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && error.kind() == ErrorKind::LockLost
        {
            self.lose(error.clone());
        }
        result
    }

    /// A lock that was lost once is not held again, whatever the server says: its holder was told.
    fn extend(&self, until: Instant) {
        self.stage.send_if_modified(|stage| match stage {
            Stage::Held(before) if Instant::now() < *before => {
                *before = until.max(*before);
                true
            }
            Stage::Held(_) | Stage::Lost(_) => false,
        });
    }

    /// Ends once the lock is lost; never, when it is given back first.
    pub(crate) fn lost(&self) -> impl Future<Output = Error> + Send + 'static + use<> {
        let mut stage = self.stage.subscribe();
        async move {
            loop {
                let until = match &*stage.borrow_and_update() {
                    Stage::Held(until) => *until,
                    Stage::Lost(error) => return error.clone(),
                };
                match timeout_at(until, stage.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => std::future::pending().await,
                    Err(_) => return lapsed(),
                }
            }
        }
    }

    /// Renews the lease until the lock is lost.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut next = self.first_renewal();
        loop {
            tokio::time::sleep_until(next).await;
            let begun = Instant::now();
            let Ok(until) = self.check() else { break };
            next = match timeout_at(until, self.renew(until)).await {
                Ok(Ok(until)) => begun + (until - begun) / 3,
                Ok(Err(error)) if is_final(&error) => {
                    self.lose(Error::lock_lost(&error, Some(&error)));
                    return;
                }
                Ok(Err(_)) => Instant::now() + (self.length / 10).min(PAUSE_MAX),
                Err(_) => break,
            };
        }
        self.lose(lapsed());
    }

    fn first_renewal(&self) -> Instant {
        let now = Instant::now();
        // A third of the lease after it was taken.
        self.check().map_or(now, |until| {
            now + until.saturating_duration_since(now).saturating_sub(self.length - self.length / 3)
        })
    }

    /// Takes or confirms the lock: renews it now, however old it is, and until `until` at most.
    pub(crate) async fn confirm(&self, until: Instant) -> Result<(), Error> {
        let begun = Instant::now();
        let time = Time { deadline: until.saturating_duration_since(begun), ..self.client.caller.time() };
        let _turn = self.turn.lock().await;
        let renewed = self.client.renew_within(time, &self.id(), self.fence, self.length).await?;
        self.stage.send_replace(Stage::Held(begun + bounded(self.length, renewed.remaining_ms)));
        Ok(())
    }

    /// Renews it once, within the client's deadline and before `until`; gives until when it is held now.
    async fn renew(&self, until: Instant) -> Result<Instant, Error> {
        let _turn = self.turn.lock().await;
        self.renew_in_turn(until).await
    }

    async fn renew_in_turn(&self, until: Instant) -> Result<Instant, Error> {
        let ids = self.ids.lock().clone();
        let mut refused = None;
        for (place, id) in ids.iter().enumerate() {
            let sent = Instant::now();
            let time = self.client.caller.time();
            let deadline = time.deadline.min(until.saturating_duration_since(sent));
            match self.client.renew_within(Time { deadline, ..time }, id, self.fence, self.length).await {
                Ok(renewed) => {
                    if place > 0 {
                        // All new ids were to replace the first: one that did shuts out all others.
                        *self.ids.lock() = vec![id.clone()];
                    }
                    let until = sent + bounded(self.length, renewed.remaining_ms);
                    self.extend(until);
                    return Ok(until);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => refused = Some(error),
                Err(error) => return self.note(Err(error)),
            }
        }
        Err(refused.unwrap_or_else(lapsed))
    }

    /// Changes the session under the lock, under whichever id it has.
    pub(crate) async fn write(&self, write: Write) -> Result<Written, Error> {
        let until = self.check()?;
        let write = write.fence(self.fence);
        if self.ids.lock().len() == 1 {
            return self.note(self.client.write(&self.id(), write).await);
        }
        let written = self.client.write(&self.id(), write.clone()).await;
        if !matches!(&written, Err(error) if error.kind() == ErrorKind::NotFound) {
            return self.note(written);
        }
        self.renew(until).await?;
        self.note(self.client.write(&self.id(), write).await)
    }

    /// The lock is lost by a write that was to give it back, unless that was refused. What nobody knows is found out.
    pub(crate) async fn given_back(&self, written: &Result<Written, Error>) {
        match written {
            Ok(_) => self.lose(Error::lock_lost("it was given back by a write", None)),
            Err(error) if error.may_have_taken_effect() => {
                if let Ok(until) = self.check()
                    && let Err(error) = self.renew(until).await
                    && is_final(&error)
                {
                    self.lose(Error::lock_lost(&error, Some(&error)));
                }
            }
            Err(_) => {}
        }
    }

    /// Has `change` give the session the id `new`, while nothing else is done with the lock.
    pub(crate) async fn rename<T>(
        &self,
        new: &SessionId,
        change: impl AsyncFnOnce(SessionId) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let until = self.check()?;
        let _turn = self.turn.lock().await;
        if self.ids.lock().len() > 1 {
            self.renew_in_turn(until).await?;
        }
        {
            let mut ids = self.ids.lock();
            if ids.len() >= IDS_MAX {
                // The oldest try, which came to nothing for the longest time.
                ids.remove(1);
            }
            ids.push(new.clone());
        }
        let result = self.note(change(self.id()).await);
        let mut ids = self.ids.lock();
        match &result {
            Ok(_) => *ids = vec![new.clone()],
            // Given up, or of unknown outcome: either may be the live one.
            Err(error) if error.may_have_taken_effect() => {}
            Err(_) => ids.retain(|id| id != new),
        }
        result
    }

    /// Gives the lock back, under whichever id the session has.
    pub(crate) async fn release(&self) -> Result<crate::Position, Error> {
        let ids = self.ids.lock().clone();
        let mut result = Err(lapsed());
        for id in ids {
            result = self.client.unlock(&id, self.fence).await;
            if !matches!(&result, Err(error) if error.kind() == ErrorKind::NotFound) {
                break;
            }
        }
        result
    }
}
