//! What wall clocks say together.

use std::time::Duration;

use quorate_state::ClusterTime;

use super::anchor::to_ms;

/// No outage is counted as longer: no timeout is, so it would make no difference to anybody but a victim of wrong
/// clocks.
pub(crate) const OUTAGE_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;

/// When a state does not tell how long before its last entry the last Tick was: a leader ticks each second, and another
/// one is for the Tick to be applied.
const UNTICKED_MS: u64 = 2_000;

/// One node's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WallReading {
    pub(crate) wall_ms: u64,
    /// It was read at or after this moment of this node's boot clock
    pub(crate) asked: Duration,
    /// and at or before this one.
    pub(crate) answered: Duration,
}

/// The median wall clock, tied to this node's boot clock, as the interval in which it lies. Of an even number of clocks
/// there are two medians, and between two clocks nobody can tell which of them is wrong; and a reading is as inexact as
/// its answer took. Each use takes the end that ends no session early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walls {
    low: Duration,
    high: Duration,
    boottime: Duration,
}

impl Walls {
    /// The median as of `boottime`; `None` without a reading.
    pub(crate) fn median(readings: &[WallReading], boottime: Duration) -> Option<Walls> {
        let sorted = |read_at: fn(&WallReading) -> Duration| {
            let now = |reading: &WallReading| {
                let since = boottime.saturating_sub(read_at(reading));
                Duration::from_millis(reading.wall_ms).saturating_add(since)
            };
            let mut walls: Vec<Duration> = readings.iter().map(now).collect();
            walls.sort_unstable();
            walls
        };
        let low = sorted(|reading| reading.answered);
        let high = sorted(|reading| reading.asked);
        Some(Walls {
            low: *low.get(low.len().checked_sub(1)? / 2)?,
            high: *high.get(high.len() / 2)?,
            boottime,
        })
    }

    /// The lower end at `boottime`.
    pub(crate) fn low(&self, boottime: Duration) -> Duration {
        self.low.saturating_add(boottime.saturating_sub(self.boottime))
    }

    /// The upper end at `boottime`.
    pub(crate) fn high(&self, boottime: Duration) -> Duration {
        self.high.saturating_add(boottime.saturating_sub(self.boottime))
    }

    /// [`Self::low`], in milliseconds since the Unix epoch.
    pub(crate) fn low_ms(&self, boottime: Duration) -> u64 {
        to_ms(self.low(boottime))
    }

    /// [`Self::high`], in milliseconds since the Unix epoch.
    pub(crate) fn high_ms(&self, boottime: Duration) -> u64 {
        to_ms(self.high(boottime))
    }
}

/// What a Tick has said: which wall time belongs to which cluster time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TickedAt {
    pub(crate) cluster: ClusterTime,
    pub(crate) wall_ms: u64,
}

impl TickedAt {
    /// The last Tick of a state that was loaded with it.
    pub(crate) fn before(clock: ClusterTime, wall_ms: u64) -> TickedAt {
        TickedAt { cluster: ClusterTime(clock.0.saturating_sub(UNTICKED_MS)), wall_ms }
    }
}

/// How far `clock`, the state's, must jump after an outage of the whole cluster: the wall time since the last Tick, less
/// what the clock had advanced after that Tick.
pub(crate) fn outage_ms(ticked: TickedAt, clock: ClusterTime, wall_ms: u64) -> u64 {
    if ticked.wall_ms == 0 {
        // There never was a Tick: whatever there is, is a second old in the life of this cluster.
        return 0;
    }
    let counted = clock.0.saturating_sub(ticked.cluster.0);
    wall_ms.saturating_sub(ticked.wall_ms).saturating_sub(counted).min(OUTAGE_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn medians(walls_ms: &[u64]) -> (u64, u64) {
        let boottime = Duration::from_secs(7);
        let readings: Vec<_> = walls_ms
            .iter()
            .map(|wall_ms| WallReading { wall_ms: *wall_ms, asked: boottime, answered: boottime })
            .collect();
        let walls = Walls::median(&readings, boottime).unwrap();
        (walls.low_ms(boottime), walls.high_ms(boottime))
    }

    #[test]
    fn one_wrong_clock_of_three_does_not_count() {
        assert_eq!(medians(&[NOON + HOUR, NOON, NOON + 3]), (NOON + 3, NOON + 3));
        assert_eq!(medians(&[NOON, NOON - HOUR, NOON + 3]), (NOON, NOON));
        assert_eq!(medians(&[NOON, 0, u64::MAX]), (NOON, NOON));
        assert_eq!(medians(&[NOON, NOON - HOUR, NOON + 3, NOON + HOUR, NOON + 1]), (NOON + 1, NOON + 1));
    }

    #[test]
    fn of_two_clocks_both_are_the_median() {
        assert_eq!(medians(&[NOON + HOUR, NOON]), (NOON, NOON + HOUR));
        assert_eq!(medians(&[NOON]), (NOON, NOON));
        assert_eq!(Walls::median(&[], Duration::ZERO), None);
    }

    #[test]
    fn readings_of_different_moments_are_compared_at_one() {
        let read = |wall_ms, at_ms| {
            let at = Duration::from_millis(at_ms);
            WallReading { wall_ms, asked: at, answered: at }
        };
        let readings = [read(NOON, 1_000), read(NOON + 700, 1_500), read(NOON + 200, 1_300)];
        let walls = Walls::median(&readings, Duration::from_millis(2_000)).unwrap();
        assert_eq!(walls.low_ms(Duration::from_millis(2_000)), NOON + 1_000);
        assert_eq!(walls.low_ms(Duration::from_millis(2_500)), NOON + 1_500);
        assert_eq!(walls.low_ms(Duration::ZERO), NOON + 1_000);
    }

    #[test]
    fn what_an_answer_took_is_how_inexact_it_is() {
        let reading = WallReading {
            wall_ms: NOON,
            asked: Duration::from_millis(1_000),
            answered: Duration::from_millis(1_400),
        };
        let walls = Walls::median(&[reading], Duration::from_millis(2_000)).unwrap();
        assert_eq!(walls.low_ms(Duration::from_millis(2_000)), NOON + 600);
        assert_eq!(walls.high_ms(Duration::from_millis(2_000)), NOON + 1_000);
    }

    #[test]
    fn an_outage_is_what_the_clock_does_not_know_yet() {
        // Cluster time need not be wall time.
        let ticked = TickedAt { cluster: ClusterTime(5_000_000), wall_ms: NOON };
        assert_eq!(outage_ms(ticked, ClusterTime(5_000_000), NOON + 60_000), 60_000);
        assert_eq!(outage_ms(ticked, ClusterTime(5_000_900), NOON + 60_000), 59_100);
        assert_eq!(outage_ms(ticked, ClusterTime(5_000_900), NOON + 800), 0);
        assert_eq!(outage_ms(ticked, ClusterTime(5_000_000), NOON - HOUR), 0, "never back");
        assert_eq!(outage_ms(ticked, ClusterTime(5_000_000), u64::MAX), OUTAGE_MS_MAX);
    }

    #[test]
    fn a_loaded_state_may_have_ticked_two_seconds_before() {
        let ticked = TickedAt::before(ClusterTime(5_000_000), NOON);
        assert_eq!(outage_ms(ticked, ClusterTime(5_000_000), NOON + 60_000), 58_000);
    }

    #[test]
    fn without_a_tick_there_is_nothing_to_measure() {
        assert_eq!(outage_ms(TickedAt::before(ClusterTime(NOON), 0), ClusterTime(NOON), NOON + HOUR), 0);
    }
}
