//! Cluster time on the leader: where the stamps come from.
//!
//! Provisional, until anchors and the time jump exist: a new leader starts from max(the state's clock, its wall
//! clock, but at most 60 s beyond the state's clock) and goes on by its monotonic clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use quorate_state::{ADVANCE_MS_MAX, Clocks, ClusterTime};
use rustix::time::{ClockId, clock_gettime};

/// The clocks of the machine. A seam: simulation and tests put their own here.
pub(crate) trait Clock: Send + Sync + 'static {
    /// Time since boot, sleep included.
    fn boottime(&self) -> Duration;
    /// Time since boot, sleep left out.
    fn monotonic(&self) -> Duration;
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;
}

/// The machine's own clocks, with an offset on the wall clock for tests.
pub(crate) struct SystemClock {
    pub(crate) wall_offset_ms: i64,
}

fn since_boot(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

impl Clock for SystemClock {
    fn boottime(&self) -> Duration {
        since_boot(ClockId::Boottime)
    }

    fn monotonic(&self) -> Duration {
        since_boot(ClockId::Monotonic)
    }

    fn wall_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX).saturating_add_signed(self.wall_offset_ms)
    }
}

/// A point that ties cluster time to the boot clock.
#[derive(Clone, Copy)]
struct Base {
    cluster: ClusterTime,
    boottime: Duration,
    /// The term it was made for.
    term: u64,
    /// The state's clocks once all that was stamped so far is applied.
    issued: Clocks,
}

/// The leader's estimate of cluster time.
pub(crate) struct ClusterClock {
    clock: Box<dyn Clock>,
    base: Mutex<Option<Base>>,
}

impl ClusterClock {
    pub(crate) fn new(clock: Box<dyn Clock>) -> Self {
        ClusterClock { clock, base: Mutex::new(None) }
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// How far the machine's sleep has moved the boot clock from the monotonic one.
    pub(crate) fn slept(&self) -> Duration {
        self.clock.boottime().saturating_sub(self.clock.monotonic())
    }

    /// The clocks now, for the leader of `term` whose state's clocks are `applied`. What is stamped and not applied yet
    /// counts: however long applying takes, it is no outage.
    pub(crate) fn now(&self, term: u64, applied: Clocks) -> Clocks {
        let mut base = self.base.lock();
        self.advance(&mut base, term, applied)
    }

    /// As [`Self::now`], for a proposal that is about to be made.
    pub(crate) fn stamp(&self, term: u64, applied: Clocks) -> ClusterTime {
        let mut base = self.base.lock();
        let now = self.advance(&mut base, term, applied);
        if let Some(base) = &mut *base {
            base.issued = now;
        }
        now.cluster
    }

    fn advance(&self, base: &mut Option<Base>, term: u64, applied: Clocks) -> Clocks {
        let boottime = self.clock.boottime();
        let since = |base: &Base| {
            let elapsed = boottime.saturating_sub(base.boottime).as_millis();
            ClusterTime(base.cluster.0.saturating_add(u64::try_from(elapsed).unwrap_or(0)))
        };
        let current = match base {
            Some(current) if current.term == term => {
                // Applied beyond the estimate: what an earlier leader stamped came in only now. Time goes on from there.
                if since(current) < applied.cluster {
                    (current.cluster, current.boottime) = (applied.cluster, boottime);
                }
                current
            }
            _ => {
                let wall = self.clock.wall_ms();
                let known = applied.cluster.0;
                let ceiling = if known == 0 { wall } else { known.saturating_add(ADVANCE_MS_MAX) };
                let cluster = ClusterTime(wall.min(ceiling).max(known));
                base.insert(Base { cluster, boottime, term, issued: applied })
            }
        };
        let issued = Clocks {
            cluster: current.issued.cluster.max(applied.cluster),
            served: current.issued.served.max(applied.served),
        };
        issued.advanced_to(since(current))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Default)]
    struct Times {
        boottime_ms: u64,
        wall_ms: u64,
    }

    struct Scripted(Arc<Mutex<Times>>);

    impl Clock for Scripted {
        fn boottime(&self) -> Duration {
            Duration::from_millis(self.0.lock().boottime_ms)
        }

        fn monotonic(&self) -> Duration {
            self.boottime()
        }

        fn wall_ms(&self) -> u64 {
            self.0.lock().wall_ms
        }
    }

    fn clock(boottime_ms: u64, wall_ms: u64) -> (ClusterClock, Arc<Mutex<Times>>) {
        let times = Arc::new(Mutex::new(Times { boottime_ms, wall_ms }));
        (ClusterClock::new(Box::new(Scripted(Arc::clone(&times)))), times)
    }

    /// A state's clocks at this cluster time, all of it served.
    fn at(ms: u64) -> Clocks {
        Clocks::default().advanced_to(ClusterTime(ms))
    }

    #[test]
    fn a_new_cluster_starts_at_the_wall_clock() {
        let (clock, _) = clock(5, 1_000_000);
        assert_eq!(clock.now(1, Clocks::default()), at(1_000_000));
    }

    #[test]
    fn within_a_term_only_the_boot_clock_counts() {
        let (clock, times) = clock(0, 1_000_000);
        clock.now(1, Clocks::default());
        *times.lock() = Times { boottime_ms: 250, wall_ms: 9_000_000 };
        assert_eq!(clock.now(1, at(1_000_000)), at(1_000_250));
    }

    #[test]
    fn a_wall_clock_an_hour_ahead_advances_a_new_term_by_a_minute_at_most() {
        let (clock, _) = clock(0, 10_000_000);
        assert_eq!(clock.now(2, at(1_000_000)).cluster, ClusterTime(1_060_000));
    }

    #[test]
    fn a_wall_clock_behind_never_takes_time_back() {
        let (clock, times) = clock(0, 1_000);
        assert_eq!(clock.now(2, at(1_000_000)), at(1_000_000));
        times.lock().boottime_ms = 7;
        assert_eq!(clock.now(2, at(1_000_000)), at(1_000_007));
    }

    #[test]
    fn what_is_stamped_and_not_applied_yet_is_no_outage() {
        let (clock, times) = clock(0, 1_000_000);
        clock.stamp(1, at(1_000_000));
        for _ in 0..4 {
            times.lock().boottime_ms += 2_000;
            clock.stamp(1, at(1_000_000));
        }
        // Eight seconds without anything applied, but proposals every two.
        assert_eq!(clock.now(1, at(1_000_000)), at(1_008_000));
    }

    #[test]
    fn eight_silent_seconds_are_an_outage() {
        let (clock, times) = clock(0, 1_000_000);
        clock.stamp(1, at(1_000_000));
        times.lock().boottime_ms += 8_000;
        let now = clock.now(1, at(1_000_000));
        assert_eq!((now.cluster, now.served), (ClusterTime(1_008_000), at(1_000_000).served));
    }

    #[test]
    fn time_goes_on_from_what_was_applied_late() {
        let (clock, times) = clock(0, 1_000);
        clock.now(2, at(1_000_000));
        // A replay ends far beyond where the term's estimate began.
        clock.now(2, at(2_000_000));
        times.lock().boottime_ms = 40;
        assert_eq!(clock.now(2, at(2_000_000)), at(2_000_040));
    }
}
