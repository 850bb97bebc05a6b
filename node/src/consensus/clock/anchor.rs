//! One node's estimate of cluster time.

use std::time::Duration;

use quorate_state::ClusterTime;

use super::walls::Walls;

/// A leader slews to wall time by one part in so many (0.1 %).
const SLEW_PART: u32 = 1_000;
/// Wall clocks closer than this are not slewed to: reading them through the network is not more exact.
const CLOSE_ENOUGH: Duration = Duration::from_millis(10);

/// How fast cluster time goes by an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// As the boot clock.
    Even,
    Faster,
    Slower,
}

/// Ties cluster time to this node's boot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// Finer than [`ClusterTime`]: a leader's anchor moves with every Tick, and what is cut off each time would add up.
    cluster: Duration,
    boottime: Duration,
    pace: Pace,
}

pub(crate) fn to_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Anchor {
    /// It is `cluster` at `boottime`.
    pub(crate) fn new(cluster: ClusterTime, boottime: Duration) -> Anchor {
        Anchor { cluster: Duration::from_millis(cluster.0), boottime, pace: Pace::Even }
    }

    /// The moment of the boot clock that it is tied to.
    pub(super) fn boottime(&self) -> Duration {
        self.boottime
    }

    /// Cluster time at `boottime`.
    pub(crate) fn at(&self, boottime: Duration) -> ClusterTime {
        ClusterTime(to_ms(self.exactly(boottime)))
    }

    /// As [`Self::at`], finer: time since the Unix epoch.
    pub(super) fn exactly(&self, boottime: Duration) -> Duration {
        let elapsed = boottime.saturating_sub(self.boottime);
        let even = self.cluster.saturating_add(elapsed);
        match self.pace {
            Pace::Even => even,
            Pace::Faster => even.saturating_add(elapsed / SLEW_PART),
            Pace::Slower => even.saturating_sub(elapsed / SLEW_PART),
        }
    }

    /// It is at least `cluster` at `boottime`.
    pub(crate) fn raise(&mut self, cluster: ClusterTime, boottime: Duration) {
        if self.at(boottime) < cluster {
            *self = Anchor { pace: self.pace, ..Anchor::new(cluster, boottime) };
        }
    }

    /// From `boottime` on, goes towards the wall clocks, or as the boot clock where there are none. Never jumps.
    pub(crate) fn steer(&mut self, walls: Option<&Walls>, boottime: Duration) {
        let cluster = self.exactly(boottime);
        let pace = match walls.map(|walls| (walls.low(boottime), walls.high(boottime))) {
            Some((low, _)) if cluster.saturating_add(CLOSE_ENOUGH) < low => Pace::Faster,
            Some((_, high)) if cluster > high.saturating_add(CLOSE_ENOUGH) => Pace::Slower,
            _ => Pace::Even,
        };
        *self = Anchor { cluster, boottime, pace };
    }
}

#[cfg(test)]
mod tests {
    use super::super::walls::WallReading;
    use super::*;

    const START: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn anchor() -> Anchor {
        Anchor::new(ClusterTime(START), ms(5))
    }

    /// Cluster time since the start, by this anchor.
    fn at(anchor: &Anchor, boottime_ms: u64) -> i64 {
        i64::try_from(anchor.at(ms(boottime_ms)).0).unwrap() - i64::try_from(START).unwrap()
    }

    fn walls(wall_ms: u64, boottime_ms: u64) -> Walls {
        let reading = WallReading { wall_ms, asked: ms(boottime_ms), answered: ms(boottime_ms) };
        Walls::median(&[reading], ms(boottime_ms)).unwrap()
    }

    #[test]
    fn it_goes_by_the_boot_clock() {
        assert_eq!(at(&anchor(), 5), 0);
        assert_eq!(at(&anchor(), 5 + HOUR), 3_600_000);
        assert_eq!(at(&anchor(), 0), 0, "a moment before it is no earlier");
    }

    #[test]
    fn it_is_raised_at_once_and_never_lowered() {
        let mut anchor = anchor();
        anchor.raise(ClusterTime(START + 1_500), ms(1_005));
        assert_eq!((at(&anchor, 1_005), at(&anchor, 2_005)), (1_500, 2_500));
        for second in 0..30 {
            anchor.raise(ClusterTime(START + second * 1_000), ms(60_005));
        }
        assert_eq!(at(&anchor, 60_005), 60_500);
    }

    #[test]
    fn what_is_cut_off_does_not_add_up() {
        let mut anchor = anchor();
        for step in 1..=36_000_u64 {
            // Half a millisecond that ClusterTime cannot say.
            let since = Duration::from_micros(step * 100_500);
            anchor.raise(ClusterTime(START + to_ms(since)), ms(5) + since);
            anchor.steer(None, ms(5) + since);
        }
        assert_eq!(at(&anchor, 5 + 36_000 * 100 + 18_000), 36_000 * 100 + 18_000);
    }

    #[test]
    fn it_is_slewed_to_the_wall_by_a_thousandth_and_never_jumps() {
        for (wall_ms, expected) in
            [(START + HOUR, 1_001_000), (START - HOUR, 999_000), (START + 9, 1_000_000)]
        {
            let mut anchor = anchor();
            anchor.steer(Some(&walls(wall_ms, 5)), ms(5));
            let mut before = anchor.at(ms(5));
            for second in 1..=1_000 {
                for now in [ms(5 + second * 1_000 - 1), ms(5 + second * 1_000)] {
                    assert!(anchor.at(now) >= before, "time went back");
                    before = anchor.at(now);
                }
                anchor.steer(Some(&walls(wall_ms, 5)), ms(5 + second * 1_000));
            }
            assert_eq!(at(&anchor, 1_000_005), expected);
        }
    }

    #[test]
    fn it_stops_slewing_where_the_wall_is() {
        for wall_ms in [START + 500, START - 500] {
            let mut anchor = anchor();
            for second in 0..=2_000 {
                anchor.steer(Some(&walls(wall_ms, 5)), ms(5 + second * 1_000));
            }
            let off = at(&anchor, 2_000_005)
                - 2_000_000
                - (i64::try_from(wall_ms).unwrap() - i64::try_from(START).unwrap());
            assert!(off.abs() <= 11, "{off} ms");
        }
    }

    #[test]
    fn without_walls_it_goes_evenly_again() {
        let mut anchor = anchor();
        anchor.steer(Some(&walls(START + HOUR, 5)), ms(5));
        anchor.steer(None, ms(1_005));
        assert_eq!(at(&anchor, 1_005), 1_001);
        assert_eq!(at(&anchor, 100_005), 100_001);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut anchor = Anchor::new(ClusterTime(u64::MAX), ms(u64::MAX));
        assert_eq!(anchor.at(Duration::MAX), ClusterTime(u64::MAX));
        anchor.raise(ClusterTime(u64::MAX), Duration::MAX);
        anchor.steer(Some(&walls(u64::MAX, u64::MAX)), Duration::ZERO);
        assert_eq!(anchor.at(Duration::MAX), ClusterTime(u64::MAX));
    }
}
