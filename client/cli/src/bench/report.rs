//! Report: a measurement for people and programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::latency::{Latency, float, rounded};
use super::plan::{Kind, Plan};
use super::tally::Measured;
use crate::output::{Report, pairs};

/// What `bench` shows.
#[derive(Debug, Serialize)]
pub(crate) struct BenchReport {
    workload: &'static str,
    /// Always "closed": each caller waits for its answer before it sends again.
    r#loop: &'static str,
    callers: u32,
    connections: usize,
    value_bytes: u32,
    /// Null for a workload that needs none.
    sessions: Option<u32>,
    /// From the end of the warm-up to the last answer.
    seconds: f64,
    /// Operations that succeeded.
    operations: u64,
    operations_per_second: f64,
    errors: u64,
    errors_by_kind: BTreeMap<&'static str, u64>,
    latency_ms: Latency,
    #[serde(skip)]
    warmup: String,
    #[serde(skip)]
    example: Option<String>,
}

impl BenchReport {
    /// The report on what was measured.
    pub(crate) fn of(kind: Kind, plan: &Plan, measured: &Measured) -> BenchReport {
        let seconds = measured.elapsed.as_secs_f64();
        let operations = measured.latencies_ns.len();
        let rate = if seconds > 0.0 { float(operations) / seconds } else { 0.0 };
        BenchReport {
            workload: kind.name(),
            r#loop: "closed",
            callers: plan.callers,
            connections: plan.clients,
            value_bytes: plan.value_bytes,
            sessions: (kind != Kind::Create).then_some(plan.sessions),
            seconds: rounded(seconds),
            operations,
            operations_per_second: rate.round(),
            errors: measured.errors,
            errors_by_kind: measured.errors_by_kind.clone(),
            latency_ms: Latency::of(&measured.latencies_ns),
            warmup: humantime::format_duration(plan.warmup).to_string(),
            example: measured.example.clone(),
        }
    }

    fn errors_line(&self) -> String {
        let kinds: Vec<String> =
            self.errors_by_kind.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        match (self.errors, &self.example) {
            (0, _) => "0".to_owned(),
            (errors, example) => {
                format!("{errors} ({}); first: {}", kinds.join(", "), example.as_deref().unwrap_or("-"))
            }
        }
    }
}

impl Report for BenchReport {
    fn table(&self) -> String {
        let sessions = self.sessions.map_or_else(String::new, |sessions| format!(", {sessions} sessions"));
        let facts = pairs(&[
            ("workload", format!("{}, {} bytes{sessions}", self.workload, self.value_bytes)),
            ("callers", format!("{}, sharing {} client(s), closed loop", self.callers, self.connections)),
            ("measured", format!("{:.3} s after {} of warm-up", self.seconds, self.warmup)),
            ("operations", self.operations.to_string()),
            ("throughput", format!("{:.0} operations/s", self.operations_per_second)),
            ("errors", self.errors_line()),
        ]);
        format!("{facts}\n\n{}", self.latency_ms.table())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tally::Tally;
    use super::*;
    use crate::output::{Format, render};

    fn plan() -> Plan {
        Plan {
            callers: 2,
            clients: 1,
            value_bytes: 512,
            sessions: 10,
            warmup: Duration::from_secs(1),
            measured: Duration::from_secs(5),
            idle: Duration::from_secs(600),
        }
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let tally = Tally::default();
        for _ in 0..10 {
            tally.succeeded(0, Duration::from_millis(2));
        }
        tally.failed(1, "deadline", || "too late".to_owned());
        let report = BenchReport::of(Kind::Write, &plan(), &tally.finish(Duration::from_millis(2500)));
        let json = serde_json::to_value(&report).expect("json");
        let p50 = json["latency_ms"]["p50"].as_f64().expect("a number");
        assert!((1.99..2.01).contains(&p50), "{p50}");
        assert_eq!(json["operations"], 10);
        assert_eq!(json["operations_per_second"], 4.0);
        assert_eq!(json["loop"], "closed");
        assert_eq!(json["errors_by_kind"]["deadline"], 1);
        let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
        let help = super::super::HELP;
        for key in keys {
            assert!(help.contains(&format!("\"{key}\"")), "{key} is not in the help");
        }
    }

    #[test]
    fn the_table_says_how_it_was_measured() {
        let tally = Tally::default();
        tally.failed(1, "deadline", || "too late".to_owned());
        let text = render(
            Format::Table,
            &BenchReport::of(Kind::Write, &plan(), &tally.finish(Duration::from_secs(5))),
        );
        let expected = "\
workload    write, 512 bytes, 10 sessions
callers     2, sharing 1 client(s), closed loop
measured    5.000 s after 1s of warm-up
operations  0
throughput  0 operations/s
errors      1 (1 deadline); first: too late

LATENCY  MS
mean      -
p50       -
p90       -
p99       -
p99.9     -
max       -
";
        assert_eq!(text, expected);
    }
}
