use std::process::{Output, Stdio};

use quorate_client::{LockOptions, NewSession};
use quorate_tests::ProcessCluster;
use serde_json::Value;
use tokio::process::Command;

use crate::common::{Outcome, three};

/// The command line under test.
const QUORATE: &str = env!("CARGO_BIN_EXE_quorate-under-test");

/// Measures hand-overs of a lock, and gives what was told on standard output and standard error.
async fn hand_overs(cluster: &ProcessCluster, arguments: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new(QUORATE);
    command.args(["bench", "--workload", "lock", "--warmup", "100ms", "--deadline", "15s"]);
    command.args(["--output", "json"]).args(arguments);
    command.env_clear().env("QUORATE_ENDPOINTS", cluster.endpoints().join(","));
    command.stdin(Stdio::null()).kill_on_drop(true).output().await
}

/// As [`hand_overs`], for as long as it takes to make enough of them: a loaded machine is no subject of these tests.
async fn figures(cluster: &ProcessCluster, arguments: &[&str]) -> Result<Value, Box<dyn std::error::Error>> {
    let mut told = String::new();
    for seconds in ["4", "16", "64"] {
        let ran = hand_overs(cluster, &[arguments, &["--seconds", seconds]].concat()).await?;
        if ran.status.success() {
            return Ok(serde_json::from_slice(&ran.stdout)?);
        }
        told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(told.contains("too few"), "{told}");
    }
    Err(told.into())
}

/// The next token of the cluster's one counter.
async fn next_token(cluster: &ProcessCluster) -> Result<u64, Box<dyn std::error::Error>> {
    let client = cluster.client()?;
    let session = client.create(NewSession::new()).await?;
    let guard = client.lock(&session.id, LockOptions::new()).await?;
    let token = guard.fence();
    guard.unlock().await?;
    client.delete(&session.id).await?;
    Ok(token)
}

fn number(report: &Value, name: &str) -> Result<u64, String> {
    report.get(name).and_then(Value::as_u64).ok_or_else(|| format!("no {name} in {report}"))
}

/// Each hand-over that is reported gave out a token of the cluster's and had a waiter, by the cluster's own count.
#[tokio::test]
async fn hand_overs_that_are_told_of_have_happened() -> Outcome {
    let cluster = three().await?;
    let (before, started) = (next_token(&cluster).await?, waits(&cluster).await?);
    let report = figures(&cluster, &["--callers", "9", "--connections", "2"]).await?;
    let made = number(&report, "hand_overs")?;
    assert!(made >= 100, "{report}");
    assert_eq!((number(&report, "waiters")?, number(&report, "connections")?), (8, 2));
    assert!((1..=8).contains(&number(&report, "waiters_min")?), "{report}");
    let tokens = next_token(&cluster).await? - before;
    assert!(tokens > made, "{tokens} tokens were given out in {made} hand-overs");
    let waited = waits(&cluster).await? - started;
    assert!(waited >= made, "{waited} calls stood in line in {made} hand-overs");

    let latency = |name: &str| report.get("latency_ms").and_then(|all| all.get(name)?.as_f64());
    let names = ["p50", "p90", "p99", "p99_9", "max"];
    let told = names.iter().map(|name| latency(name).ok_or(*name)).collect::<Result<Vec<f64>, _>>()?;
    assert!(told.is_sorted() && told.iter().all(|latency| *latency > 0.0), "{report}");
    // One after the other they take the time that was measured, no more: whatever a hand-over took was counted once.
    let mean = latency("mean").ok_or("no mean")?;
    let seconds = report.get("seconds").and_then(Value::as_f64).ok_or("no seconds")?;
    let counted = mean * f64::from(u32::try_from(made)?) / 1_000.0;
    assert!(counted <= seconds * 1.01, "{counted} s in {seconds} s: {report}");
    assert_eq!(sessions(&cluster).await?, 0, "its session is left behind");
    Ok(())
}

#[tokio::test]
async fn too_few_hand_overs_give_no_figures() -> Outcome {
    let cluster = three().await?;
    // 1,000 in a second: two rounds of the cluster each, one after the other, no unoptimised build comes near it.
    let ran = hand_overs(&cluster, &["--callers", "300", "--seconds", "1"]).await?;
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(1), 0), "{told}");
    assert!(told.contains("not_measured") && told.contains("too few"), "{told}");
    assert_eq!(sessions(&cluster).await?, 0, "its session is left behind");
    Ok(())
}

/// Calls that have stood in line for a lock.
async fn waits(cluster: &ProcessCluster) -> Result<u64, Box<dyn std::error::Error>> {
    Ok(cluster.client()?.get_namespace("default").await?.counters.lock_waits)
}

async fn sessions(cluster: &ProcessCluster) -> Result<u64, Box<dyn std::error::Error>> {
    Ok(cluster.client()?.get_namespace("default").await?.counters.live)
}
