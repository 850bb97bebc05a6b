//! What runs beside a stream: batches of reads, and operations by themselves.

use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;

use tokio::time::Instant;

use super::schedule::Number;
use crate::services::answer::Reply;
use crate::services::backend::Backend;
use crate::services::executor::{Context, Executor};
use crate::services::lock::{self, Place};
use crate::services::read::{self, Unserved};
use crate::services::reasons;
use crate::services::request::{Read, Request, Work};

/// What is set aside for the answer of a read that runs by itself, whatever it will be: nobody knows before.
const SINGLE_ANSWER_BYTES: usize = 128 << 10;
/// And for a list: of a thousand sessions, with as many bytes each.
const LIST_ANSWER_BYTES: usize = 512 << 10;

/// What a job has come to.
pub(super) struct Done {
    /// The room for answers that was set aside for it.
    pub(super) set_aside: usize,
    pub(super) ended: Vec<(Number, Result<Answer, Unserved>)>,
    /// Reads whose answers found no room.
    pub(super) left: Vec<(Number, Read)>,
}

/// The room for its answer that a request needs which runs by itself. Those of mutations are small.
pub(super) fn set_aside(request: &Request) -> usize {
    match &request.work {
        Work::Read(_) => SINGLE_ANSWER_BYTES,
        Work::Query { .. } => LIST_ANSWER_BYTES,
        // Of a lock, the session may come with it.
        Work::Mutate { reply: Reply::Lock(locking), .. } if locking.get.is_some() => SINGLE_ANSWER_BYTES,
        Work::Mutate { .. } | Work::OpenClient => 0,
    }
}

/// Runs one operation by itself.
pub(super) async fn single<B: Backend>(
    executor: Executor<B>,
    (number, request): (Number, Request),
    original: Option<v1::Operation>,
    context: Context,
) -> Done {
    let set_aside = set_aside(&request);
    let answer = executor.run(request, original, context).await;
    Done { set_aside, ended: vec![(number, answer.map_err(Unserved::Failed))], left: Vec::new() }
}

/// Waits for the turn of a lock, until `deadline`. When the stream goes, so does the place in line.
pub(super) async fn wait<B: Backend>(backend: B, number: Number, place: Place, deadline: Instant) -> Done {
    let locking = place.locking().clone();
    let late = reasons::deadline(true, locking.stake);
    let wait = lock::attended(backend.clone(), locking, move |gone| place.wait(backend, deadline, gone));
    let taken = tokio::time::timeout_at(deadline, wait).await.unwrap_or_else(|_| Err(late.into()));
    Done { set_aside: 0, ended: vec![(number, taken)], left: Vec::new() }
}

/// Answers reads as far as there is room.
pub(super) async fn read_batch<B: Backend>(backend: B, batch: Vec<(Number, Read)>, room: usize) -> Done {
    let (numbers, reads): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let answers = read::linearizable(&backend, &reads, room).await;
    let mut done = Done { set_aside: room, ended: Vec::with_capacity(answers.len()), left: Vec::new() };
    for ((number, read), answer) in numbers.into_iter().zip(reads).zip(answers) {
        match answer {
            Some(answer) => done.ended.push((number, answer)),
            None => done.left.push((number, read)),
        }
    }
    done
}
