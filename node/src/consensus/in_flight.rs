//! Commands that are in the log, or on their way there, and have come to no result yet: bounded in bytes, whether anybody
//! waits for the result or not. A stall may last, and a caller whose time is up asks again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use quorate_state::Command;
use tokio::runtime::Handle;

use super::handle::is_throttled;
use crate::budget::{Budget, Permit};

/// What a command is taken to hold besides its encoded bytes: its entry, and who is told of its result.
const OVERHEAD_BYTES: u64 = 256;

/// The bounds.
#[derive(Debug)]
pub(crate) struct InFlight {
    throttled: Budget,
    /// For all else, so that what gives a lock back finds room when nothing else does.
    others: Budget,
}

/// Results, which hold room until the last has come, also when nobody waits for them any more.
pub(crate) struct Held<T: Send + 'static> {
    rest: Option<Rest<T>>,
}

struct Rest<T> {
    results: BoxStream<'static, T>,
    left: usize,
    _permit: Permit,
}

impl InFlight {
    /// Each of the two bounds is `bytes_max`.
    pub(crate) fn new(bytes_max: u64) -> Self {
        InFlight { throttled: Budget::new(bytes_max), others: Budget::new(bytes_max) }
    }

    /// Room for commands that are submitted together.
    pub(crate) fn budget(&self, commands: &[Command]) -> &Budget {
        if commands.iter().any(is_throttled) { &self.throttled } else { &self.others }
    }
}

/// What commands of so many encoded bytes each hold.
pub(crate) fn bytes_of(encoded: impl Iterator<Item = usize>) -> u64 {
    encoded.map(|bytes| OVERHEAD_BYTES.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))).sum()
}

impl<T> Rest<T> {
    /// Of all of it, above all the permit, to its end.
    async fn drain(mut self) {
        while self.results.next().await.is_some() {}
    }
}

impl<T: Send + 'static> Held<T> {
    /// Of `count` results, unless the stream ends before.
    pub(crate) fn new(results: BoxStream<'static, T>, count: usize, permit: Permit) -> Self {
        Held { rest: (count > 0).then_some(Rest { results, left: count, _permit: permit }) }
    }
}

impl<T: Send + 'static> Stream for Held<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let result = ready!(rest.results.poll_next_unpin(cx));
        rest.left -= 1;
        if rest.left == 0 || result.is_none() {
            self.rest = None;
        }
        Poll::Ready(result)
    }
}

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        // Without a runtime the node is gone.
        if let Some(rest) = self.rest.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(rest.drain());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn results_hold_room_until_the_last_has_come_whoever_waits() {
        let budget = Budget::new(10);
        let held = |results| Held::new(results, 2, budget.take(10).unwrap());
        let mut waited_for = held(stream::iter([1, 2]).boxed());
        assert_eq!((waited_for.next().await, budget.held()), (Some(1), 10));
        assert_eq!((waited_for.next().await, budget.held()), (Some(2), 0));
        assert_eq!(waited_for.next().await, None);

        let (first, second) = (oneshot::channel(), oneshot::channel());
        let results = stream::iter([first.1, second.1]).then(|result| async { result.await.unwrap() });
        drop(held(results.boxed()));
        first.0.send(1).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(budget.held(), 10, "one is still in the log");
        second.0.send(2).unwrap();
        // Time passes once nothing else is to be done.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(budget.held(), 0);
    }
}
