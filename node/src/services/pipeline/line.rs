//! One stream: operations in, answers out in completion order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_state::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::answers::Answers;
use super::schedule::{Class, Number, Schedule};
use crate::consensus::{Applied, ProposeError};
use crate::services::answer::{self, Reply};
use crate::services::backend::{Backend, Results};
use crate::services::budget::Permit;
use crate::services::executor::{Context, Executor, deadline_after};
use crate::services::explain::explained;
use crate::services::failure::Failure;
use crate::services::read::{self, Unserved};
use crate::services::reasons::{self, Stake};
use crate::services::request::{Read, Request, Work};

/// Operations of one stream in flight; beyond it the stream is not read. The client library stays below it.
const OPERATIONS_MAX: usize = 4_096;
/// Bytes of one stream's operations in flight; beyond it the stream is not read.
const BYTES_MAX: u64 = 32 << 20;
/// A client that takes no answer for this long is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// What the response stream is made of.
pub(crate) type Response = Result<v1::PipelineResponse, Status>;

/// An operation that has been admitted and has not ended.
struct Pending {
    tag: u64,
    deadline: Instant,
    stake: Stake,
    permit: Permit,
    stage: Stage,
    /// Told that its deadline passed; what it comes to is for nobody.
    answered: bool,
    /// What would be sent to the leader; kept only where this stream is not redirected.
    original: Option<v1::Operation>,
}

/// How far an operation has come.
enum Stage {
    /// Goes with others of its kind, once its turn comes.
    Batched(Work),
    /// Runs by itself, once its turn comes.
    Single(Request),
    /// As `Single`, from the original.
    Again,
    /// Being run.
    Running(Option<Reply>),
}

type Mutated = (Number, Option<Result<Applied, ProposeError>>);
type Submitted = (Vec<Number>, Result<Results, ProposeError>);
type Jobs = Vec<(Number, Result<Answer, Unserved>)>;

/// One `Pipeline` stream.
pub(crate) struct Line<B> {
    executor: Executor<B>,
    redirect: bool,
    /// Received, not admitted yet, with their deadlines.
    backlog: VecDeque<(v1::Operation, Instant)>,
    pending: HashMap<Number, Pending>,
    deadlines: BTreeSet<(Instant, Number)>,
    bytes: u64,
    next: Number,
    schedule: Schedule,
    /// Mutations whose turn has come, in order; submitted together once the previous batch is in the log's queue.
    outbox: Vec<(Number, Command)>,
    submitting: Option<BoxFuture<'static, Submitted>>,
    results: SelectAll<BoxStream<'static, Mutated>>,
    jobs: FuturesUnordered<BoxFuture<'static, Jobs>>,
    answers: Answers,
}

impl<B: Backend> Line<B> {
    /// `redirect`: the client follows the leader itself.
    pub(crate) fn new(executor: Executor<B>, redirect: bool) -> Self {
        Line {
            executor,
            redirect,
            backlog: VecDeque::new(),
            pending: HashMap::new(),
            deadlines: BTreeSet::new(),
            bytes: 0,
            next: 0,
            schedule: Schedule::default(),
            outbox: Vec::new(),
            submitting: None,
            results: SelectAll::new(),
            jobs: FuturesUnordered::new(),
            answers: Answers::default(),
        }
    }

    /// Serves the stream until the client ends it (all it sent is answered first), is gone, or `stop` is cancelled
    /// (what is in flight is answered first). What has been submitted goes on in any case.
    pub(crate) async fn run<S>(
        mut self,
        mut incoming: S,
        sender: mpsc::Sender<Response>,
        stop: CancellationToken,
    ) where
        S: Stream<Item = Result<v1::PipelineRequest, Status>> + Unpin + Send,
    {
        let mut open = true;
        let mut broken = None;
        loop {
            self.advance();
            if !self.flush(&sender).await {
                return;
            }
            if !open && self.pending.is_empty() && self.backlog.is_empty() {
                break;
            }
            let listen = open && self.backlog.is_empty() && self.has_room();
            let timer = self.deadlines.first().map(|(deadline, _)| *deadline);
            tokio::select! {
                biased;
                Some(mutated) = self.results.next(), if !self.results.is_empty() => self.mutated(mutated),
                Some(jobs) = self.jobs.next(), if !self.jobs.is_empty() => self.complete_all(jobs),
                submitted = ready_or_never(&mut self.submitting) => self.submitted(submitted),
                () = wake_at(timer), if timer.is_some() => self.expire(),
                message = incoming.next(), if listen => match message {
                    Some(Ok(request)) => self.receive(request),
                    Some(Err(status)) => (open, broken) = (false, Some(status)),
                    None => open = false,
                },
                () = stop.cancelled(), if open => open = false,
                () = sender.closed() => return,
            }
        }
        if let Some(status) = broken {
            // The client may be gone already; then nobody wants to know.
            let _ = sender.send(Err(explained(status))).await;
        }
    }

    fn has_room(&self) -> bool {
        self.pending.len() < OPERATIONS_MAX && self.bytes < BYTES_MAX
    }

    fn receive(&mut self, request: v1::PipelineRequest) {
        let arrived = |operation: v1::Operation| {
            let timeout = Duration::from_millis(operation.timeout_ms.into());
            (operation, deadline_after(Some(timeout)))
        };
        self.backlog.extend(request.operations.into_iter().map(arrived));
    }

    /// Does all that can be done without waiting.
    fn advance(&mut self) {
        loop {
            self.fill();
            self.dispatch();
            if !self.poll_ready() {
                break;
            }
        }
    }

    /// Admits from the backlog while there is room.
    fn fill(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let forwards = !self.redirect && !self.executor.backend().leads();
        while self.has_room() {
            let Some((operation, deadline)) = self.backlog.pop_front() else { break };
            self.admit(operation, deadline, forwards);
        }
    }

    fn admit(&mut self, operation: v1::Operation, deadline: Instant, forwards: bool) {
        let tag = operation.tag;
        let (request, permit) = match self.executor.admit(&operation) {
            Ok(admitted) => admitted,
            Err(failure) => return self.answers.push(tag, Answer::Error(failure.into_error())),
        };
        let (keys, stake) = (request.keys(), request.stake);
        let (class, stage) = match request {
            Request { work: Work::OpenClient, .. } => (Class::Alone, Stage::Single(request)),
            Request { work: Work::Read(Read { at_least: Some(_), .. }), .. } => {
                (Class::Read, Stage::Single(request))
            }
            request if forwards => (Class::Alone, Stage::Single(request)),
            Request { work: work @ Work::Read(_), .. } => (Class::Read, Stage::Batched(work)),
            Request { work, .. } => (Class::Mutation, Stage::Batched(work)),
        };
        let number = self.next;
        self.next += 1;
        self.bytes += permit.bytes();
        let original = (!self.redirect).then_some(operation);
        self.deadlines.insert((deadline, number));
        self.pending
            .insert(number, Pending { tag, deadline, stake, permit, stage, answered: false, original });
        self.schedule.push(number, keys, class);
    }

    /// Starts whatever may start.
    fn dispatch(&mut self) {
        if self.schedule.has_ready() {
            self.start_ready();
        }
        if self.submitting.is_none() && !self.outbox.is_empty() {
            let (numbers, commands): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outbox).into_iter().unzip();
            let backend = self.executor.backend().clone();
            self.submitting = Some(async move { (numbers, backend.submit(commands).await) }.boxed());
        }
    }

    /// Starts those whose turn has come: mutations into the outbox, reads as one batch, the others by themselves.
    fn start_ready(&mut self) {
        let mut reads: Vec<(Number, Read)> = Vec::new();
        let leader = self.executor.backend().leader();
        let leads = leader.as_ref().is_some_and(|leader| leader.is_self);
        while let Some(number) = self.schedule.next_ready() {
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            match std::mem::replace(&mut pending.stage, Stage::Running(None)) {
                Stage::Batched(_) if !leads => {
                    self.complete(number, Err(Unserved::NotLeader(leader.clone())))
                }
                Stage::Batched(Work::Read(read)) => reads.push((number, read)),
                Stage::Batched(Work::Mutate { command, reply }) => {
                    pending.stage = Stage::Running(Some(reply));
                    self.outbox.push((number, command));
                }
                // Never batched, see `admit`.
                Stage::Batched(work @ Work::OpenClient) => {
                    self.single(number, Request { work, stake: Stake::Once })
                }
                Stage::Single(request) => self.single(number, request),
                Stage::Again => self.again(number),
                running @ Stage::Running(_) => pending.stage = running,
            }
        }
        if !reads.is_empty() {
            self.jobs.push(read_batch(self.executor.backend().clone(), reads).boxed());
        }
    }

    /// Runs one operation by itself.
    fn single(&mut self, number: Number, request: Request) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let context = Context { deadline: pending.deadline, redirect: self.redirect, forwarded: false };
        let original = pending.original.take();
        let executor = self.executor.clone();
        let run = async move { executor.run(request, original, context).await };
        self.jobs.push(run.map(move |answer| vec![(number, answer.map_err(Unserved::Failed))]).boxed());
    }

    /// Runs one operation by itself that consensus did not serve before.
    fn again(&mut self, number: Number) {
        let Some(pending) = self.pending.get(&number) else { return };
        let wire = pending.original.as_ref().and_then(|original| original.operation.as_ref());
        let cluster = self.executor.backend().cluster_id();
        match wire.map(|wire| Request::parse(wire, cluster)) {
            Some(Ok(request)) => self.single(number, request),
            Some(Err(failure)) => self.complete(number, Err(failure.into())),
            None => self.complete(number, Err(Unserved::NotLeader(None))),
        }
    }

    /// Takes what has become ready; whether there was anything.
    fn poll_ready(&mut self) -> bool {
        let mut progress = false;
        // Polled without a waker of ours: the select in `run` polls each again before it waits.
        if let Some(submitted) = self.submitting.as_mut().and_then(|submitting| submitting.now_or_never()) {
            self.submitted(submitted);
            progress = true;
        }
        while let Some(Some(mutated)) = self.results.next().now_or_never() {
            self.mutated(mutated);
            progress = true;
        }
        while let Some(Some(jobs)) = self.jobs.next().now_or_never() {
            self.complete_all(jobs);
            progress = true;
        }
        progress
    }

    fn submitted(&mut self, (numbers, submitted): Submitted) {
        self.submitting = None;
        match submitted {
            // A stream that ends early leaves the rest without an answer: their fate is unknown.
            Ok(results) => {
                let results = results.map(Some).chain(stream::repeat_with(|| None));
                self.results.push(stream::iter(numbers).zip(results).boxed());
            }
            Err(error) => {
                for number in numbers {
                    self.mutated((number, Some(Err(error.clone()))));
                }
            }
        }
    }

    fn mutated(&mut self, (number, result): Mutated) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let done = match (result, &mut pending.stage) {
            (Some(Ok(applied)), Stage::Running(reply)) => match reply.take() {
                Some(reply) => answer::mutated(reply, self.executor.backend().cluster_id(), applied)
                    .map_err(Unserved::Failed),
                None => Err(reasons::internal("a mutation was answered twice").into()),
            },
            (Some(Err(error)), _) => Err(Unserved::proposal(error, pending.stake)),
            _ => {
                let lost = ProposeError::Unknown("the node gave no result".to_owned());
                Err(Unserved::proposal(lost, pending.stake))
            }
        };
        self.complete(number, done);
    }

    fn complete_all(&mut self, jobs: Jobs) {
        for (number, done) in jobs {
            self.complete(number, done);
        }
    }

    /// An operation has ended, or goes to the leader instead.
    fn complete(&mut self, number: Number, done: Result<Answer, Unserved>) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let elsewhere =
            matches!(done, Err(Unserved::NotLeader(_))) && pending.original.is_some() && !pending.answered;
        if elsewhere && self.schedule.requeue(number) {
            pending.stage = Stage::Again;
            return;
        }
        self.schedule.finish(number);
        self.end(number, done.map_err(Unserved::into_failure));
    }

    /// Forgets an operation and answers it, unless that has been done.
    fn end(&mut self, number: Number, done: Result<Answer, Failure>) {
        let Some(pending) = self.pending.remove(&number) else { return };
        self.deadlines.remove(&(pending.deadline, number));
        self.bytes -= pending.permit.bytes();
        if !pending.answered {
            let answer = done.unwrap_or_else(|failure| Answer::Error(failure.into_error()));
            self.answers.push(pending.tag, answer);
        }
    }

    /// Answers those whose deadline has passed. One that runs keeps its place until it ends: what follows on its
    /// session must still come after it.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((deadline, number)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.remove(&(deadline, number));
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            if matches!(pending.stage, Stage::Running(_)) {
                pending.answered = true;
                let failure = reasons::deadline(true, pending.stake);
                self.answers.push(pending.tag, Answer::Error(failure.into_error()));
            } else {
                let failure = reasons::deadline(false, pending.stake);
                self.schedule.cancel(number);
                self.end(number, Err(failure));
            }
        }
    }

    /// Sends what is ready; whether the client still takes it.
    async fn flush(&mut self, sender: &mpsc::Sender<Response>) -> bool {
        for message in self.answers.take() {
            match tokio::time::timeout(SEND_TIMEOUT, sender.send(Ok(message))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }
}

async fn read_batch<B: Backend>(backend: B, reads: Vec<(Number, Read)>) -> Jobs {
    let (numbers, reads): (Vec<_>, Vec<_>) = reads.into_iter().unzip();
    let answers = read::linearizable(&backend, &reads).await;
    numbers.into_iter().zip(answers).collect()
}

/// The future's end, or never when there is none.
async fn ready_or_never<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn wake_at(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
