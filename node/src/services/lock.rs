//! Locks: the answer to one that was taken, and the wait for one that somebody else holds.
//!
//! Who has to wait stands in a line that is part of the state, so it keeps its place when the leader changes: a call with
//! a request id that is sent again finds its place, at whatever node leads then, and goes on from here. A call waits
//! without asking: applying the entry by which its turn comes wakes it. It then *claims* the lock, since a lock must not
//! go to a caller that has left.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_state::{Command, Fence, Operation, Outcome, Refusal, SessionKey, State, Turn, Waiter};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::View;
use super::backend::Backend;
use super::failure::Failure;
use super::read::Unserved;
use super::reasons::{self, Stake};
use super::request::Selection;
use crate::consensus::{Applied, ProposeError};

/// How long before its caller's time is up a wait ends, so that leaving the line can still be answered.
const MARGIN_MAX: Duration = Duration::from_millis(200);
/// A caller with a request id that is gone keeps its place for so long: it may only have lost its connection.
const RETURN_WAIT: Duration = Duration::from_millis(500);

/// What a lock needs besides its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Locking {
    pub(crate) namespace: Box<str>,
    pub(crate) key: SessionKey,
    /// It may wait in line.
    pub(crate) waits: bool,
    pub(crate) stake: Stake,
    /// Its caller has the lock, and its token.
    pub(crate) renews: bool,
    /// Answer the session too, with these attributes.
    pub(crate) get: Option<Selection>,
}

/// What has come of a lock.
#[allow(clippy::large_enum_variant, reason = "taken apart at once")]
pub(crate) enum Taken {
    Answered(Answer),
    /// Somebody else has it.
    Queued(Place),
}

/// A place in line.
#[derive(Debug)]
pub(crate) struct Place {
    locking: Locking,
    fence: Fence,
}

/// How a place in line stands.
enum Look {
    Waiting {
        /// Until the ticket lapses.
        left: Duration,
    },
    Granted,
    Held,
    /// There is nothing to wait for any more.
    Ended(Refusal),
}

/// The answer to an applied lock, or the place in line that it got.
///
/// # Errors
/// A refusal, as its [`Failure`].
pub(crate) fn taken<B: Backend>(backend: &B, locking: Locking, applied: Applied) -> Result<Taken, Failure> {
    match applied.outcome {
        Outcome::Locked { fence, .. } => held(backend, &locking, fence).map(Taken::Answered),
        Outcome::Queued { fence } => Ok(Taken::Queued(Place { locking, fence })),
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Err(reasons::internal("the outcome is not one of a lock")),
    }
}

/// Runs what takes a lock in a task of its own, which learns by the token that nobody waits for it any more. What it takes
/// all the same is given back.
pub(crate) async fn attended<B: Backend, F>(
    backend: B,
    locking: Locking,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<Answer, Unserved>
where
    F: Future<Output = Result<Answer, Unserved>> + Send + 'static,
{
    let gone = CancellationToken::new();
    let _told_when_dropped = gone.clone().drop_guard();
    let (tell, told) = oneshot::channel();
    let taking = work(gone.clone());
    tokio::spawn(async move {
        let taken = taking.await;
        let fence = if let Ok(Answer::Lock(taken)) = &taken { Some(taken.fence) } else { None };
        // Asked before it is told: once told, its caller may well go.
        let is_gone = gone.is_cancelled();
        let is_heard = tell.send(taken).is_ok() && !is_gone;
        if let Some(fence) = fence.filter(|_| !is_heard) {
            give_back(&backend, &locking, fence).await;
        }
    });
    told.await.unwrap_or_else(|_| Err(reasons::internal("the task of a lock has ended").into()))
}

/// What becomes of a lock that was applied when nobody waits for it any more.
pub(crate) async fn unheard<B: Backend>(backend: B, locking: Locking, applied: Applied) {
    match applied.outcome {
        Outcome::Locked { fence, .. } => give_back(&backend, &locking, fence).await,
        Outcome::Queued { fence } => {
            let place = Place { locking, fence };
            abandon(backend, place.waiter(), place.locking.stake).await;
        }
        _ => {}
    }
}

/// Gives back a lock that was taken for a caller who is gone; unless it can ask again by its request id, or had it before.
async fn give_back<B: Backend>(backend: &B, locking: &Locking, fence: Fence) {
    if locking.stake == Stake::Mutation && !locking.renews {
        let operation = Operation::Unlock(locking.waiter(fence));
        // Should it fail, the lease ends by itself.
        let _ = proposed(backend, vec![Command::Operate { request: None, operation }]).await;
    }
}

/// Gives up a place in line whose caller went away, unless it comes back with the same request id.
async fn abandon<B: Backend>(backend: B, waiter: Waiter, stake: Stake) {
    if stake == Stake::Once {
        tokio::time::sleep(RETURN_WAIT).await;
    }
    // A new leader's line is none of this node's business: its ticket's time is bounded.
    if !backend.lock_waits().is_awaited(waiter.fence) && backend.leads() {
        // Nobody is there to be told of a failure.
        let _ = proposed(&backend, vec![Command::LeaveLine(waiter)]).await;
    }
}

/// The answer to the holder of `fence`: how long it has the lock, and the session if it asked for it. Nobody but the
/// holder can have changed that since the lock was taken.
fn held<B: Backend>(backend: &B, locking: &Locking, fence: Fence) -> Result<Answer, Failure> {
    let now = backend.now();
    let look = |state: &State, index| {
        let session = state.lookup(&locking.namespace, &locking.key, state.clocks())?;
        let holder = session.lock_at(now.cluster).map(|lock| lock.holder.clone());
        let holder = holder.filter(|holder| holder.fence == fence).ok_or(Refusal::StaleFence)?;
        let remaining_ms = holder.until.0.saturating_sub(now.cluster.0);
        let view = locking.get.is_some().then(|| View::new(locking.key, session.clone(), index, now));
        Ok((index, remaining_ms, view))
    };
    let (index, remaining_ms, view) = backend.with_applied(look).map_err(|refusal: Refusal| refusal)?;
    let session = view.zip(locking.get.as_ref()).map(|(view, selection)| view.session(selection));
    let position = Some(v1::Position { cluster: backend.cluster_id(), index });
    Ok(Answer::Lock(v1::LockResponse { fence, remaining_ms, position, session }))
}

impl Locking {
    fn waiter(&self, fence: Fence) -> Waiter {
        Waiter { namespace: self.namespace.clone(), key: self.key, fence }
    }
}

impl Place {
    /// Waits for the turn, at most until a little before `deadline` or until it is `withdrawn`, and takes the lock.
    /// `gone`: nobody waits for the answer any more.
    pub(crate) async fn wait<B: Backend>(
        self,
        backend: B,
        deadline: Instant,
        gone: CancellationToken,
        withdrawn: CancellationToken,
    ) -> Result<Answer, Unserved> {
        // Before the first look, so that what happens after it wakes.
        let turn = backend.lock_waits().listen(self.fence);
        let remaining = deadline.saturating_duration_since(Instant::now());
        let latest = deadline - (remaining / 10).min(MARGIN_MAX);
        loop {
            let left = match self.look(&backend) {
                Look::Waiting { left } => left,
                Look::Granted => match self.claim(&backend, false).await? {
                    Some(answer) => return Ok(answer),
                    // It has gone on; the line tells.
                    None => continue,
                },
                Look::Held => return Ok(held(&backend, &self.locking, self.fence)?),
                Look::Ended(refusal) => return Err(Failure::from(refusal).into()),
            };
            if !backend.leads() {
                return Err(self.deposed(&backend));
            }
            let end = latest.min(Instant::now() + left);
            let over = async {
                tokio::select! {
                    () = withdrawn.cancelled() => {}
                    () = tokio::time::sleep_until(end) => {}
                }
            };
            tokio::select! {
                biased;
                () = turn.woken() => {}
                () = gone.cancelled() => {
                    drop(turn);
                    abandon(backend, self.waiter(), self.locking.stake).await;
                    return Err(reasons::deadline(true, self.locking.stake).into());
                }
                () = over => {
                    drop(turn);
                    // The same call, sent again, may wait on.
                    let leaves = !backend.lock_waits().is_awaited(self.fence);
                    return self.give_up(&backend, leaves).await;
                }
            }
        }
    }

    /// What it waits for.
    pub(crate) fn locking(&self) -> &Locking {
        &self.locking
    }

    fn waiter(&self) -> Waiter {
        self.locking.waiter(self.fence)
    }

    fn look<B: Backend>(&self, backend: &B) -> Look {
        let now = backend.now();
        let look = |state: &State, _| {
            let session = match state.lookup(&self.locking.namespace, &self.locking.key, state.clocks()) {
                Ok(session) => session,
                Err(refusal) => return Look::Ended(refusal),
            };
            let now = now.cluster.max(state.clocks().cluster);
            match session.turn_at(self.fence, now) {
                Turn::Granted => Look::Granted,
                Turn::Held { .. } => Look::Held,
                Turn::Over => Look::Ended(Refusal::WaitOver),
                Turn::Waiting => {
                    let waiting = session.lock.iter().flat_map(|lock| &lock.waiting);
                    let until =
                        waiting.filter(|ticket| ticket.fence == self.fence).map(|ticket| ticket.until);
                    let left = until.max().map_or(0, |until| until.0.saturating_sub(now.0));
                    Look::Waiting { left: Duration::from_millis(left) }
                }
            }
        };
        backend.with_applied(look)
    }

    /// Takes the lock, if its turn has come; `None` when it is another's. With `leaves` the place in line is given up.
    async fn claim<B: Backend>(&self, backend: &B, leaves: bool) -> Result<Option<Answer>, Unserved> {
        let mut commands = vec![Command::ClaimLock(self.waiter())];
        if leaves {
            // Behind it: one who has claimed is not in line any more.
            commands.push(Command::LeaveLine(self.waiter()));
        }
        match proposed(backend, commands).await.map_err(|error| self.unserved(error))?.outcome {
            Outcome::Locked { .. } => Ok(Some(held(backend, &self.locking, self.fence)?)),
            Outcome::Queued { .. } | Outcome::Refused(Refusal::WaitOver) => Ok(None),
            Outcome::Refused(refusal) => Err(Failure::from(refusal).into()),
            _ => Err(reasons::internal("the outcome is not one of a claim").into()),
        }
    }

    /// The time is up, or the caller has gone and said so. The turn may come at this very moment: then the lock is taken
    /// rather than lost.
    async fn give_up<B: Backend>(&self, backend: &B, leaves: bool) -> Result<Answer, Unserved> {
        self.claim(backend, leaves).await?.ok_or_else(|| self.locked(backend).into())
    }

    /// As [`Refusal::Locked`], by who has the lock now.
    fn locked<B: Backend>(&self, backend: &B) -> Failure {
        let now = backend.now().cluster;
        let look = |state: &State, _| {
            let session = state.lookup(&self.locking.namespace, &self.locking.key, state.clocks())?;
            let locked = session.lock_at(now).map(|lock| Refusal::Locked {
                age_ms: now.0.saturating_sub(lock.holder.since.0),
                remaining_ms: lock.holder.until.0.saturating_sub(now.0),
            });
            Ok(locked.unwrap_or(Refusal::Locked { age_ms: 0, remaining_ms: 0 }))
        };
        backend.with_applied(look).unwrap_or_else(|refusal: Refusal| refusal).into()
    }

    fn unserved(&self, error: ProposeError) -> Unserved {
        match (error, self.locking.stake) {
            // It stands in line: another call for the same would stand there twice.
            (ProposeError::NotLeader { .. }, Stake::Mutation) => {
                let lost = ProposeError::Unknown("it stood in line for a lock".to_owned());
                Unserved::proposal(lost, self.locking.stake)
            }
            (error, stake) => Unserved::proposal(error, stake),
        }
    }

    /// This node leads no longer; the place in line is at the next leader.
    fn deposed<B: Backend>(&self, backend: &B) -> Unserved {
        self.unserved(ProposeError::NotLeader { leader: backend.leader().filter(|leader| !leader.is_self) })
    }
}

/// Submits commands and waits for all their outcomes; gives that of the first.
async fn proposed<B: Backend>(backend: &B, commands: Vec<Command>) -> Result<Applied, ProposeError> {
    let results: Vec<_> = backend.submit(commands).await?.collect().await;
    let lost = || Err(ProposeError::Unknown("the node gave no result".to_owned()));
    results.into_iter().next().unwrap_or_else(lost)
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
