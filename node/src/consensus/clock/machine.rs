//! The clocks of the machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The clocks of the machine. A seam: simulation and tests put their own here.
pub(crate) trait Clock: Send + Sync + 'static {
    /// Time since boot, sleep included. A process that is stopped and goes on sees that time has passed.
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

/// A machine whose clocks a test moves.
#[cfg(test)]
pub(crate) mod scripted {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::Clock;

    /// What its clocks say.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Times {
        pub(crate) boottime_ms: u64,
        pub(crate) wall_ms: u64,
    }

    /// Shared between a test and the clock under test.
    #[derive(Clone, Default)]
    pub(crate) struct Scripted(Arc<Mutex<Times>>);

    impl Scripted {
        pub(crate) fn new(boottime_ms: u64, wall_ms: u64) -> Scripted {
            Scripted(Arc::new(Mutex::new(Times { boottime_ms, wall_ms })))
        }

        /// Time passes, on both clocks.
        pub(crate) fn pass(&self, ms: u64) {
            let mut times = self.0.lock();
            times.boottime_ms += ms;
            times.wall_ms += ms;
        }

        /// Somebody sets the wall clock.
        pub(crate) fn set_wall(&self, wall_ms: u64) {
            self.0.lock().wall_ms = wall_ms;
        }
    }

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
}
