//! Pauses between tries: short at first, doubling, with jitter so that callers do not come back all at once.

use std::time::Duration;

use rand::Rng as _;

const FIRST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(60);

/// Pauses that grow.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// The pauses of one call.
    pub(crate) fn new() -> Self {
        Self::between(FIRST, LONGEST)
    }

    /// The first pause, and the longest.
    pub(crate) fn between(first: Duration, longest: Duration) -> Self {
        Backoff { next: first, longest }
    }

    /// The next pause: between half of it and all of it.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..1.0));
        self.next = (self.next * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::new();
        let first = backoff.pause();
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let last = (0..20).map(|_| backoff.pause()).last().unwrap();
        assert!(last >= LONGEST / 2 && last <= LONGEST, "{last:?}");
    }
}
