//! A connection to one node, from the dial to its end, and a call over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_proto::v1;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tonic::transport::Endpoint;

use crate::dialler::{Dialler, Learn};
use crate::error::Error;
use crate::pace::Pace;
use crate::pipeline::pump;
use crate::presence::Presence;

/// Far above a round trip on a LAN, and short enough to try another node within a failover. The dial goes on.
const PATIENCE: Duration = Duration::from_millis(200);
/// Operations queued or unanswered on one connection; more callers wait. A server reads no further at 4,096.
const IN_FLIGHT_MAX: usize = 4_000;
/// The longest message that a server takes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The longest operation, as its request is encoded: around it go a tag, a time limit, a request id, and lengths.
pub(crate) const OPERATION_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 128;
/// Why an operation on a connection has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Broken {
    /// It never left this process.
    NotSent(String),
    /// Nor did this: the node is still being dialled, and that takes long.
    Dialling,
    /// It was sent; the node may have taken it.
    Lost(String),
    /// No answer in time. Unless it was sent it never will be.
    TimedOut { sent: bool },
    /// The node did not read it: it is too long. It is so for every try.
    TooLarge(Box<Error>),
}

pub(crate) type Answered = Result<v1::Answer, Broken>;

/// What is on its way to the node.
#[allow(clippy::large_enum_variant, reason = "moved once; most are operations")]
pub(crate) enum Queued {
    Operation {
        operation: v1::Operation,
        answer: oneshot::Sender<Answered>,
        claim: Claim,
    },
    /// The caller of an operation that waits at the node has gone: it comes behind that.
    Cancel(Claim),
}

/// Who was first: the connection that sends an operation, or the caller who withdraws it. Without it a caller could
/// take for unsent what is sent a moment later.
#[derive(Clone, Default)]
pub(crate) struct Claim(Arc<Claimed>);

#[derive(Default)]
struct Claimed {
    taken: AtomicBool,
    /// Under which it was sent; 0: not sent.
    tag: AtomicU64,
}

impl Claim {
    /// Whether it was free; from now on it is taken.
    pub(crate) fn take(&self) -> bool {
        !self.0.taken.swap(true, Ordering::AcqRel)
    }

    /// As [`Self::take`], by the connection, which sends it under `tag`.
    pub(crate) fn take_for(&self, tag: u64) -> bool {
        let taken = self.take();
        if taken {
            self.0.tag.store(tag, Ordering::Relaxed);
        }
        taken
    }

    /// The tag under which it was sent, as its connection knows it.
    pub(crate) fn tag(&self) -> Option<u64> {
        Some(self.0.tag.load(Ordering::Relaxed)).filter(|tag| *tag > 0)
    }
}

/// How far a connection has come.
#[derive(Clone, Debug)]
enum Stage {
    Dialling,
    Open,
    Ended(String),
}

/// A connection; clones share it. It dials at once and never again: a broken one is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<Queued>,
    room: Semaphore,
    begun: Instant,
    stage: watch::Receiver<Stage>,
    silence: Arc<Silence>,
}

/// Since when a node has let calls time out without answering any.
#[derive(Debug, Default)]
struct Silence {
    since: Mutex<Option<Instant>>,
}

impl Connection {
    /// Starts dialling `endpoint` in the background. `pace` is told how it goes.
    pub(crate) fn open(dialler: Dialler, endpoint: Endpoint, pace: Arc<Pace>, learn: Learn) -> Self {
        let (queue, queued) = mpsc::channel(IN_FLIGHT_MAX);
        let (told, stage) = watch::channel(Stage::Dialling);
        let silence = Arc::new(Silence::default());
        let line = Line { pace, told, silence: Arc::clone(&silence) };
        tokio::spawn(line.run(dialler, endpoint, queued, learn));
        let room = Semaphore::new(IN_FLIGHT_MAX);
        Connection { inner: Arc::new(Inner { queue, room, begun: Instant::now(), stage, silence }) }
    }

    /// Whether `other` is this connection, and not one that replaced it.
    pub(crate) fn is(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether it has broken.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.queue.is_closed()
    }

    /// Whether it is being dialled for so long that others should be asked first.
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(*self.inner.stage.borrow(), Stage::Dialling) && self.inner.begun.elapsed() >= PATIENCE
    }

    /// A call timed out: for how long no call has been answered since one did.
    pub(crate) fn silent(&self) -> Duration {
        self.inner.silence.since.lock().get_or_insert_with(Instant::now).elapsed()
    }

    /// Sends an operation and waits for its answer, until `until` at most. The tag is set on the way. When its caller
    /// goes the node is told that nobody waits any more, and answers soon.
    pub(crate) async fn call(
        &self,
        operation: v1::Operation,
        until: Instant,
        presence: &Presence,
    ) -> Answered {
        self.wait_open(until).await?;
        let claim = Claim::default();
        let asked = async {
            let closed = || Broken::NotSent(self.why_ended());
            // Held until this call ends.
            let _room = self.inner.room.acquire().await.map_err(|_| closed())?;
            let (answer, mut answered) = oneshot::channel();
            let queued = Queued::Operation { operation, answer, claim: claim.clone() };
            self.inner.queue.send(queued).await.map_err(|_| closed())?;
            let gone = async {
                presence.gone().await;
                // A connection that has broken tells by the answer.
                let _ = self.inner.queue.send(Queued::Cancel(claim.clone())).await;
                std::future::pending().await
            };
            let answered = tokio::select! {
                answered = &mut answered => answered,
                never = gone => never,
            };
            match answered {
                Ok(answered) => answered,
                Err(_) if claim.take() => Err(closed()),
                Err(_) => Err(Broken::Lost("the connection is gone".into())),
            }
        };
        timeout_at(until, asked).await.unwrap_or_else(|_| Err(Broken::TimedOut { sent: !claim.take() }))
    }

    /// Waits while it is dialled, for as long as a caller is to be kept from other nodes.
    async fn wait_open(&self, until: Instant) -> Result<(), Broken> {
        if !matches!(*self.inner.stage.borrow(), Stage::Dialling) {
            return Ok(());
        }
        let mut stage = self.inner.stage.clone();
        let dialled = stage.wait_for(|stage| !matches!(stage, Stage::Dialling));
        // Its task is gone when the channel is closed: the queue says so too.
        timeout_at(until.min(Instant::now() + PATIENCE), dialled)
            .await
            .map_or(Err(Broken::Dialling), |_| Ok(()))
    }

    fn why_ended(&self) -> String {
        match &*self.inner.stage.borrow() {
            Stage::Ended(reason) => reason.clone(),
            Stage::Dialling | Stage::Open => "the connection is closed".into(),
        }
    }
}

/// The task's side of a connection.
struct Line {
    pace: Arc<Pace>,
    told: watch::Sender<Stage>,
    silence: Arc<Silence>,
}

impl Line {
    async fn run(
        self,
        dialler: Dialler,
        endpoint: Endpoint,
        mut queued: mpsc::Receiver<Queued>,
        learn: Learn,
    ) {
        let mut answered = false;
        let reason = match dialler.dial(endpoint, learn).await {
            Ok((outbound, inbound)) => {
                self.told.send_replace(Stage::Open);
                let heard = || {
                    // Only now: a proxy takes a stream for a node that is down.
                    if !std::mem::replace(&mut answered, true) {
                        self.pace.answered();
                    }
                    *self.silence.since.lock() = None;
                };
                pump(outbound, inbound, &mut queued, heard).await
            }
            Err(reason) => reason,
        };
        tracing::debug!(reason, "a connection ended");
        // Before any caller can know of it, or they would all dial at once.
        if !answered {
            self.pace.failed(&reason, Instant::now());
        }
        self.told.send_replace(Stage::Ended(reason.clone()));
        queued.close();
        while let Some(left) = queued.recv().await {
            if let Queued::Operation { answer, .. } = left {
                // A caller who has gone needs no answer.
                let _ = answer.send(Err(Broken::NotSent(reason.clone())));
            }
        }
    }
}
