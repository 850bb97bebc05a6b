//! What the writes of one window met.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::load::{End, Op};

/// Significant digits of a recorded latency.
const DIGITS: u8 = 3;
/// An hour: more than any call may take. A longer one is recorded as this.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// See the module.
pub(crate) struct Window {
    /// Writes that should have been sent in it.
    pub(crate) intended: u64,
    pub(crate) acknowledged: u64,
    pub(crate) gone: u64,
    pub(crate) failed: u64,
    /// From the intended moment to the answer, of those acknowledged, in microseconds.
    latencies_us: Histogram<u64>,
    /// The longest time without an acknowledgement.
    pub(crate) longest_stall: Duration,
    /// The 99th percentile of each second, in milliseconds: tells when it hurt.
    by_second: Vec<f64>,
}

impl Window {
    /// Of all writes of a load, those between `from` and `until`.
    pub(crate) fn of(ops: &[Op], from: Instant, until: Instant) -> Window {
        let mut window = Window::whole(ops, from, until);
        let seconds = std::iter::successors(Some(from), |at| at.checked_add(Duration::from_secs(1)));
        window.by_second = seconds
            .take_while(|at| *at < until)
            .map(|at| Window::whole(ops, at, until.min(at + Duration::from_secs(1))).ms(0.99))
            .collect();
        window
    }

    fn whole(ops: &[Op], from: Instant, until: Instant) -> Window {
        let latencies_us = Histogram::new_with_max(LATENCY_US_MAX, DIGITS).expect("these bounds are allowed");
        let mut window = Window {
            intended: 0,
            acknowledged: 0,
            gone: 0,
            failed: 0,
            latencies_us,
            longest_stall: longest_stall(ops, from, until),
            by_second: Vec::new(),
        };
        for op in ops.iter().filter(|op| (from..until).contains(&op.intended)) {
            window.intended += 1;
            match op.end {
                End::Acknowledged => {
                    window.acknowledged += 1;
                    let latency = op.answered.saturating_duration_since(op.intended);
                    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                    window.latencies_us.saturating_record(us);
                }
                End::Gone => window.gone += 1,
                End::Failed => window.failed += 1,
            }
        }
        window
    }

    /// A latency in milliseconds, by its quantile.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        let us = self.latencies_us.value_at_quantile(quantile);
        u32::try_from(us).map_or(f64::INFINITY, f64::from) / 1_000.0
    }

    /// As one line.
    pub(crate) fn line(&self) -> String {
        format!(
            "p50_ms={:.2} p99_ms={:.2} p99.9_ms={:.2} max_ms={:.2} longest_stall_ms={} acknowledged={} of={} gone={} failed={}",
            self.ms(0.5),
            self.ms(0.99),
            self.ms(0.999),
            self.ms(1.0),
            self.longest_stall.as_millis(),
            self.acknowledged,
            self.intended,
            self.gone,
            self.failed
        )
    }

    /// The 99th percentile of each second, as one line.
    pub(crate) fn seconds(&self) -> String {
        let seconds: Vec<String> = self.by_second.iter().map(|ms| format!("{ms:.0}")).collect();
        format!("p99_ms_by_second={}", seconds.join(","))
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "p50_ms": self.ms(0.5),
            "p99_ms": self.ms(0.99),
            "p999_ms": self.ms(0.999),
            "max_ms": self.ms(1.0),
            "longest_stall_ms": self.longest_stall.as_secs_f64() * 1_000.0,
            "intended": self.intended,
            "acknowledged": self.acknowledged,
            "gone": self.gone,
            "failed": self.failed,
            "p99_ms_by_second": self.by_second,
        })
    }
}

fn longest_stall(ops: &[Op], from: Instant, until: Instant) -> Duration {
    let acknowledged = ops.iter().filter(|op| op.end == End::Acknowledged).map(|op| op.answered);
    let mut moments: Vec<Instant> = acknowledged.filter(|at| (from..until).contains(at)).collect();
    // Of a stall that reaches beyond the window counts what lies in it.
    moments.extend([from, until]);
    moments.sort_unstable();
    let gaps = moments.windows(2).filter_map(|pair| match pair {
        [one, next] => Some(next.saturating_duration_since(*one)),
        _ => None,
    });
    gaps.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_paid_by_all_who_should_have_been_served() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let op = |intended, answered| Op {
            intended: at(intended),
            answered: at(answered),
            end: End::Acknowledged,
        };
        let failed = Op { end: End::Failed, ..op(150, 160) };
        let gone = Op { end: End::Gone, ..op(160, 170) };
        let ops = [op(0, 10), op(100, 900), op(200, 901), op(300, 902), op(1_000, 1_001), failed, gone];
        let window = Window::of(&ops, at(100), at(1_000));
        assert_eq!((window.intended, window.acknowledged, window.failed, window.gone), (5, 3, 1, 1));
        assert_eq!(window.longest_stall, Duration::from_millis(800));
        let close = |ms: f64, to: f64| (ms - to).abs() < 2.0;
        assert!(close(window.ms(1.0), 800.0) && close(window.ms(0.5), 701.0), "{}", window.line());
    }
}
