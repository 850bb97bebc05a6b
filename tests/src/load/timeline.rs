//! When writes were acknowledged.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The moments of all acknowledgements of all writers. Shared by them.
#[derive(Debug, Default)]
pub struct Timeline {
    acknowledged: Mutex<Vec<Instant>>,
}

/// A time without an acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last acknowledgement before it.
    pub from: Instant,
    /// The first one after it.
    pub to: Instant,
}

impl Gap {
    /// How long it lasted.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

impl Timeline {
    /// Notes an acknowledgement now.
    pub fn note(&self) {
        let mut all = self.acknowledged.lock();
        // Under the lock, so that the moments are in order.
        all.push(Instant::now());
    }

    /// Acknowledgements so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.acknowledged.lock().len()
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last acknowledgement.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.acknowledged.lock().last().copied()
    }

    /// The first acknowledgement after `moment`.
    #[must_use]
    pub fn next_after(&self, moment: Instant) -> Option<Instant> {
        let all = self.acknowledged.lock();
        all.get(all.partition_point(|at| *at <= moment)).copied()
    }

    /// Acknowledgements after `moment`.
    #[must_use]
    pub fn since(&self, moment: Instant) -> usize {
        let all = self.acknowledged.lock();
        all.len() - all.partition_point(|at| *at <= moment)
    }

    /// The longest time between two acknowledgements.
    #[must_use]
    pub fn longest_gap(&self) -> Option<Gap> {
        let all = self.acknowledged.lock();
        let gaps = all.windows(2).filter_map(|pair| match pair {
            [from, to] => Some(Gap { from: *from, to: *to }),
            _ => None,
        });
        gaps.max_by_key(Gap::length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let timeline = Timeline { acknowledged: Mutex::new([0, 10, 20, 250, 260].map(at).into()) };
        let gap = timeline.longest_gap().unwrap();
        assert_eq!(gap, Gap { from: at(20), to: at(250) });
        assert_eq!(gap.length(), Duration::from_millis(230));
        assert_eq!((timeline.next_after(at(20)), timeline.next_after(at(260))), (Some(at(250)), None));
        assert_eq!((timeline.since(at(20)), timeline.since(at(260))), (2, 0));
    }
}
