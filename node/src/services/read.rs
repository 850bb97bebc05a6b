//! Reads of sessions: a batch at a time, linearizable, or local at a position.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use quorate_proto::v1::answer::Answer;
use quorate_state::{Clocks, Command, Operation, Outcome, Refusal, State};
use tonic::Code;

use super::answer::View;
use super::backend::Backend;
use super::failure::Failure;
use super::reasons::{self, Stake};
use super::request::{Freshness, Read};
use crate::consensus::{Applied, Leader, ProposeError, ReadError};

/// The longest wait for a position.
pub(crate) const POSITION_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why consensus did not serve an operation here.
#[derive(Debug)]
pub(crate) enum Unserved {
    /// Nothing happened: the leader is elsewhere, and may be asked instead.
    NotLeader(Option<Leader>),
    /// That is the answer.
    Failed(Failure),
}

impl Unserved {
    pub(crate) fn proposal(error: ProposeError, stake: Stake) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Unserved::NotLeader(leader),
            error => Unserved::Failed(reasons::propose_failed(&error, stake)),
        }
    }

    pub(crate) fn read(error: &ReadError) -> Self {
        match error {
            ReadError::NotLeader { leader } => Unserved::NotLeader(leader.clone()),
            error => Unserved::Failed(reasons::read_failed(error)),
        }
    }

    /// The failure, when nobody else is asked.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Unserved::NotLeader(leader) => reasons::not_leader(leader.as_ref()),
            Unserved::Failed(failure) => failure,
        }
    }
}

impl From<Failure> for Unserved {
    fn from(failure: Failure) -> Self {
        Unserved::Failed(failure)
    }
}

/// What a look at the state found.
enum Look {
    Live(View),
    /// Live, and its touch must be replicated before it is answered.
    Touch(View),
    /// Live by the state's clocks, expired by the leader's: a Tick must decide before it may be answered.
    Overdue,
    Refused(Refusal),
    /// Live, but there is no room for its answer.
    NoRoom,
}

/// Answers reads, linearizable with respect to everything before the call: one check serves them all. Answers take up
/// `room` bytes at most, though always one is given: for those beyond it `None`, and nothing has happened.
pub(crate) async fn linearizable<B: Backend>(
    backend: &B,
    reads: &[Read],
    room: usize,
) -> Vec<Option<Result<Answer, Unserved>>> {
    if let Err(error) = backend.linearizable().await {
        return reads.iter().map(|_| Some(Err(Unserved::read(&error)))).collect();
    }
    let now = backend.now();
    let mut looks = look(backend, reads, now);
    if looks.iter().any(|look| matches!(look, Look::Overdue)) {
        if let Err(error) = backend.tick().await {
            let failed = |_| Some(Err(Unserved::proposal(error.clone(), Stake::Read)));
            return reads.iter().map(failed).collect();
        }
        // The state's clocks have caught up: what was overdue at that moment is gone. By a newer one another session
        // could be overdue now.
        looks = look(backend, reads, now);
    }
    limit(&mut looks, reads, room);
    let mut touched = touch(backend, reads, &looks, now).await;
    let answers = looks.into_iter().zip(reads).enumerate().map(|(at, (look, read))| match look {
        Look::NoRoom => None,
        Look::Touch(_) => {
            let lost = || Err(reasons::internal("a touch was not answered").into());
            Some(touched.remove(&at).unwrap_or_else(lost))
        }
        look => Some(answer(look, read, backend.cluster_id())),
    });
    answers.collect()
}

/// Leaves out what finds no room.
fn limit(looks: &mut [Look], reads: &[Read], room: usize) {
    let mut taken = 0_usize;
    for (look, read) in looks.iter_mut().zip(reads) {
        let (Look::Live(view) | Look::Touch(view)) = look else { continue };
        let before = taken;
        taken = taken.saturating_add(view.answer_bytes(&read.selection));
        if before > 0 && taken > room {
            *look = Look::NoRoom;
            taken = before;
        }
    }
}

/// The answer that a look allows, touched or not.
fn answer(look: Look, read: &Read, cluster: u64) -> Result<Answer, Unserved> {
    match look {
        Look::Live(view) | Look::Touch(view) => Ok(view.answer(&read.selection, cluster)),
        Look::Refused(refusal) => Err(Failure::from(refusal).into()),
        Look::Overdue | Look::NoRoom => {
            let message = "the session's deadline has passed, but cluster time has not caught up yet";
            Err(Failure::new(Code::Unavailable, "CLOCK_BEHIND", message)
                .retry(Duration::from_millis(100))
                .into())
        }
    }
}

/// Answers a read on this node once it has seen what it must have, by the state's own clocks.
pub(crate) async fn local<B: Backend>(
    backend: &B,
    read: &Read,
    wait_max: Duration,
) -> Result<Answer, Failure> {
    reach(backend, read.freshness, wait_max).await?;
    let look = backend.with_applied(|state, index| look_at(state, index, read, state.clocks()));
    // Judged by the state's own clocks, nothing is overdue.
    answer(look, read, backend.cluster_id()).map_err(Unserved::into_failure)
}

/// Waits until this node has seen what a read asks for; all but what a leader alone knows.
pub(crate) async fn reach<B: Backend>(
    backend: &B,
    freshness: Freshness,
    wait_max: Duration,
) -> Result<(), Failure> {
    match freshness {
        Freshness::Linearizable => Ok(()),
        Freshness::AtLeast(index) => {
            let waited = backend.wait_applied(index, wait_max.min(POSITION_WAIT_MAX)).await;
            waited.map_err(|error| reasons::wait_failed(&error, index))
        }
        Freshness::Stale(bound) => {
            let staleness = backend.staleness();
            if staleness.is_some_and(|staleness| staleness <= bound) {
                return Ok(());
            }
            Err(reasons::too_stale(staleness))
        }
    }
}

fn look<B: Backend>(backend: &B, reads: &[Read], now: Clocks) -> Vec<Look> {
    backend.with_applied(|state, index| reads.iter().map(|read| look_at(state, index, read, now)).collect())
}

fn look_at(state: &State, index: u64, read: &Read, now: Clocks) -> Look {
    let clocks = state.clocks();
    // The estimate was made before: entries applied since may have moved the clocks beyond it.
    let now = Clocks { cluster: now.cluster.max(clocks.cluster), served: now.served.max(clocks.served) };
    match state.lookup(&read.namespace, &read.key, clocks) {
        Err(refusal) => Look::Refused(refusal),
        Ok(session) if session.is_expired(now) => Look::Overdue,
        Ok(session) => {
            let view = View::new(read.key, session.clone(), index, now);
            if read.touch && session.needs_touch(now) { Look::Touch(view) } else { Look::Live(view) }
        }
    }
}

/// Replicates the touches that are due, and answers those reads, by their place in the batch.
async fn touch<B: Backend>(
    backend: &B,
    reads: &[Read],
    looks: &[Look],
    now: Clocks,
) -> HashMap<usize, Result<Answer, Unserved>> {
    let due = looks.iter().zip(reads).enumerate().filter(|(_, (look, _))| matches!(look, Look::Touch(_)));
    let (due, commands): (Vec<_>, Vec<_>) = due
        .map(|(at, (_, read))| {
            let operation = Operation::Touch { namespace: read.namespace.clone(), key: read.key };
            ((at, read), Command::Operate { request: None, operation })
        })
        .unzip();
    if due.is_empty() {
        return HashMap::new();
    }
    let results: Vec<_> = match backend.submit(commands).await {
        Err(error) => due.iter().map(|_| Err(error.clone())).collect(),
        Ok(results) => results.collect().await,
    };
    // A second look: a write may have come between the first and the touch, and content, remaining lifetime and
    // position must belong together. It is taken behind the touches, so at their positions or above.
    let cluster = backend.cluster_id();
    let seen = |state: &State, index| {
        let answers = due.iter().zip(results).map(|((at, read), result)| {
            let answered = match touched(result) {
                Ok(()) => answer(look_at(state, index, read, now), read, cluster),
                Err(unserved) => Err(unserved),
            };
            (*at, answered)
        });
        answers.collect()
    };
    backend.with_applied(seen)
}

fn touched(result: Result<Applied, ProposeError>) -> Result<(), Unserved> {
    match result.map_err(|error| Unserved::proposal(error, Stake::Read))?.outcome {
        Outcome::Touched { .. } => Ok(()),
        Outcome::Refused(refusal) => Err(Failure::from(refusal).into()),
        _ => Err(reasons::internal("the outcome is not one of a touch").into()),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
