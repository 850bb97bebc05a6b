//! The stream of a connection: whatever callers have queued goes out as one message, answers find callers by tag.

use std::collections::HashMap;

use parking_lot::Mutex;
use prost::Message as _;
use quorate_proto::v1;
use tokio::sync::{mpsc, oneshot};

use crate::connection::{Answered, Broken, Queued};
use crate::dialler::{Inbound, Outbound, said};
use crate::error::{Error, MESSAGE_TOO_LARGE};

/// Operations in one message.
const BATCH_MAX: usize = 512;
/// A message is closed before it has more bytes than this, and what is longer goes alone: one operation that is too
/// long for some node must not take others with it.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// An operation that was sent and is not answered yet.
struct Sent {
    answer: oneshot::Sender<Answered>,
    /// The message it went with: how long that is, and whether there was nothing else in it.
    message_bytes: usize,
    alone: bool,
}

/// What was sent and is not answered yet, by tag.
type Unanswered = Mutex<HashMap<u64, Sent>>;

/// Why a stream ended.
struct Ending {
    reason: String,
    /// The error, when it was that a message is too long.
    too_large: Option<Error>,
}

impl From<&str> for Ending {
    fn from(reason: &str) -> Self {
        Ending { reason: reason.into(), too_large: None }
    }
}

impl Ending {
    fn broken(status: &tonic::Status) -> Self {
        let error = Error::from_status(status);
        let too_large = (error.reason() == Some(MESSAGE_TOO_LARGE)).then_some(error);
        Ending { reason: said(status), too_large }
    }

    /// What it means for each of those that wait. A node that finds a message too long reads neither that nor what
    /// comes after, so the longest one was not read; what others met with is not known.
    fn tell(self, unanswered: HashMap<u64, Sent>) {
        let longest = unanswered.values().map(|sent| sent.message_bytes).max();
        for (_, sent) in unanswered {
            let broken = match &self.too_large {
                Some(error) if Some(sent.message_bytes) == longest && sent.alone => {
                    Broken::TooLarge(Box::new(error.clone()))
                }
                Some(_) if Some(sent.message_bytes) == longest => Broken::NotSent(self.reason.clone()),
                _ => Broken::Lost(self.reason.clone()),
            };
            // A caller who has gone needs no answer.
            let _ = sent.answer.send(Err(broken));
        }
    }
}

/// Runs until the stream breaks or no client is left; says why. What is unanswered then is lost.
pub(crate) async fn pump(
    outbound: Outbound,
    inbound: Inbound,
    queued: &mut mpsc::Receiver<Queued>,
    heard: impl FnMut(),
) -> String {
    let unanswered = Unanswered::default();
    let ending = tokio::select! {
        // The node's own word on why it ends the stream comes before that the stream has ended.
        biased;
        ending = receive(inbound, &unanswered, heard) => ending,
        ending = send(&outbound, queued, &unanswered) => ending,
    };
    let reason = ending.reason.clone();
    ending.tell(unanswered.into_inner());
    reason
}

async fn send(outbound: &Outbound, queued: &mut mpsc::Receiver<Queued>, unanswered: &Unanswered) -> Ending {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    let mut next_tag = 0;
    loop {
        if queued.recv_many(&mut waiting, BATCH_MAX).await == 0 {
            return "no client uses it any more".into();
        }
        let (mut batch, mut cancel) = (Batch::default(), Vec::new());
        for queued in waiting.drain(..) {
            let (mut operation, answer, claim) = match queued {
                Queued::Operation { operation, answer, claim } => (operation, answer, claim),
                Queued::Cancel(claim) => {
                    cancel.extend(claim.tag());
                    continue;
                }
            };
            next_tag += 1;
            operation.tag = next_tag;
            let bytes = field_bytes(operation.encoded_len());
            if !batch.has_room(bytes) && !batch.take().send(outbound, unanswered).await {
                return "the pipeline is closed".into();
            }
            // What its caller gave up, or withdrew, before it was sent is not sent.
            if !answer.is_closed() && claim.take_for(next_tag) {
                batch.push(operation, bytes, answer);
            }
        }
        if !batch.send(outbound, unanswered).await || !send_cancel(outbound, cancel).await {
            return "the pipeline is closed".into();
        }
    }
}

/// Tells the node of callers who have gone, unless there are none; `false` when the stream is closed. In a message of its
/// own: the one with their operations may be as long as a message can be.
async fn send_cancel(outbound: &Outbound, cancel: Vec<u64>) -> bool {
    let message = v1::PipelineRequest { cancel, ..v1::PipelineRequest::default() };
    message.cancel.is_empty() || outbound.send(message).await.is_ok()
}

/// What goes out as one message.
#[derive(Default)]
struct Batch {
    operations: Vec<v1::Operation>,
    answers: Vec<oneshot::Sender<Answered>>,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, bytes: usize) -> bool {
        self.operations.is_empty() || self.bytes + bytes <= BATCH_BYTES_MAX
    }

    fn push(&mut self, operation: v1::Operation, bytes: usize, answer: oneshot::Sender<Answered>) {
        self.operations.push(operation);
        self.answers.push(answer);
        self.bytes += bytes;
    }

    fn take(&mut self) -> Batch {
        std::mem::take(self)
    }

    /// Sends it, unless it is empty; `false` when the stream is closed.
    async fn send(self, outbound: &Outbound, unanswered: &Unanswered) -> bool {
        if self.operations.is_empty() {
            return true;
        }
        let alone = self.operations.len() == 1;
        {
            let mut unanswered = unanswered.lock();
            for (operation, answer) in self.operations.iter().zip(self.answers) {
                unanswered.insert(operation.tag, Sent { answer, message_bytes: self.bytes, alone });
            }
        }
        let message = v1::PipelineRequest { operations: self.operations, ..v1::PipelineRequest::default() };
        outbound.send(message).await.is_ok()
    }
}

/// The bytes of a message's field that holds `bytes`: its key and its length come first.
fn field_bytes(bytes: usize) -> usize {
    1 + prost::length_delimiter_len(bytes) + bytes
}

async fn receive(mut inbound: Inbound, unanswered: &Unanswered, mut heard: impl FnMut()) -> Ending {
    loop {
        match inbound.message().await {
            Ok(Some(response)) => {
                heard();
                let mut unanswered = unanswered.lock();
                for answer in response.answers {
                    if let Some(waiting) = unanswered.remove(&answer.tag) {
                        let _ = waiting.answer.send(Ok(answer));
                    }
                }
            }
            Ok(None) => return "the node ended the pipeline".into(),
            Err(status) => return Ending::broken(&status),
        }
    }
}
