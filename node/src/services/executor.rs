//! Runs operations: here when this node leads or may answer locally, else at the leader. Unary calls, pipelined
//! operations and those forwarded by other nodes all come through here.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_proto::v1::operation::Operation as Wire;
use quorate_state::{Command, Outcome, Refusal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::answer::{self, FromAnswer, Reply};
use super::backend::Backend;
use super::failure::{self, Failure};
use super::lock::{self, Locking, Taken};
use super::query;
use super::read::{self, POSITION_WAIT_MAX, Unserved};
use super::reasons::{self, Stake};
use super::request::{Request, Work};
use crate::budget::{Budget, Permit};
use crate::consensus::{Applied, ForwardError, ForwardHandler, Leader, ProposeError};

/// For an operation whose caller names no timeout.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// No operation waits longer, whatever its caller asks for.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// What an operation is taken to hold besides its encoded bytes.
const OVERHEAD_BYTES: u64 = 256;
/// And, where it is on many sessions, for each of them.
const LANE_BYTES: u64 = 128;
/// How long an operation that is not redirected waits for a leader: as long as a failover may take.
const FAILOVER_WAIT: Duration = Duration::from_millis(500);
/// How often it looks for one meanwhile.
const FAILOVER_POLL: Duration = Duration::from_millis(20);
/// Draws of a client handle before giving up: two taken in a row do not happen by chance.
const DRAWS_MAX: usize = 3;

/// How an operation came and what its caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// When its caller stops waiting.
    pub(crate) deadline: Instant,
    /// The caller follows the leader itself: tell it instead of forwarding.
    pub(crate) redirect: bool,
    /// It was forwarded here: never forward it again.
    pub(crate) forwarded: bool,
}

/// When an operation that arrived now and may take `timeout` ends; `None` or zero is the default.
pub(crate) fn deadline_after(timeout: Option<Duration>) -> Instant {
    deadline_from(Instant::now(), timeout)
}

/// As [`deadline_after`], for one that arrived at `arrival`.
pub(crate) fn deadline_from(arrival: Instant, timeout: Option<Duration>) -> Instant {
    let timeout = timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT_DEFAULT);
    arrival + timeout.min(TIMEOUT_MAX)
}

/// A request, which a try on this node uses up.
struct Tried {
    stake: Stake,
    unused: Option<Request>,
}

/// Runs operations against a backend.
#[derive(Clone, Debug)]
pub(crate) struct Executor<B> {
    backend: B,
    budget: Budget,
}

impl<B: Backend> Executor<B> {
    pub(crate) fn new(backend: B, in_flight_bytes_max: u64) -> Self {
        Executor { backend, budget: Budget::new(in_flight_bytes_max) }
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// Bytes in flight now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.budget.held()
    }

    /// Takes an operation's bytes from the node's budget and checks it. `keeps_original`: it is held twice, checked
    /// and as it came, to be sent on.
    ///
    /// # Errors
    /// [`Failure`], definitely not applied.
    pub(crate) fn admit(
        &self,
        operation: &v1::Operation,
        keeps_original: bool,
    ) -> Result<(Request, Permit), Failure> {
        let encoded = u64::try_from(operation.encoded_len()).unwrap_or(u64::MAX / 4);
        let bytes = OVERHEAD_BYTES + if keeps_original { 2 * encoded } else { encoded };
        let bytes = bytes + lanes_bytes(operation);
        let permit = self.budget.take(bytes);
        let permit = permit
            .ok_or_else(|| reasons::overloaded("too many bytes of operations are in flight on this node"))?;
        Ok((self.parse(operation)?, permit))
    }

    /// Checks an operation.
    ///
    /// # Errors
    /// [`Failure`], definitely not applied.
    pub(crate) fn parse(&self, operation: &v1::Operation) -> Result<Request, Failure> {
        let Some(wire) = &operation.operation else {
            let message = "the operation is empty, or of a kind that this version does not know";
            return Err(Failure::invalid("EMPTY_OPERATION", "operation", message));
        };
        Request::parse(wire, self.backend.cluster_id())
    }

    /// Runs one operation to its answer, within its deadline.
    ///
    /// # Errors
    /// [`Failure`]. An error relayed from the leader is an `Ok(Answer::Error)`.
    pub(crate) async fn execute(
        &self,
        operation: v1::Operation,
        context: Context,
    ) -> Result<Answer, Failure> {
        let (request, _permit) = self.admit(&operation, !context.redirect && !context.forwarded)?;
        let stake = request.stake;
        let run = self.run(request, Some(operation), context);
        match tokio::time::timeout_at(context.deadline, run).await {
            Ok(answer) => answer,
            Err(_) => Err(reasons::deadline(true, stake)),
        }
    }

    /// Runs one operation to its response: what a unary call answers.
    ///
    /// # Errors
    /// The status, with its details; the leader's own where it was relayed.
    pub(crate) async fn call<R: FromAnswer>(&self, operation: Wire, context: Context) -> Result<R, Status> {
        let operation = v1::Operation { operation: Some(operation), ..Default::default() };
        match self.execute(operation, context).await {
            Err(failure) => Err(failure.into_status()),
            Ok(Answer::Error(error)) => Err(failure::relayed(error)),
            Ok(answer) => {
                let other = || reasons::internal("the answer is not one of this operation").into_status();
                R::from_answer(answer).ok_or_else(other)
            }
        }
    }

    /// Runs one checked operation. `original` is what would be forwarded; without it nothing is. Not bounded by the
    /// deadline except where it waits for others.
    pub(crate) async fn run(
        &self,
        request: Request,
        original: Option<v1::Operation>,
        context: Context,
    ) -> Result<Answer, Failure> {
        if request.is_local() {
            return self.local(&request.work, remaining(context.deadline)).await;
        }
        let original = original.filter(|_| !context.redirect && !context.forwarded);
        let mut give_up = Instant::now() + FAILOVER_WAIT;
        let mut request = Tried { stake: request.stake, unused: Some(request) };
        loop {
            let began = Instant::now();
            let unserved = match self.attempt(&mut request, original.as_ref(), context.deadline).await {
                Err(Unserved::NotLeader(leader)) => leader,
                served => return served.map_err(Unserved::into_failure),
            };
            // Nothing has happened so far. A caller that follows the leader itself is told at once; for the others
            // this node sits out a failover.
            if began.elapsed() > FAILOVER_WAIT {
                // It stood in line for a lock and the leadership went; the place in line is kept.
                give_up = Instant::now() + FAILOVER_WAIT;
            }
            let now = Instant::now();
            if original.is_none() || now >= give_up.min(context.deadline) {
                return Err(reasons::not_leader(unserved.as_ref()));
            }
            // Not beyond the deadline: who is told then that time is up does not know that nothing has happened.
            tokio::time::sleep_until((now + FAILOVER_POLL).min(context.deadline)).await;
        }
    }

    /// Answers a read on this node, whoever leads.
    async fn local(&self, work: &Work, wait_max: Duration) -> Result<Answer, Failure> {
        match work {
            Work::Read(read) => read::local(&self.backend, read, wait_max).await,
            Work::Query { query, freshness } => {
                query::local(&self.backend, query, *freshness, wait_max).await
            }
            Work::OpenClient | Work::Mutate { .. } => Err(reasons::internal("it is not a read")),
        }
    }

    /// One try: here, or at the leader as this node knows it.
    async fn attempt(
        &self,
        request: &mut Tried,
        original: Option<&v1::Operation>,
        deadline: Instant,
    ) -> Result<Answer, Unserved> {
        match (self.backend.leader(), original) {
            (Some(leader), _) if leader.is_self => match (request.unused.take(), original) {
                (Some(request), _) => self.here(request, deadline).await,
                (None, Some(original)) => self.here(self.parse(original)?, deadline).await,
                (None, None) => Err(Unserved::NotLeader(None)),
            },
            (Some(leader), Some(original)) => {
                self.elsewhere(original.clone(), leader, deadline, request.stake).await
            }
            (leader, _) => Err(Unserved::NotLeader(leader)),
        }
    }

    /// Runs it on this node, the leader.
    async fn here(&self, request: Request, deadline: Instant) -> Result<Answer, Unserved> {
        let Request { work, stake } = request;
        match work {
            Work::OpenClient => self.open_client().await,
            Work::Mutate { command, reply: Reply::Lock(locking) } => {
                self.lock(command, *locking, deadline).await
            }
            Work::Mutate { command, reply } => {
                let applied = self.propose(command, stake).await?;
                Ok(answer::mutated(reply, self.backend.cluster_id(), applied)?)
            }
            Work::Read(read) => {
                let wait_max = remaining(deadline).min(POSITION_WAIT_MAX);
                read::reach(&self.backend, read.freshness, wait_max).await?;
                // The first answer of a batch always has room.
                let answers = read::linearizable(&self.backend, std::slice::from_ref(&read), 0).await;
                let answer = answers.into_iter().next().flatten();
                answer.unwrap_or_else(|| Err(reasons::internal("a read was not answered").into()))
            }
            Work::Query { query, .. } => query::linearizable(&self.backend, &query).await,
        }
    }

    /// Takes a lock, or waits for it. In a task of its own: a caller who goes away leaves neither a place in line nor a
    /// lock behind, at whatever moment.
    async fn lock(&self, command: Command, locking: Locking, deadline: Instant) -> Result<Answer, Unserved> {
        let (this, backend, known) = (self.clone(), self.backend.clone(), locking.clone());
        let take = async move |gone| {
            let applied = this.propose(command, locking.stake).await?;
            match lock::taken(&this.backend, locking, applied)? {
                Taken::Answered(answer) => Ok(answer),
                Taken::Queued(place) => {
                    place.wait(this.backend, deadline, gone, CancellationToken::new()).await
                }
            }
        };
        let stake = known.stake;
        let taken = tokio::time::timeout_at(deadline, lock::attended(backend, known, take)).await;
        taken.unwrap_or_else(|_| Err(reasons::deadline(true, stake).into()))
    }

    /// Submits one command and waits for its outcome.
    async fn propose(&self, command: Command, stake: Stake) -> Result<Applied, Unserved> {
        let submitted = self.backend.submit(vec![command]).await;
        let mut results = submitted.map_err(|error| Unserved::proposal(error, stake))?;
        let lost = || Err(ProposeError::Unknown("the node gave no result".to_owned()));
        results.next().await.unwrap_or_else(lost).map_err(|error| Unserved::proposal(error, stake))
    }

    async fn open_client(&self) -> Result<Answer, Unserved> {
        let mut refused = Failure::from(Refusal::ClientTaken);
        for _ in 0..DRAWS_MAX {
            let client = rand::random::<u64>().max(1);
            let applied = self.propose(Command::OpenClient { client }, Stake::Once).await?;
            let taken = applied.outcome == Outcome::Refused(Refusal::ClientTaken);
            match answer::mutated(Reply::OpenClient, self.backend.cluster_id(), applied) {
                Err(failure) if taken => refused = failure,
                answered => return Ok(answered?),
            }
        }
        Err(refused.into())
    }

    /// Has the leader run it: one hop, with the time that remains.
    async fn elsewhere(
        &self,
        mut original: v1::Operation,
        leader: Leader,
        deadline: Instant,
        stake: Stake,
    ) -> Result<Answer, Unserved> {
        let remaining = remaining(deadline);
        original.timeout_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX).max(1);
        match self.backend.forward(original, remaining).await {
            Ok(answered) => match answered.answer {
                // It leads no longer: nothing was done, and another does or soon will.
                Some(Answer::Error(error)) if reasons::is_not_leader(&error) => {
                    Err(Unserved::NotLeader(None))
                }
                answer => Ok(answer.ok_or_else(|| reasons::internal("the leader's answer is empty"))?),
            },
            // Nothing was sent: the leader is gone, or has just become another.
            Err(ForwardError::NoLeader) => Err(Unserved::NotLeader(None)),
            Err(ForwardError::Unreachable(_)) => Err(Unserved::NotLeader(Some(leader))),
            Err(error) => Err(reasons::forward_failed(&error, stake).into()),
        }
    }
}

/// What an operation on many sessions holds besides: a stream keeps it in order with what it does to each of them.
fn lanes_bytes(operation: &v1::Operation) -> u64 {
    match &operation.operation {
        Some(Wire::TouchMany(touch)) => {
            u64::try_from(touch.ids.len()).unwrap_or(u64::MAX / 4).saturating_mul(LANE_BYTES)
        }
        _ => 0,
    }
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

impl<B: Backend> ForwardHandler for Executor<B> {
    fn handle(&self, operation: v1::Operation) -> BoxFuture<'static, v1::Answer> {
        let executor = self.clone();
        async move {
            let tag = operation.tag;
            let timeout = Duration::from_millis(operation.timeout_ms.into());
            let context =
                Context { deadline: deadline_after(Some(timeout)), redirect: false, forwarded: true };
            let answered = executor.execute(operation, context).await;
            let answer = answered.unwrap_or_else(|failure| Answer::Error(failure.into_error()));
            v1::Answer { tag, answer: Some(answer) }
        }
        .boxed()
    }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
