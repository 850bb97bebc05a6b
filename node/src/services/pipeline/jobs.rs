//! What runs beside a stream: batches of reads, and operations by themselves.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_state::Clocks;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::schedule::Number;
use crate::services::answer::Reply;
use crate::services::backend::Backend;
use crate::services::executor::{Context, Executor};
use crate::services::lock::{self, Place};
use crate::services::read::{self, Found, Looked, Unserved};
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
    /// What waits for touches, and nothing else for it.
    pub(super) rest: Option<BoxFuture<'static, Done>>,
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

/// Runs one operation by itself. Where it is `withdrawn` it is left alone, as by a caller who goes away.
pub(super) async fn single<B: Backend>(
    executor: Executor<B>,
    (number, request): (Number, Request),
    original: Option<v1::Operation>,
    context: Context,
    withdrawn: CancellationToken,
) -> Done {
    let (set_aside, stake) = (set_aside(&request), request.stake);
    let answer = tokio::select! {
        biased;
        answer = executor.run(request, original, context) => answer,
        () = withdrawn.cancelled() => Err(reasons::withdrawn(stake)),
    };
    Done { set_aside, ended: vec![(number, answer.map_err(Unserved::Failed))], left: Vec::new(), rest: None }
}

/// Waits for the turn of a lock, until `deadline` or until it is `withdrawn`. When the stream goes, so does the place in
/// line.
pub(super) async fn wait<B: Backend>(
    backend: B,
    number: Number,
    place: Place,
    deadline: Instant,
    withdrawn: CancellationToken,
) -> Done {
    let locking = place.locking().clone();
    let late = reasons::deadline(true, locking.stake);
    let work = {
        let backend = backend.clone();
        move |gone| place.wait(backend, deadline, gone, withdrawn)
    };
    let wait = lock::attended(backend, locking, work);
    let taken = tokio::time::timeout_at(deadline, wait).await.unwrap_or_else(|_| Err(late.into()));
    Done { set_aside: 0, ended: vec![(number, taken)], left: Vec::new(), rest: None }
}

/// Answers reads as far as there is room; those whose sessions are due for a touch in a job of their own.
pub(super) async fn read_batch<B: Backend>(backend: B, batch: Vec<(Number, Read)>, room: usize) -> Done {
    let (numbers, reads): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let Looked { found, now } = read::look_up(&backend, &reads, room).await;
    let (mut ended, mut left, mut due) = (Vec::with_capacity(found.len()), Vec::new(), Vec::new());
    let mut due_bytes = 0_usize;
    for ((number, read), found) in numbers.into_iter().zip(reads).zip(found) {
        match found {
            Found::Answered(answer) => ended.push((number, answer)),
            Found::NoRoom => left.push((number, read)),
            Found::Due { answer_bytes } => {
                due_bytes = due_bytes.saturating_add(answer_bytes);
                due.push((number, read));
            }
        }
    }
    // The first answer of a batch may take more than there is.
    let due_room = due_bytes.min(room);
    let rest = (!due.is_empty()).then(|| touch_batch(backend, due, now, due_room).boxed());
    Done { set_aside: room - due_room, ended, left, rest }
}

/// Touches sessions, and answers the reads that are due for it.
async fn touch_batch<B: Backend>(
    backend: B,
    due: Vec<(Number, Read)>,
    now: Clocks,
    set_aside: usize,
) -> Done {
    let (numbers, reads): (Vec<_>, Vec<_>) = due.into_iter().unzip();
    let answers = read::touch(&backend, &reads, now).await;
    Done { set_aside, ended: numbers.into_iter().zip(answers).collect(), left: Vec::new(), rest: None }
}
