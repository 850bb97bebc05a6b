//! Tally: what the callers measured.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Parts of the tally, so that callers on different threads seldom meet at one lock.
const SHARDS: u32 = 16;

/// Significant digits of a recorded latency.
const DIGITS: u8 = 3;

/// Latencies and errors, counted while the callers run.
pub(crate) struct Tally {
    shards: Vec<Mutex<Shard>>,
}

struct Shard {
    latencies_ns: Histogram<u64>,
    errors: BTreeMap<&'static str, u64>,
    example: Option<String>,
}

/// A finished tally.
pub(crate) struct Measured {
    /// From the end of the warm-up to the last answer.
    pub(crate) elapsed: Duration,
    /// Latencies of the operations that succeeded, nanoseconds.
    pub(crate) latencies_ns: Histogram<u64>,
    /// Operations that failed.
    pub(crate) errors: u64,
    /// The same by kind, as in the JSON error object.
    pub(crate) errors_by_kind: BTreeMap<&'static str, u64>,
    /// The first error, for people.
    pub(crate) example: Option<String>,
}

impl Measured {
    /// Operations that were measured, failed ones included.
    pub(crate) fn operations(&self) -> u64 {
        self.latencies_ns.len() + self.errors
    }
}

impl Default for Tally {
    fn default() -> Tally {
        let shard =
            |_| Mutex::new(Shard { latencies_ns: histogram(), errors: BTreeMap::new(), example: None });
        Tally { shards: (0..SHARDS).map(shard).collect() }
    }
}

/// Of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    // Grows as it must; only a precision above 5 digits would be refused.
    Histogram::new(DIGITS).expect("three digits are allowed")
}

/// Adds a latency to a [`histogram()`].
pub(crate) fn record(latencies_ns: &mut Histogram<u64>, latency: Duration) {
    let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    // Not `saturating_record`: that cuts at the histogram's present range, `record` widens it.
    latencies_ns.record(nanoseconds).expect("a histogram that resizes holds any u64");
}

impl Tally {
    /// Counts an operation that succeeded.
    pub(crate) fn succeeded(&self, caller: u32, latency: Duration) {
        if let Some(mut shard) = self.shard(caller) {
            record(&mut shard.latencies_ns, latency);
        }
    }

    /// Counts an operation that failed; the first one of a kind is kept as an example.
    pub(crate) fn failed(&self, caller: u32, kind: &'static str, example: impl FnOnce() -> String) {
        if let Some(mut shard) = self.shard(caller) {
            *shard.errors.entry(kind).or_default() += 1;
            shard.example.get_or_insert_with(example);
        }
    }

    /// Successes and errors so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for shard in &self.shards {
            let shard = lock(shard);
            counts.0 += shard.latencies_ns.len();
            counts.1 += shard.errors.values().sum::<u64>();
        }
        counts
    }

    /// The sum of all parts.
    pub(crate) fn finish(&self, elapsed: Duration) -> Measured {
        let mut all = Measured {
            elapsed,
            latencies_ns: histogram(),
            errors: 0,
            errors_by_kind: BTreeMap::new(),
            example: None,
        };
        for shard in &self.shards {
            let shard = lock(shard);
            // Both resize themselves and have the same precision: nothing can be out of range.
            all.latencies_ns.add(&shard.latencies_ns).expect("histograms of one kind add up");
            for (kind, count) in &shard.errors {
                *all.errors_by_kind.entry(kind).or_default() += count;
                all.errors += count;
            }
            if all.example.is_none() {
                all.example.clone_from(&shard.example);
            }
        }
        all
    }

    fn shard(&self, caller: u32) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(usize::try_from(caller % SHARDS).ok()?).map(lock)
    }
}

/// A count is whole after each line above: a caller that panicked left nothing half done.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_the_shards() {
        let tally = Tally::default();
        for caller in 0..100 {
            tally.succeeded(caller, Duration::from_millis(u64::from(caller) + 1));
        }
        tally.failed(3, "unavailable", || "first".to_owned());
        tally.failed(19, "unavailable", || "second".to_owned());
        tally.failed(4, "deadline", || "third".to_owned());
        assert_eq!(tally.counts(), (100, 3));

        let measured = tally.finish(Duration::from_secs(2));
        assert_eq!(measured.latencies_ns.len(), 100);
        assert_eq!((measured.errors, measured.operations()), (3, 103));
        assert_eq!(measured.errors_by_kind, BTreeMap::from([("deadline", 1), ("unavailable", 2)]));
        assert_eq!(measured.example.as_deref(), Some("first"));
        let p50 = measured.latencies_ns.value_at_quantile(0.5) / 1_000_000;
        assert!((50..=51).contains(&p50), "p50 is {p50} ms");
    }
}
