//! What of a stream starts when.

use futures_util::FutureExt as _;
use prost::Message as _;
use quorate_proto::v1;

use super::jobs;
use super::line::{ANSWER_BYTES_MAX, BATCH_ANSWER_BYTES, Line};
use super::pending::Stage;
use super::schedule::Number;
use crate::consensus::{Leader, is_throttled};
use crate::services::backend::Backend;
use crate::services::executor::Context;
use crate::services::lock::Place;
use crate::services::read::Unserved;
use crate::services::reasons::Stake;
use crate::services::request::{Read, Request, Work};

impl<B: Backend> Line<B> {
    /// Starts whatever may start.
    pub(super) fn dispatch(&mut self) {
        if self.schedule.has_ready() {
            self.start_ready();
        }
        if !self.reads.is_empty() {
            self.start_reads();
        }
        self.outbox.start(self.executor.backend());
        self.unthrottled.start(self.executor.backend());
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
                    let outbox =
                        if is_throttled(&command) { &mut self.outbox } else { &mut self.unthrottled };
                    outbox.push(number, command);
                }
                // Never batched, see `admit`.
                Stage::Batched(work @ (Work::OpenClient | Work::Query { .. })) => {
                    self.single(number, Request { work, stake: Stake::Once })
                }
                stage @ (Stage::Batched(Work::Read(_))
                | Stage::Single(Request { work: Work::Read(_) | Work::Query { .. }, .. })) => {
                    pending.stage = stage;
                    self.reads.push_back(number);
                }
                Stage::Single(request) => self.single(number, request),
                Stage::Again => self.again(number, leader.clone()),
                running @ (Stage::Running(_) | Stage::InLine) => pending.stage = running,
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
    pub(super) fn single(&mut self, number: Number, request: Request) {
        if request.waits() {
            // What gives the lock back may be behind it.
            self.schedule.finish(number);
        }
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let context = Context { deadline: pending.deadline, redirect: self.redirect, forwarded: false };
        let original = pending.original.take().and_then(|bytes| v1::Operation::decode(&*bytes).ok());
        self.reading += jobs::set_aside(&request);
        let withdrawn = pending.withdrawn.clone().unwrap_or_default();
        let single = jobs::single(self.executor.clone(), (number, request), original, context, withdrawn);
        self.jobs.push(single.boxed());
    }

    /// A lock stands in line: it leaves its lane and waits for its turn.
    pub(super) fn stand_in_line(&mut self, number: Number, place: Place) {
        self.schedule.finish(number);
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let backend = self.executor.backend().clone();
        pending.stage = Stage::InLine;
        let withdrawn = pending.withdrawn.clone().unwrap_or_default();
        self.jobs.push(jobs::wait(backend, number, place, pending.deadline, withdrawn).boxed());
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
}
