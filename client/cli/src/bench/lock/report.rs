//! Report: hand-overs for people and programs.

use serde::Serialize;

use super::witness::HandOvers;
use crate::bench::latency::{Latency, float, rounded};
use crate::bench::plan::Plan;
use crate::output::{Report, pairs};

/// What `bench --workload lock` shows.
#[derive(Debug, Serialize)]
pub(crate) struct LockReport {
    workload: &'static str,
    /// Always "closed": whoever has had the lock asks for it again.
    r#loop: &'static str,
    callers: u32,
    /// All but the one that has the lock.
    waiters: u32,
    /// The fewest whose call was under way when the lock was given back.
    waiters_min: u32,
    connections: usize,
    value_bytes: u32,
    /// From the end of the warm-up to the last hand-over.
    seconds: f64,
    hand_overs: u64,
    hand_overs_per_second: f64,
    latency_ms: Latency,
    #[serde(skip)]
    warmup: String,
}

impl LockReport {
    /// The report on what was counted.
    pub(crate) fn of(plan: &Plan, counted: &HandOvers) -> LockReport {
        let seconds = counted.elapsed.as_secs_f64();
        let hand_overs = counted.latencies_ns.len();
        let rate = if seconds > 0.0 { float(hand_overs) / seconds } else { 0.0 };
        LockReport {
            workload: "lock",
            r#loop: "closed",
            callers: plan.callers,
            waiters: plan.callers.saturating_sub(1),
            waiters_min: counted.waiters_min,
            connections: plan.clients,
            value_bytes: plan.value_bytes,
            seconds: rounded(seconds),
            hand_overs,
            hand_overs_per_second: (rate * 10.0).round() / 10.0,
            latency_ms: Latency::of(&counted.latencies_ns),
            warmup: humantime::format_duration(plan.warmup).to_string(),
        }
    }
}

impl Report for LockReport {
    fn table(&self) -> String {
        let waiters =
            format!("{}; never fewer than {} when the lock was given back", self.waiters, self.waiters_min);
        let facts = pairs(&[
            ("workload", format!("{}, one session of {} bytes", self.workload, self.value_bytes)),
            ("callers", format!("{}, sharing {} client(s), closed loop", self.callers, self.connections)),
            ("in line", waiters),
            ("measured", format!("{:.3} s after {} of warm-up", self.seconds, self.warmup)),
            ("hand-overs", format!("{}, in order, never two holders", self.hand_overs)),
            ("throughput", format!("{:.1} hand-overs/s", self.hand_overs_per_second)),
        ]);
        format!("{facts}\n\n{}", self.latency_ms.table())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::witness::Witness;
    use super::*;
    use crate::output::{Format, render};

    /// Four hand-overs of 2 ms each.
    fn report() -> LockReport {
        let (mut witness, start) = (Witness::default(), Instant::now());
        witness.count(start, start + Duration::from_secs(5));
        for token in 1..=5 {
            (0..3).for_each(|_| witness.asks());
            let now = start + Duration::from_millis(2) * u32::try_from(token).expect("small");
            witness.takes(token, now).expect("in order");
            witness.releases(now);
        }
        let plan = Plan {
            callers: 3,
            clients: 1,
            value_bytes: 512,
            sessions: 10,
            warmup: Duration::from_secs(1),
            measured: Duration::from_secs(5),
            idle: Duration::from_secs(600),
        };
        LockReport::of(&plan, &witness.finish())
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let json = serde_json::to_value(report()).expect("json");
        let p99 = json["latency_ms"]["p99"].as_f64().expect("a number");
        assert!((1.99..2.01).contains(&p99), "{p99}");
        assert_eq!((&json["hand_overs"], &json["hand_overs_per_second"]), (&4.into(), &400.0.into()));
        assert_eq!((&json["waiters"], &json["waiters_min"]), (&2.into(), &2.into()));
        let help = crate::bench::HELP;
        for key in json.as_object().expect("an object").keys() {
            assert!(help.contains(&format!("\"{key}\"")), "{key} is not in the help");
        }
    }

    #[test]
    fn the_table_says_how_it_was_measured() {
        let expected = "\
workload    lock, one session of 512 bytes
callers     3, sharing 1 client(s), closed loop
in line     2; never fewer than 2 when the lock was given back
measured    0.010 s after 1s of warm-up
hand-overs  4, in order, never two holders
throughput  400.0 hand-overs/s

LATENCY     MS
mean     2.000
p50      2.001
p90      2.001
p99      2.001
p99.9    2.001
max      2.001
";
        assert_eq!(render(Format::Table, &report()), expected);
    }
}
