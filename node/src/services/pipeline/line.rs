//! One stream: operations in, answers out in completion order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::answers::Answers;
use super::jobs::Done;
use super::outbox::{self, Mutated, Outbox};
use super::pace::Pace;
use super::pending::{Load, Pending, Stage, WAITS_MAX};
use super::schedule::{Class, Number, Schedule};
use crate::consensus::{ProposeError, is_throttled};
use crate::services::answer::{self, Reply};
use crate::services::backend::Backend;
use crate::services::executor::{Executor, deadline_after};
use crate::services::explain::explained;
use crate::services::failure::Failure;
use crate::services::lock::{self, Taken};
use crate::services::read::Unserved;
use crate::services::reasons::{self, Stake};
use crate::services::request::{Read, Request, Work};

/// Operations taken in before others get a turn and answers go out.
const TURN_MAX: usize = 512;
/// Bytes of answers that may wait for the client; beyond it the stream is not read and no read starts.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Of which one batch of reads gets so much at most; what finds no room in it goes with the next.
pub(super) const BATCH_ANSWER_BYTES: usize = 2 << 20;
/// How long the status that ends a broken stream may wait for the client.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// What the response stream is made of.
pub(crate) type Response = Result<v1::PipelineResponse, Status>;

/// One `Pipeline` stream.
pub(crate) struct Line<B> {
    pub(super) executor: Executor<B>,
    pub(super) redirect: bool,
    /// What is left of the last message, with deadlines. Taken in a turn later, whatever else waits: as long as one of
    /// it is left, all of the message is held.
    inbox: VecDeque<(v1::Operation, Instant)>,
    /// What that message withdraws: once all its operations are taken in.
    withdrawn: Vec<u64>,
    pub(super) pending: HashMap<Number, Pending>,
    deadlines: BTreeSet<(Instant, Number)>,
    load: Load,
    /// Locks among the pending that may wait for their turn: how many, and which by their tags.
    waits: usize,
    waiting: HashMap<u64, Number>,
    next: Number,
    pub(super) schedule: Schedule,
    /// Mutations whose turn has come.
    pub(super) outbox: Outbox,
    /// And those that are never held up: each way is in order, and the schedule keeps both apart on one session.
    pub(super) unthrottled: Outbox,
    results: SelectAll<BoxStream<'static, Mutated>>,
    /// Reads whose turn has come; they start while there is room for their answers.
    pub(super) reads: VecDeque<Number>,
    /// Room for answers that is set aside for the reads that run.
    pub(super) reading: usize,
    pub(super) jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) answers: Answers,
    pace: Pace,
}

impl<B: Backend> Line<B> {
    /// `redirect`: the client follows the leader itself.
    pub(crate) fn new(executor: Executor<B>, redirect: bool) -> Self {
        Line {
            executor,
            redirect,
            inbox: VecDeque::new(),
            withdrawn: Vec::new(),
            pending: HashMap::new(),
            deadlines: BTreeSet::new(),
            load: Load::default(),
            waits: 0,
            waiting: HashMap::new(),
            next: 0,
            schedule: Schedule::default(),
            outbox: Outbox::default(),
            unthrottled: Outbox::default(),
            results: SelectAll::new(),
            reads: VecDeque::new(),
            reading: 0,
            jobs: FuturesUnordered::new(),
            answers: Answers::default(),
            pace: Pace::default(),
        }
    }

    /// Serves the stream until the client ends it (all it sent is answered first), is gone or takes no answers any
    /// more, or `stop` is cancelled (what is in flight is answered first). What has been submitted goes on in any case,
    /// but nobody of it stands in line for a lock any more, or is given one.
    pub(crate) async fn run<S>(mut self, incoming: S, sender: mpsc::Sender<Response>, stop: CancellationToken)
    where
        S: Stream<Item = Result<v1::PipelineRequest, Status>> + Unpin + Send,
    {
        self.serve(incoming, sender, stop).await;
        let running = self.pending.into_iter();
        let locks: HashMap<_, _> = running
            .filter_map(|(number, pending)| match pending.stage {
                Stage::Running(Some(Reply::Lock(locking))) => Some((number, *locking)),
                _ => None,
            })
            .collect();
        if !locks.is_empty() {
            let backend = self.executor.backend().clone();
            tokio::spawn(outbox::abandon(backend, locks, self.outbox, self.results));
        }
    }

    async fn serve<S>(&mut self, mut incoming: S, sender: mpsc::Sender<Response>, stop: CancellationToken)
    where
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
                submitted = self.outbox.submitted() => self.results.push(submitted.into_results()),
                submitted = self.unthrottled.submitted() => self.results.push(submitted.into_results()),
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
        self.withdrawn = request.cancel;
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
        if !self.inbox.is_empty() {
            self.admit_some();
        }
        if self.inbox.is_empty() {
            // Those that are answered already are no longer known.
            for tag in std::mem::take(&mut self.withdrawn) {
                let pending = self.waiting.get(&tag).and_then(|number| self.pending.get(number));
                pending.into_iter().flat_map(|pending| &pending.withdrawn).for_each(|told| told.cancel());
            }
        }
    }

    fn admit_some(&mut self) {
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
        let (keys, stake, waits) = (request.keys(), request.stake, request.waits());
        if waits && self.waits >= WAITS_MAX {
            let failure = reasons::overloaded("too many locks of this stream wait for their turn");
            return self.answers.push(tag, Answer::Error(failure.into_error()));
        }
        let (class, stage) = classify(request, forwards);
        let number = self.next;
        self.next += 1;
        let withdrawn = waits.then(CancellationToken::new);
        if waits {
            self.waits += 1;
            self.waiting.insert(tag, number);
        }
        self.load.add(&permit);
        let original = (!self.redirect).then(|| operation.encode_to_vec());
        self.deadlines.insert((deadline, number));
        self.pending.insert(
            number,
            Pending { tag, deadline, stake, permit, withdrawn, stage, answered: false, original },
        );
        self.schedule.push(number, keys, class);
    }

    /// Takes what has become ready; whether there was anything.
    fn poll_ready(&mut self) -> bool {
        let mut progress = false;
        // Polled without a waker of ours: the select in `run` polls each again before it waits.
        let submitted = [self.outbox.submitted().now_or_never(), self.unthrottled.submitted().now_or_never()];
        for submitted in submitted.into_iter().flatten() {
            self.results.push(submitted.into_results());
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

    fn mutated(&mut self, (number, result): Mutated) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let done = match (result, &mut pending.stage) {
            (Some(Ok(applied)), Stage::Running(reply)) => match reply.take() {
                Some(Reply::Lock(locking)) if pending.answered => {
                    tokio::spawn(lock::unheard(self.executor.backend().clone(), *locking, applied));
                    Err(reasons::deadline(true, pending.stake).into())
                }
                Some(Reply::Lock(locking)) => match lock::taken(self.executor.backend(), *locking, applied) {
                    Ok(Taken::Queued(place)) => return self.stand_in_line(number, place),
                    Ok(Taken::Answered(answer)) => Ok(answer),
                    Err(failure) => Err(failure.into()),
                },
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

    fn done(&mut self, Done { set_aside, ended, left, rest }: Done) {
        self.reading -= set_aside;
        self.jobs.extend(rest);
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
    pub(super) fn complete(&mut self, number: Number, done: Result<Answer, Unserved>) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let elsewhere =
            matches!(done, Err(Unserved::NotLeader(_))) && pending.original.is_some() && !pending.answered;
        if elsewhere && matches!(pending.stage, Stage::InLine) {
            // Out of its lane already; the same request id finds its place in line at the next leader.
            let original = pending.original.as_ref().and_then(|bytes| v1::Operation::decode(&**bytes).ok());
            if let Some(Ok(request)) = original.map(|original| self.executor.parse(&original)) {
                pending.stage = Stage::Running(None);
                return self.single(number, request);
            }
        }
        if elsewhere && self.schedule.requeue(number) {
            pending.stage = Stage::Again;
            return;
        }
        self.schedule.finish(number);
        self.end(number, done.map_err(Unserved::into_failure));
    }

    /// Forgets an operation and answers it, unless that has been done.
    fn end(&mut self, number: Number, done: Result<Answer, Failure>) {
        let Some(pending) = self.pending.get(&number) else { return };
        if !pending.answered {
            self.load.remove(&pending.permit);
            let answer = done.unwrap_or_else(|failure| Answer::Error(failure.into_error()));
            self.answers.push(pending.tag, answer);
        }
        self.forget(number);
    }

    /// Forgets an operation that has been answered.
    fn forget(&mut self, number: Number) {
        let Some(pending) = self.pending.remove(&number) else { return };
        self.deadlines.remove(&(pending.deadline, number));
        self.waits -= usize::from(pending.withdrawn.is_some());
        if self.waiting.get(&pending.tag) == Some(&number) {
            self.waiting.remove(&pending.tag);
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
            if matches!(pending.stage, Stage::InLine) {
                // Its wait ends with its deadline, and knows what has come of it.
            } else if matches!(pending.stage, Stage::Running(_)) {
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

/// How an operation goes: with what, and by which way.
fn classify(request: Request, forwards: bool) -> (Class, Stage) {
    match request {
        Request { work: Work::OpenClient, .. } => (Class::Alone, Stage::Single(request)),
        Request { work: Work::Read(Read { freshness, .. }), .. } if freshness.is_local() => {
            (Class::Read, Stage::Single(request))
        }
        Request { work: Work::Query { .. }, .. } => (Class::Read, Stage::Single(request)),
        request if forwards => (Class::Alone, Stage::Single(request)),
        Request { work: work @ Work::Read(_), .. } => (Class::Read, Stage::Batched(work)),
        Request { work: Work::Mutate { command, reply }, .. } => {
            let class = if is_throttled(&command) { Class::Mutation } else { Class::Unthrottled };
            (class, Stage::Batched(Work::Mutate { command, reply }))
        }
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
