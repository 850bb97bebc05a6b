//! `Sessions.Watch`: what happens to the sessions of a namespace, in order, from this node's own replica.
//!
//! # Layout
//!
//! ```text
//! wanted   what a watcher asks for, checked; which events those are     (pure)
//! look     a bounded look at the state, under its shared lock
//! wire     an event and a cursor as messages                            (pure)
//! follow   one watch: looks, sends, waits, gives up
//! ```
//!
//! # What a watcher may rely on
//!
//! - It is served by any node, leader or not, and never forwarded. A node that is behind serves what it has applied.
//! - The first message comes at once and names the place where the watch begins. All events behind that place come, each
//!   once and in order, until the stream ends; which also ends when they cannot be told any more.
//! - Without `after` the watch begins where this node stands. A write that was acknowledged before the call may lie behind
//!   that place, on a follower, and is then told; what is never promised is that it is not. Whoever must see all writes
//!   that he makes from now on waits for the first message before he makes them.
//! - A cursor is good on every node of the cluster. On one that has not come so far the watch waits until it has, also for
//!   the namespace to be known: a watcher that has just created one passes the position of that as `after`.
//! - It slows nothing: all it takes of the state is its shared lock, for a bounded look at a time; and a watcher that does
//!   not keep up is ended.

mod follow;
mod look;
mod wanted;
mod wire;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use quorate_proto::v1;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::backend::Backend;
use super::failure::Failure;
use super::reasons;
use follow::Follower;
use look::Place;
use wanted::Wanted;

/// What a watch sends.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

/// Watches on one node at once.
const WATCHES_MAX: usize = 256;
/// Messages of one watch that wait for its connection.
const MESSAGES_MAX: usize = 1;

/// The watches of one node.
#[derive(Clone, Debug)]
pub(crate) struct Watches {
    free: Arc<Semaphore>,
    /// Cancelled when the node stops.
    stop: CancellationToken,
}

impl Watches {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Watches { free: Arc::new(Semaphore::new(WATCHES_MAX)), stop }
    }

    /// Begins a watch. It ends with an error only: when the watcher does not keep up, the namespace is gone, or the node
    /// stops.
    ///
    /// # Errors
    /// [`Failure`]: what is asked for makes no sense, or is not there.
    pub(crate) fn watch<B: Backend>(
        &self,
        backend: &B,
        request: &v1::WatchRequest,
    ) -> Result<WatchStream, Failure> {
        let wanted = Wanted::parse(request)?;
        let slot = Arc::clone(&self.free).try_acquire_owned();
        let slot = slot.map_err(|_| reasons::too_many_watches(WATCHES_MAX))?;
        let place = Place::begin(backend, &wanted, request.after)?;
        // One more than wait: room for why the watch ends.
        let (sender, messages) = mpsc::channel(MESSAGES_MAX + 1);
        let last_word = sender.clone().try_reserve_owned();
        let last_word = last_word.map_err(|_| reasons::internal("a new channel has no room"))?;
        let follower = Follower::new(backend.clone(), wanted, place, self.stop.clone());
        tokio::spawn(async move {
            if let Some(failure) = follower.run(&sender).await {
                last_word.send(Err(failure.into_status()));
            }
            drop(slot);
        });
        Ok(Box::pin(ReceiverStream::new(messages)))
    }
}
