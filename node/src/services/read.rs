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
use super::request::Read;
use crate::consensus::{Leader, ProposeError, ReadError};

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

    fn read(error: &ReadError) -> Self {
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
}

/// Answers reads, linearizable with respect to everything before the call: one check serves them all.
pub(crate) async fn linearizable<B: Backend>(backend: &B, reads: &[Read]) -> Vec<Result<Answer, Unserved>> {
    if let Err(error) = backend.linearizable().await {
        return reads.iter().map(|_| Err(Unserved::read(&error))).collect();
    }
    let mut looks = look(backend, reads);
    if looks.iter().any(|look| matches!(look, Look::Overdue)) {
        if let Err(error) = backend.tick().await {
            return reads.iter().map(|_| Err(Unserved::proposal(error.clone(), Stake::Read))).collect();
        }
        // The state's clocks have caught up: what was overdue is gone, and all others are as fresh as before.
        looks = look(backend, reads);
    }
    let cluster = backend.cluster_id();
    let mut touched = touch(backend, reads, &looks).await;
    let answers = looks.into_iter().zip(reads).enumerate().map(|(at, (look, read))| match look {
        Look::Live(view) => Ok(view.answer(read.selection.as_ref(), cluster)),
        Look::Touch(mut view) => match touched.remove(&at) {
            Some(Ok((index, remaining_ms))) => {
                (view.index, view.remaining_ms) = (index, remaining_ms);
                Ok(view.answer(read.selection.as_ref(), cluster))
            }
            Some(Err(unserved)) => Err(unserved),
            None => Err(reasons::internal("a touch was not answered").into()),
        },
        Look::Refused(refusal) => Err(Failure::from(refusal).into()),
        Look::Overdue => {
            let message = "the session's deadline has passed, but cluster time has not caught up yet";
            Err(Failure::new(Code::Unavailable, "CLOCK_BEHIND", message)
                .retry(Duration::from_millis(100))
                .into())
        }
    });
    answers.collect()
}

/// Answers a read on this node once it has applied the position asked for, by the state's own clocks.
pub(crate) async fn local<B: Backend>(
    backend: &B,
    read: &Read,
    wait_max: Duration,
) -> Result<Answer, Failure> {
    reach(backend, read, wait_max).await?;
    let look = backend.with_applied(|state, index| look_at(state, index, read, state.clocks()));
    match look {
        Look::Live(view) | Look::Touch(view) => {
            Ok(view.answer(read.selection.as_ref(), backend.cluster_id()))
        }
        Look::Refused(refusal) => Err(refusal.into()),
        // Judged by the state's own clocks, nothing is overdue.
        Look::Overdue => Err(Refusal::NotFound.into()),
    }
}

/// Waits for the position that `read` asks for, if any.
pub(crate) async fn reach<B: Backend>(backend: &B, read: &Read, wait_max: Duration) -> Result<(), Failure> {
    let Some(index) = read.at_least else { return Ok(()) };
    let waited = backend.wait_applied(index, wait_max.min(POSITION_WAIT_MAX)).await;
    waited.map_err(|error| reasons::wait_failed(&error, index))
}

fn look<B: Backend>(backend: &B, reads: &[Read]) -> Vec<Look> {
    let now = backend.now();
    backend.with_applied(|state, index| reads.iter().map(|read| look_at(state, index, read, now)).collect())
}

fn look_at(state: &State, index: u64, read: &Read, now: Clocks) -> Look {
    if state.namespace(&read.namespace).is_none() {
        return Look::Refused(Refusal::UnknownNamespace);
    }
    let clocks = state.clocks();
    // The estimate was made before the lock was taken: entries applied since may have moved the clocks beyond it.
    let now = Clocks { cluster: now.cluster.max(clocks.cluster), served: now.served.max(clocks.served) };
    match state.lookup(&read.key, clocks) {
        Err(refusal) => Look::Refused(refusal),
        Ok(session) if session.is_expired(now) => Look::Overdue,
        Ok(session) => {
            let view = View::new(read.key, session.clone(), index, now);
            if read.touch && session.needs_touch(now) { Look::Touch(view) } else { Look::Live(view) }
        }
    }
}

type Touched = Result<(u64, Option<u64>), Unserved>;

/// Replicates the touches that are due; by the read's place in the batch: position and remaining lifetime.
async fn touch<B: Backend>(backend: &B, reads: &[Read], looks: &[Look]) -> HashMap<usize, Touched> {
    let due = looks.iter().zip(reads).enumerate().filter(|(_, (look, _))| matches!(look, Look::Touch(_)));
    let (places, commands): (Vec<_>, Vec<_>) = due
        .map(|(at, (_, read))| {
            let operation = Operation::Touch { namespace: read.namespace.clone(), key: read.key };
            (at, Command::Operate { request: None, operation })
        })
        .unzip();
    if places.is_empty() {
        return HashMap::new();
    }
    match backend.submit(commands).await {
        Err(error) => {
            places.into_iter().map(|at| (at, Err(Unserved::proposal(error.clone(), Stake::Read)))).collect()
        }
        Ok(results) => {
            results
                .zip(futures_util::stream::iter(places))
                .map(|(result, at)| (at, touched(result)))
                .collect()
                .await
        }
    }
}

fn touched(result: Result<crate::consensus::Applied, ProposeError>) -> Touched {
    match result {
        Err(error) => Err(Unserved::proposal(error, Stake::Read)),
        Ok(applied) => match applied.outcome {
            Outcome::Touched { remaining_ms } => Ok((applied.index, remaining_ms)),
            Outcome::Refused(refusal) => Err(Failure::from(refusal).into()),
            _ => Err(reasons::internal("the outcome is not one of a touch").into()),
        },
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
