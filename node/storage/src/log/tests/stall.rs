//! How long reclaiming space holds up an append. By hand: it moves gigabytes.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::base::{append, open_on, purge, record};
use crate::LogOptions;
use crate::disk::Disk;
use crate::log::planted::Bug;

#[test]
#[ignore = "a measurement, by hand"]
fn longest_append_while_space_is_reclaimed() {
    let temporary = TempDir::new().unwrap();
    let options = LogOptions {
        purge_threshold_bytes: 256 << 20,
        reclaim_interval: Duration::from_millis(200),
        ..LogOptions::default()
    };
    let (log, _) = open_on(Disk::default(), temporary.path(), options, Bug::None).unwrap();
    let mut latencies = Vec::new();
    for round in 0..1_500_u64 {
        let more: Vec<_> = (0..1_000).map(|at| record(1, round * 1_000 + at, 560, 0)).collect();
        let begin = Instant::now();
        append(&log, more);
        latencies.push(begin.elapsed());
        if round >= 100 && round % 20 == 0 {
            purge(&log, record(1, (round - 100) * 1_000, 0, 0).id);
        }
    }
    latencies.sort();
    let at = |permille: usize| latencies[latencies.len() * permille / 1_000];
    println!(
        "appends of 560 KB: median {:?}, p99 {:?}, longest {:?}; {} MiB on disk",
        at(500),
        at(990),
        latencies.last(),
        log.bytes() >> 20
    );
    log.close();
}
