//! When one address may be dialled again: all callers together, not each of them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;

const FIRST: Duration = Duration::from_millis(10);
/// A node that comes back is noticed within this.
const LONGEST: Duration = Duration::from_secs(1);

/// The pauses between the dials of one address.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    backoff: Backoff,
    rest: Option<Rest>,
}

/// A time in which an address is not dialled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rest {
    pub(crate) until: Instant,
    /// What the last dial met.
    pub(crate) reason: Arc<str>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace { state: Mutex::new(State { backoff: Backoff::between(FIRST, LONGEST), rest: None }) }
    }

    /// A connection brought no answer: the next dial waits, longer each time.
    pub(crate) fn failed(&self, reason: &str, now: Instant) {
        let mut state = self.state.lock();
        let until = now + state.backoff.pause();
        state.rest = Some(Rest { until, reason: reason.into() });
    }

    /// The node answered: when this connection breaks, the next dial need not wait.
    pub(crate) fn answered(&self) {
        *self.state.lock() = State { backoff: Backoff::between(FIRST, LONGEST), rest: None };
    }

    /// Until when it is not dialled, and why not.
    pub(crate) fn rest(&self, now: Instant) -> Option<Rest> {
        self.state.lock().rest.clone().filter(|rest| rest.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_and_end_with_an_answer() {
        let pace = Pace::new();
        let mut now = Instant::now();
        assert_eq!(pace.rest(now), None);
        let mut rests = Vec::new();
        for _ in 0..12 {
            pace.failed("refused", now);
            let rest = pace.rest(now).unwrap();
            assert_eq!(rest.reason.as_ref(), "refused");
            rests.push(rest.until - now);
            now = rest.until;
            assert_eq!(pace.rest(now), None);
        }
        assert!(rests[0] <= FIRST && rests[11] >= LONGEST / 2 && rests[11] <= LONGEST, "{rests:?}");
        pace.failed("refused", now);
        pace.answered();
        assert_eq!(pace.rest(now), None);
        pace.failed("refused", now);
        assert!(pace.rest(now).unwrap().until - now <= FIRST);
    }
}
