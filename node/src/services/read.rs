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

/// What has become of a read.
#[allow(clippy::large_enum_variant, reason = "nearly all are answered, and made once")]
pub(crate) enum Found {
    Answered(Result<Answer, Unserved>),
    /// The session is live, and its touch must be replicated before the read is answered: see [`touch`].
    Due {
        /// What its answer will take, about.
        answer_bytes: usize,
    },
    /// There is no room for its answer, and nothing has happened.
    NoRoom,
}

/// What a batch of reads has come to without waiting for touches, in their order.
pub(crate) struct Looked {
    pub(crate) found: Vec<Found>,
    /// The leader's clocks, by which they were judged.
    pub(crate) now: Clocks,
}

/// Answers reads, linearizable with respect to everything before the call: one check serves them all. Answers take up
/// `room` bytes at most, though always one is given: for those beyond it `None`, and nothing has happened.
pub(crate) async fn linearizable<B: Backend>(
    backend: &B,
    reads: &[Read],
    room: usize,
) -> Vec<Option<Result<Answer, Unserved>>> {
    let Looked { found, now } = look_up(backend, reads, room).await;
    let due = found.iter().zip(reads).filter(|(found, _)| matches!(found, Found::Due { .. }));
    let due: Vec<Read> = due.map(|(_, read)| read.clone()).collect();
    let mut touched = touch(backend, &due, now).await.into_iter();
    let answers = found.into_iter().map(|found| match found {
        Found::Answered(answer) => Some(answer),
        Found::Due { .. } => touched.next(),
        Found::NoRoom => None,
    });
    answers.collect()
}

/// As [`linearizable`], but leaves it to the caller to [`touch`] the sessions that are due for it: no other read waits for
/// that.
pub(crate) async fn look_up<B: Backend>(backend: &B, reads: &[Read], room: usize) -> Looked {
    let now = match backend.linearizable().await {
        Ok(()) => backend.now(),
        Err(error) => return all_failed(reads, backend.now(), || Unserved::read(&error)),
    };
    let mut looks = look(backend, reads, now);
    if looks.iter().any(|look| matches!(look, Look::Overdue)) {
        if let Err(error) = backend.tick().await {
            return all_failed(reads, now, || Unserved::proposal(error.clone(), Stake::Read));
        }
        // The state's clocks have caught up: what was overdue at that moment is gone. By a newer one another session
        // could be overdue now.
        looks = look(backend, reads, now);
    }
    limit(&mut looks, reads, room);
    let found = looks.into_iter().zip(reads).map(|(look, read)| match look {
        Look::NoRoom => Found::NoRoom,
        Look::Touch(view) => Found::Due { answer_bytes: view.answer_bytes(&read.selection) },
        look => Found::Answered(answer(look, read, backend.cluster_id())),
    });
    Looked { found: found.collect(), now }
}

fn all_failed(reads: &[Read], now: Clocks, error: impl Fn() -> Unserved) -> Looked {
    Looked { found: reads.iter().map(|_| Found::Answered(Err(error()))).collect(), now }
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

/// Replicates the touches that these reads are due for, one for each session, and answers the reads, in their order.
/// `now`: by which they were found to be due.
pub(crate) async fn touch<B: Backend>(
    backend: &B,
    due: &[Read],
    now: Clocks,
) -> Vec<Result<Answer, Unserved>> {
    if due.is_empty() {
        return Vec::new();
    }
    let mut commands = Vec::with_capacity(due.len());
    let mut places = HashMap::with_capacity(due.len());
    let mut place = |read: &Read| {
        *places.entry((read.namespace.clone(), read.key)).or_insert_with(|| {
            let operation = Operation::Touch { namespace: read.namespace.clone(), key: read.key };
            commands.push(Command::Operate { request: None, operation });
            commands.len() - 1
        })
    };
    let places: Vec<usize> = due.iter().map(&mut place).collect();
    let results: Vec<_> = match backend.submit(commands).await {
        Err(error) => {
            return due.iter().map(|_| Err(Unserved::proposal(error.clone(), Stake::Read))).collect();
        }
        Ok(results) => results.collect().await,
    };
    // A second look: a write may have come between the first and the touch, and content, remaining lifetime and
    // position must belong together. It is taken behind the touches, so at their positions or above.
    let cluster = backend.cluster_id();
    let seen = |state: &State, index| {
        let answers = due.iter().zip(places).map(|(read, place)| {
            touched(results.get(place))?;
            answer(look_at(state, index, read, now), read, cluster)
        });
        answers.collect()
    };
    backend.with_applied(seen)
}

/// `None`: the node gave no result.
fn touched(result: Option<&Result<Applied, ProposeError>>) -> Result<(), Unserved> {
    let Some(result) = result else {
        return Err(reasons::internal("a touch was not answered").into());
    };
    match result {
        Err(error) => Err(Unserved::proposal(error.clone(), Stake::Read)),
        Ok(Applied { outcome: Outcome::Touched { .. }, .. }) => Ok(()),
        Ok(Applied { outcome: Outcome::Refused(refusal), .. }) => Err(Failure::from(refusal.clone()).into()),
        Ok(_) => Err(reasons::internal("the outcome is not one of a touch").into()),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
