//! One watch, from its first message to why it ends.

use std::time::Duration;

use quorate_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::look::{Found, Place};
use super::wanted::Wanted;
use super::wire;
use crate::consensus::WaitError;
use crate::services::backend::Backend;
use crate::services::failure::Failure;
use crate::services::reasons::{self, Stake};

/// A watcher hears its cursor this often, or the events that it does not want would carry it out of what is kept.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// A watcher that takes nothing for so long while something waits for it is ended.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Under load this much happens between two looks: a watcher then costs the same however much there is to apply.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

type Sender = mpsc::Sender<Result<v1::WatchResponse, Status>>;

/// One watch.
pub(super) struct Follower<B> {
    backend: B,
    wanted: Wanted,
    place: Place,
    stop: CancellationToken,
}

/// Why a watch ends: with this, or because nobody listens any more.
type End = Option<Failure>;

impl<B: Backend> Follower<B> {
    pub(super) fn new(backend: B, wanted: Wanted, place: Place, stop: CancellationToken) -> Self {
        Follower { backend, wanted, place, stop }
    }

    /// Follows until the watch ends; says why, unless the watcher is gone.
    pub(super) async fn run(mut self, sender: &Sender) -> Option<Failure> {
        match self.follow(sender).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn follow(&mut self, sender: &Sender) -> Result<std::convert::Infallible, End> {
        self.room(sender).await?.send(Ok(self.message(Found::default())));
        let mut told = Instant::now();
        loop {
            let room = self.room(sender).await?;
            let looked = Instant::now();
            let found = self.place.look(&self.backend, &self.wanted).map_err(Some)?;
            let (more, index) = (found.more, found.index);
            if !found.events.is_empty() || told.elapsed() >= PROGRESS_INTERVAL {
                room.send(Ok(self.message(found)));
                told = Instant::now();
            } else {
                drop(room);
            }
            if more {
                tokio::task::yield_now().await;
            } else {
                self.wait(sender, index, told + PROGRESS_INTERVAL).await?;
                self.pause(sender, looked + LOOK_INTERVAL).await?;
            }
        }
    }

    fn message(&self, found: Found) -> v1::WatchResponse {
        let cluster = self.backend.cluster_id();
        let events = found.events.iter();
        let events = events.map(|event| wire::event(cluster, event, self.wanted.attributes)).collect();
        v1::WatchResponse { events, cursor: Some(wire::cursor(cluster, self.place.cursor)) }
    }

    /// Waits for room for a message.
    async fn room<'s>(
        &self,
        sender: &'s Sender,
    ) -> Result<mpsc::Permit<'s, Result<v1::WatchResponse, Status>>, End> {
        let reserved = self.unless_stopped(tokio::time::timeout(PATIENCE, sender.reserve())).await?;
        match reserved {
            Ok(reserved) => reserved.map_err(|_| None),
            Err(_) => Err(Some(reasons::slow_consumer(PATIENCE))),
        }
    }

    /// Waits until more than `index` is applied, or until `deadline`.
    async fn wait(&self, sender: &Sender, index: u64, deadline: Instant) -> Result<(), End> {
        let next = index.saturating_add(1);
        let applied = self.backend.wait_applied(next, deadline.saturating_duration_since(Instant::now()));
        match self.unless_gone(sender, applied).await? {
            Ok(()) | Err(WaitError::Timeout { .. }) => Ok(()),
            Err(WaitError::Stopped(why)) => Err(Some(reasons::stopping(&why, Stake::Read))),
        }
    }

    async fn pause(&self, sender: &Sender, until: Instant) -> Result<(), End> {
        if until <= Instant::now() {
            return Ok(());
        }
        self.unless_gone(sender, tokio::time::sleep_until(until)).await
    }

    async fn unless_gone<T>(&self, sender: &Sender, wait: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            biased;
            () = sender.closed() => Err(None),
            done = self.unless_stopped(wait) => done,
        }
    }

    async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                Err(Some(reasons::stopping("watch on from the last cursor at another node", Stake::Read)))
            }
            done = wait => Ok(done),
        }
    }
}
