//! A node alone that was down: how long, it can only know from its wall clock. The tests move that instead of waiting.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::path::Path;
use std::time::Duration;

use quorate_node::Node;
use quorate_node::config::Settings;
use quorate_state::{Clocks, State};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// What starting, on a loaded machine, may take; and, the other way, what is not counted of an outage (see `walls`).
const SLACK_MS: u64 = 20_000;

async fn start(data_dir: &Path, clock_offset_ms: i64) -> Node {
    let free = "127.0.0.1:0".parse().unwrap();
    let settings = Settings {
        data_dir: data_dir.to_owned(),
        client_listen: free,
        peer_listen: free,
        admin_listen: free,
        log_prefill_bytes: 0,
        clock_offset_ms,
        ..Settings::default()
    };
    let node = Node::start(&settings).await.unwrap();
    until(|| node.consensus().is_ready()).await;
    node
}

async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), met).await.expect("within 30 s");
}

/// The state's clocks once the node has ticked.
async fn clocks(node: &Node) -> Clocks {
    node.consensus().tick().await.unwrap();
    node.consensus().with_state(State::clocks)
}

/// Stops the node, starts it again with a wall clock that far off; by how much its two clocks have advanced.
async fn restart(node: Node, data_dir: &Path, clock_offset_ms: i64) -> (Node, u64, u64) {
    let before = clocks(&node).await;
    node.shutdown().await;
    let node = start(data_dir, clock_offset_ms).await;
    let after = clocks(&node).await;
    (node, after.cluster.0 - before.cluster.0, after.served.0 - before.served.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_counted_once_and_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), 0).await;
    let (node, cluster, served) = restart(node, dir.path(), 10 * 60_000).await;
    let expected = 10 * MINUTE_MS - SLACK_MS..10 * MINUTE_MS + SLACK_MS;
    assert!(expected.contains(&cluster) && served < SLACK_MS, "{cluster} ms, {served} ms served");
    let (node, cluster, served) = restart(node, dir.path(), 10 * 60_000).await;
    assert!(cluster < SLACK_MS && served < SLACK_MS, "{cluster} ms, {served} ms served");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_went_back_takes_no_time_back() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), 0).await;
    let (node, cluster, _) = restart(node, dir.path(), -HOUR_MS).await;
    assert!(cluster < SLACK_MS, "{cluster} ms");
    // What it has written is measured by the clock that it had.
    let (node, cluster, _) = restart(node, dir.path(), -HOUR_MS + 10 * 60_000).await;
    assert!((10 * MINUTE_MS - SLACK_MS..10 * MINUTE_MS + SLACK_MS).contains(&cluster), "{cluster} ms");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_outage_counts_as_longer_than_a_year() {
    const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), 0).await;
    let (node, cluster, _) = restart(node, dir.path(), 10_000 * 24 * HOUR_MS).await;
    assert!((366 * DAY_MS..366 * DAY_MS + SLACK_MS).contains(&cluster), "{cluster} ms");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_knows_how_stale_it_is_from_its_first_tick_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), 0).await;
    let consensus = node.consensus();
    until(|| consensus.staleness().is_some_and(|stale| stale < Duration::from_millis(500))).await;
    // Between two Ticks it grows.
    until(|| consensus.staleness().is_some_and(|stale| stale > Duration::from_millis(500))).await;
    consensus.tick().await.unwrap();
    until(|| consensus.staleness().is_some_and(|stale| stale < Duration::from_millis(500))).await;
    node.shutdown().await;
}
