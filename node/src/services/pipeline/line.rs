//! One stream: operations in, answers out in completion order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::answers::Answers;
use super::jobs::{self, Done};
use super::pace::Pace;
use super::pending::{Load, Outgoing, Pending, Stage};
use super::schedule::{Class, Number, Schedule};
use crate::consensus::{Applied, Leader, ProposeError};
use crate::services::answer;
use crate::services::backend::{Backend, Results};
use crate::services::executor::{Context, Executor, deadline_after};
use crate::services::explain::explained;
use crate::services::failure::Failure;
use crate::services::read::Unserved;
use crate::services::reasons::{self, Stake};
use crate::services::request::{Read, Request, Work};

/// Operations taken in before others get a turn and answers go out.
const TURN_MAX: usize = 512;
/// Bytes of answers that may wait for the client; beyond it the stream is not read and no read starts.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Of which one batch of reads gets so much at most; what finds no room in it goes with the next.
const BATCH_ANSWER_BYTES: usize = 2 << 20;
/// How long the status that ends a broken stream may wait for the client.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// What the response stream is made of.
pub(crate) type Response = Result<v1::PipelineResponse, Status>;

type Mutated = (Number, Option<Result<Applied, ProposeError>>);
type Submitted = (Vec<Number>, Result<Results, ProposeError>);

/// One `Pipeline` stream.
pub(crate) struct Line<B> {
    executor: Executor<B>,
    redirect: bool,
    /// What is left of the last message, with deadlines. Taken in a turn later, whatever else waits: as long as one of
    /// it is left, all of the message is held.
    inbox: VecDeque<(v1::Operation, Instant)>,
    pending: HashMap<Number, Pending>,
    deadlines: BTreeSet<(Instant, Number)>,
    load: Load,
    next: Number,
    schedule: Schedule,
    /// Mutations whose turn has come, in order; submitted together once the previous batch is in the log's queue.
    outbox: Vec<Outgoing>,
    submitting: Option<BoxFuture<'static, Submitted>>,
    results: SelectAll<BoxStream<'static, Mutated>>,
    /// Reads whose turn has come; they start while there is room for their answers.
    reads: VecDeque<Number>,
    /// Room for answers that is set aside for the reads that run.
    reading: usize,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    answers: Answers,
    pace: Pace,
}

impl<B: Backend> Line<B> {
    /// `redirect`: the client follows the leader itself.
    pub(crate) fn new(executor: Executor<B>, redirect: bool) -> Self {
        Line {
            executor,
            redirect,
            inbox: VecDeque::new(),
            pending: HashMap::new(),
            deadlines: BTreeSet::new(),
            load: Load::default(),
            next: 0,
            schedule: Schedule::default(),
            outbox: Vec::new(),
            submitting: None,
            results: SelectAll::new(),
            reads: VecDeque::new(),
            reading: 0,
            jobs: FuturesUnordered::new(),
            answers: Answers::default(),
            pace: Pace::default(),
        }
    }

    /// Serves the stream until the client ends it (all it sent is answered first), is gone or takes no answers any
    /// more, or `stop` is cancelled (what is in flight is answered first). What has been submitted goes on in any case.
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
            if !self.flush(&sender) {
                return;
            }
            if !self.inbox.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            if !open && self.pending.is_empty() && self.answers.is_empty() {
                break;
            }
            let listen = open && self.has_room();
            let timer = self.deadlines.first().map(|(deadline, _)| *deadline);
            let judged = self.pace.deadline();
            tokio::select! {
                biased;
                () = wake_at(judged), if judged.is_some() => if !self.pace.keeps_up(Instant::now()) {
                    tracing::info!("a client does not take its answers: its stream is ended");
                    return;
                },
                room = sender.reserve(), if !self.answers.is_empty() => match room {
                    Ok(room) => self.hand_over(room),
                    Err(_) => return,
                },
                Some(mutated) = self.results.next(), if !self.results.is_empty() => self.mutated(mutated),
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => self.done(done),
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
            // The client may be gone already, or take nothing; then nobody wants to know.
            let _ = tokio::time::timeout(LAST_WORD_TIMEOUT, sender.send(Err(explained(status)))).await;
        }
    }

    fn has_room(&self) -> bool {
        self.load.has_room() && self.answers.bytes() < ANSWER_BYTES_MAX
    }

    fn receive(&mut self, request: v1::PipelineRequest) {
        let arrived = |operation: v1::Operation| {
            let timeout = Duration::from_millis(operation.timeout_ms.into());
            (operation, deadline_after(Some(timeout)))
        };
        self.inbox.extend(request.operations.into_iter().map(arrived));
    }

    /// Does what can be done without waiting, for one turn.
    fn advance(&mut self) {
        self.take_in();
        self.dispatch();
        while self.poll_ready() {
            self.dispatch();
        }
    }

    /// Admits what has been received.
    fn take_in(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        let forwards = !self.redirect && !self.executor.backend().leads();
        for _ in 0..TURN_MAX {
            let Some((operation, deadline)) = self.inbox.pop_front() else { break };
            self.admit(&operation, deadline, forwards);
        }
    }

    fn admit(&mut self, operation: &v1::Operation, deadline: Instant, forwards: bool) {
        let tag = operation.tag;
        let (request, permit) = match self.executor.admit(operation, !self.redirect) {
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
        self.load.add(&permit);
        let original = (!self.redirect).then(|| operation.encode_to_vec());
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
        if !self.reads.is_empty() {
            self.start_reads();
        }
        if self.submitting.is_none() && !self.outbox.is_empty() {
            let (numbers, commands): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outbox).into_iter().unzip();
            let backend = self.executor.backend().clone();
            self.submitting = Some(async move { (numbers, backend.submit(commands).await) }.boxed());
        }
    }

    /// Starts those whose turn has come: mutations into the outbox, the others by themselves; reads line up.
    fn start_ready(&mut self) {
        let leader = self.executor.backend().leader();
        let leads = leader.as_ref().is_some_and(|leader| leader.is_self);
        while let Some(number) = self.schedule.next_ready() {
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            match std::mem::replace(&mut pending.stage, Stage::Running(None)) {
                Stage::Batched(_) if !leads => {
                    self.complete(number, Err(Unserved::NotLeader(leader.clone())))
                }
                Stage::Batched(Work::Mutate { command, reply }) => {
                    pending.stage = Stage::Running(Some(reply));
                    self.outbox.push((number, command));
                }
                // Never batched, see `admit`.
                Stage::Batched(work @ Work::OpenClient) => {
                    self.single(number, Request { work, stake: Stake::Once })
                }
                stage @ (Stage::Batched(Work::Read(_))
                | Stage::Single(Request { work: Work::Read(_), .. })) => {
                    pending.stage = stage;
                    self.reads.push_back(number);
                }
                Stage::Single(request) => self.single(number, request),
                Stage::Again => self.again(number, leader.clone()),
                running @ Stage::Running(_) => pending.stage = running,
            }
        }
    }

    /// Room for the answers of further reads.
    fn answer_room(&self) -> usize {
        ANSWER_BYTES_MAX.saturating_sub(self.answers.bytes()).saturating_sub(self.reading)
    }

    /// Starts reads while there is room for their answers.
    fn start_reads(&mut self) {
        let mut batch: Vec<(Number, Read)> = Vec::new();
        while self.answer_room() > 0
            && let Some(number) = self.reads.pop_front()
        {
            // It may have given up.
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            match std::mem::replace(&mut pending.stage, Stage::Running(None)) {
                Stage::Batched(Work::Read(read)) => batch.push((number, read)),
                Stage::Single(request) => self.single(number, request),
                stage => pending.stage = stage,
            }
        }
        if !batch.is_empty() {
            let room = self.answer_room().min(BATCH_ANSWER_BYTES);
            self.reading += room;
            self.jobs.push(jobs::read_batch(self.executor.backend().clone(), batch, room).boxed());
        }
    }

    /// Runs one operation by itself.
    fn single(&mut self, number: Number, request: Request) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let context = Context { deadline: pending.deadline, redirect: self.redirect, forwarded: false };
        let original = pending.original.take().and_then(|bytes| v1::Operation::decode(&*bytes).ok());
        self.reading += jobs::set_aside(&request);
        self.jobs.push(jobs::single(self.executor.clone(), (number, request), original, context).boxed());
    }

    /// An operation that consensus did not serve before has its turn again: by itself, unless it was overtaken.
    fn again(&mut self, number: Number, leader: Option<Leader>) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let original = pending.original.as_ref().and_then(|bytes| v1::Operation::decode(&**bytes).ok());
        let Some(original) = original.filter(|_| !self.schedule.is_overtaken(number)) else {
            return self.complete(number, Err(Unserved::NotLeader(leader)));
        };
        match self.executor.parse(&original) {
            Ok(request) if request.stake == Stake::Read => {
                pending.stage = Stage::Single(request);
                self.reads.push_back(number);
            }
            Ok(request) => self.single(number, request),
            Err(failure) => self.complete(number, Err(failure.into())),
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
        while let Some(Some(done)) = self.jobs.next().now_or_never() {
            self.done(done);
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

    fn done(&mut self, Done { set_aside, ended, left }: Done) {
        self.reading -= set_aside;
        for (number, done) in ended {
            self.complete(number, done);
        }
        for (number, read) in left {
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            if pending.answered {
                self.complete(number, Err(reasons::deadline(false, Stake::Read).into()));
            } else {
                pending.stage = Stage::Batched(Work::Read(read));
                self.reads.push_back(number);
            }
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
        if !pending.answered {
            self.load.remove(&pending.permit);
            let answer = done.unwrap_or_else(|failure| Answer::Error(failure.into_error()));
            self.answers.push(pending.tag, answer);
        }
    }

    /// Answers those whose deadline has passed. One that runs keeps its place until it ends, since what follows on its
    /// session must still come after it; but it counts as load no more, so that a leader without a quorum goes on
    /// answering.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((deadline, number)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.remove(&(deadline, number));
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            if matches!(pending.stage, Stage::Running(_)) {
                pending.answered = true;
                self.load.remove(&pending.permit);
                let failure = reasons::deadline(true, pending.stake);
                self.answers.push(pending.tag, Answer::Error(failure.into_error()));
            } else {
                let failure = reasons::deadline(false, pending.stake);
                self.schedule.finish(number);
                self.end(number, Err(failure));
            }
        }
    }

    /// Sends what the connection takes at once; whether there still is a client.
    fn flush(&mut self, sender: &mpsc::Sender<Response>) -> bool {
        while !self.answers.is_empty() {
            match sender.try_reserve() {
                Ok(room) => self.hand_over(room),
                Err(mpsc::error::TrySendError::Full(())) => break,
                Err(mpsc::error::TrySendError::Closed(())) => return false,
            }
        }
        self.pace.waiting(!self.answers.is_empty(), Instant::now());
        true
    }

    fn hand_over(&mut self, room: mpsc::Permit<'_, Response>) {
        if let Some((message, bytes)) = self.answers.pop() {
            self.pace.taken(bytes);
            room.send(Ok(message));
        }
    }
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
