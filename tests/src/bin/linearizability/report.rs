//! What a run found, for people and for programs.

use std::time::Duration;

use quorate_tests::linearizable::Findings;
use serde_json::{Value, json};

/// Lines for people.
pub(crate) fn print(findings: &Findings, seed: u64, took: Duration) {
    let words = |counts: &mut dyn Iterator<Item = (String, u64)>| {
        counts.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
    };
    println!(
        "faults: {}",
        words(&mut findings.faults.iter().map(|(name, count)| ((*name).to_owned(), *count)))
    );
    println!("done: {}", words(&mut findings.done.iter().map(|(name, count)| ((*name).to_owned(), *count))));
    let refused = findings.refused.iter().map(|(name, count)| (name.replace([' ', ':'], "_"), *count));
    println!("refused: {}", words(&mut refused.into_iter()));
    println!(
        "seed={seed} histories={} sessions={} operations={} contended={} not_applied={} expired={} checking_ms={} \
         looked_at_max={} minutes={:.1}",
        findings.recordings,
        findings.sessions,
        findings.operations,
        findings.contended,
        findings.not_applied,
        findings.expired,
        findings.checking.as_millis(),
        findings.looked_at_max,
        took.as_secs_f64() / 60.0
    );
    println!("unknown={} illegal={} undecided={}", findings.unknown, findings.illegal, findings.undecided);
}

/// The same as JSON.
pub(crate) fn json(findings: &Findings, seed: u64, took: Duration) -> Value {
    json!({
        "seed": seed,
        "histories": findings.recordings,
        "sessions": findings.sessions,
        "operations": findings.operations,
        "contended": findings.contended,
        "unknown": findings.unknown,
        "not_applied": findings.not_applied,
        "done": findings.done,
        "refused": findings.refused,
        "expired": findings.expired,
        "faults": findings.faults,
        "illegal": findings.illegal,
        "undecided": findings.undecided,
        "looked_at_max": findings.looked_at_max,
        "checking_ms": findings.checking.as_secs_f64() * 1_000.0,
        "seconds": took.as_secs_f64(),
        "violations": findings.described,
        "too_little": findings.too_little(),
    })
}
