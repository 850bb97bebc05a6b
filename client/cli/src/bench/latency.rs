//! Latency: percentiles for people and programs.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output::columns;

/// Milliseconds; null when nothing was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    mean: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p99_9: Option<f64>,
    max: Option<f64>,
}

impl Latency {
    /// Of latencies in nanoseconds.
    pub(crate) fn of(latencies_ns: &Histogram<u64>) -> Latency {
        let some = |nanoseconds: f64| (!latencies_ns.is_empty()).then(|| rounded(nanoseconds / 1e6));
        let quantile = |quantile| some(float(latencies_ns.value_at_quantile(quantile)));
        Latency {
            mean: some(latencies_ns.mean()),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: some(float(latencies_ns.max())),
        }
    }

    /// A row for each, for people.
    pub(crate) fn table(&self) -> String {
        let row = |name: &str, value: Option<f64>| {
            vec![name.to_owned(), value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))]
        };
        let rows = vec![
            row("mean", self.mean),
            row("p50", self.p50),
            row("p90", self.p90),
            row("p99", self.p99),
            row("p99.9", self.p99_9),
            row("max", self.max),
        ];
        columns(&["LATENCY", "MS"], &[1], rows)
    }
}

/// Three digits after the point: a microsecond of milliseconds.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Exact up to 2^53: a hundred days in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "counts and latencies here are far below 2^53")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}
