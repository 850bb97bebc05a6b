//! Witness: who has the lock as its callers see it, and how long each hand-over takes.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::bench::tally::{histogram, record};

/// The lock went to somebody whose turn it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disorder {
    /// Two callers had it at once.
    #[error("token {taken} was given out while token {held} held the lock")]
    TwoHolders {
        /// Whoever had it.
        held: u64,
        /// Whoever got it too.
        taken: u64,
    },
    /// Tokens are places in line, so they grow from holder to holder.
    #[error("token {taken} was given out after token {before}")]
    Overtaken {
        /// The holder before.
        before: u64,
        /// Whoever came out of turn.
        taken: u64,
    },
}

/// The hand-overs of one measurement.
#[derive(Debug)]
pub(crate) struct HandOvers {
    /// From the beginning of the measurement to the last hand-over counted.
    pub(crate) elapsed: Duration,
    /// From before the holder sends its Unlock until the next one's call for the lock has returned, nanoseconds.
    pub(crate) latencies_ns: Histogram<u64>,
    /// The fewest callers whose call for the lock was under way when it was given back.
    pub(crate) waiters_min: u32,
}

/// Sees every call. All of them are in this process, so one monotonic clock times them.
#[derive(Debug)]
pub(crate) struct Witness {
    /// From when and until when what begins is counted; not known before the line is full.
    window: Option<(Instant, Instant)>,
    holder: Option<u64>,
    last: u64,
    released: Option<Instant>,
    /// Calls for the lock that have not returned.
    asking: u32,
    counted: HandOvers,
}

impl Default for Witness {
    fn default() -> Witness {
        let counted = HandOvers { elapsed: Duration::ZERO, latencies_ns: histogram(), waiters_min: u32::MAX };
        Witness { window: None, holder: None, last: 0, released: None, asking: 0, counted }
    }
}

impl Witness {
    /// Counts the hand-overs that begin from `from` on and before `until`.
    pub(crate) fn count(&mut self, from: Instant, until: Instant) {
        self.window = Some((from, until));
    }

    /// Counts none that begin from `now` on.
    pub(crate) fn end(&mut self, now: Instant) {
        self.window = self.window.map(|(from, until)| (from, until.min(now)));
    }

    /// Whether the measurement has begun.
    pub(crate) fn has_begun(&self, now: Instant) -> bool {
        self.window.is_some_and(|(from, _)| from <= now)
    }

    /// Hand-overs counted so far.
    pub(crate) fn hand_overs(&self) -> u64 {
        self.counted.latencies_ns.len()
    }

    /// A caller asks for the lock.
    pub(crate) fn asks(&mut self) {
        self.asking += 1;
    }

    /// Its call returned at `now`: it has the lock, with this token. `false` when the time is over.
    ///
    /// # Errors
    ///
    /// [`Disorder`]: it should not have it.
    pub(crate) fn takes(&mut self, taken: u64, now: Instant) -> Result<bool, Disorder> {
        self.asking = self.asking.saturating_sub(1);
        if let Some(held) = self.holder {
            return Err(Disorder::TwoHolders { held, taken });
        }
        if taken <= self.last {
            return Err(Disorder::Overtaken { before: self.last, taken });
        }
        (self.holder, self.last) = (Some(taken), taken);
        let Some((from, until)) = self.window else { return Ok(true) };
        if let Some(released) = self.released
            && (from..until).contains(&released)
        {
            record(&mut self.counted.latencies_ns, now.saturating_duration_since(released));
            self.counted.elapsed = now.saturating_duration_since(from);
        }
        Ok(now < until)
    }

    /// The holder is about to send its Unlock.
    pub(crate) fn releases(&mut self, now: Instant) {
        self.holder = None;
        self.released = Some(now);
        if self.window.is_some_and(|(from, until)| (from..until).contains(&now)) {
            self.counted.waiters_min = self.counted.waiters_min.min(self.asking);
        }
    }

    /// What was counted.
    pub(crate) fn finish(self) -> HandOvers {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn hand_overs_that_begin_within_the_window_are_counted_to_their_end() {
        let (mut witness, start) = (Witness::default(), Instant::now());
        (0..3).for_each(|_| witness.asks());
        assert_eq!(witness.takes(4, start), Ok(true));
        witness.releases(start);
        assert_eq!(witness.takes(5, start + MS), Ok(true), "before it begins");
        witness.count(start + 2 * MS, start + 10 * MS);
        assert!(!witness.has_begun(start + MS) && witness.has_begun(start + 2 * MS));
        witness.asks();
        witness.releases(start + 2 * MS);
        assert_eq!(witness.takes(6, start + 5 * MS), Ok(true));
        witness.releases(start + 9 * MS);
        assert_eq!(witness.takes(9, start + 16 * MS), Ok(false), "the time is over");
        witness.releases(start + 17 * MS);
        let counted = witness.finish();
        assert_eq!((counted.latencies_ns.len(), counted.elapsed), (2, 14 * MS));
        assert_eq!(counted.waiters_min, 1);
        let (least, most) = (counted.latencies_ns.min(), counted.latencies_ns.max());
        assert!((2_990_000..=3_010_000).contains(&least), "{least}");
        assert!((6_990_000..=7_010_000).contains(&most), "{most}");
    }

    #[test]
    fn a_measurement_can_be_cut_short() {
        let (mut witness, start) = (Witness::default(), Instant::now());
        witness.count(start, start + 10 * MS);
        witness.end(start + 2 * MS);
        witness.end(start + 20 * MS);
        assert_eq!(witness.takes(1, start + MS), Ok(true));
        witness.releases(start + 2 * MS);
        assert_eq!(witness.takes(2, start + 3 * MS), Ok(false));
        assert_eq!(witness.hand_overs(), 0);
    }

    #[test]
    fn two_holders_are_noticed() {
        let (mut witness, now) = (Witness::default(), Instant::now());
        assert_eq!(witness.takes(6, now), Ok(true));
        assert_eq!(witness.takes(7, now), Err(Disorder::TwoHolders { held: 6, taken: 7 }));
    }

    #[test]
    fn a_token_that_does_not_grow_is_noticed() {
        for taken in [5, 6] {
            let (mut witness, now) = (Witness::default(), Instant::now());
            assert_eq!(witness.takes(6, now), Ok(true));
            witness.releases(now);
            assert_eq!(witness.takes(taken, now), Err(Disorder::Overtaken { before: 6, taken }));
        }
    }
}
