use quorate_tests::load::Workload;
use quorate_tests::{PATIENCE, ProcessCluster, Source, until};

use crate::common::{Outcome, options, wait_applied};

/// So few entries are kept that a node that was away for a moment needs a snapshot.
const ENTRIES_KEPT: u64 = 100;

#[tokio::test]
async fn a_node_that_was_away_longer_than_the_log_reaches_back_catches_up_by_snapshot() -> Outcome {
    let mut options = options(3);
    options.arguments.push(format!("--log-entries-kept={ENTRIES_KEPT}").into());
    let mut cluster = ProcessCluster::start(&options).await?;
    let client = cluster.client()?;
    let mut workload = Workload::new(&client, 8, 4);
    workload.start();
    workload.wait_acknowledged(100, PATIENCE).await?;
    let away = cluster.a_follower().await?;
    let left_at = cluster.status(away).await?.last_log_index;
    cluster.node_mut(away)?.kill()?;
    // Writes go on while the log is purged beyond what the absent node has, and while the snapshot is sent.
    workload.wait_acknowledged(1_000, PATIENCE).await?;
    let leader = cluster.wait_leader().await?;
    until("the log is purged beyond what the absent node has", PATIENCE, || async {
        let status = cluster.status(leader).await.map_err(|error| error.to_string())?;
        // Some more than it had when it was asked.
        let purged = status.purged_index > left_at + 200;
        purged
            .then_some(())
            .ok_or_else(|| format!("purged up to {}, absent since {left_at}", status.purged_index))
    })
    .await?;
    cluster.node_mut(away)?.start()?;
    cluster.wait_ready(away).await?;
    workload.wait_acknowledged(200, PATIENCE).await?;
    workload.rest().await;
    let position = workload.ledger().position().ok_or("nothing was acknowledged")?;
    wait_applied(&cluster, away, position.index).await?;
    let local = Source::Node(cluster.ports(away)?.client.to_string());
    let verdict = workload.ledger().check(&client, &local).await?;
    assert!(verdict.is_clean(), "{verdict}");
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");

    // What it was sent is on its disk: it comes back with it alone.
    cluster.node_mut(away)?.kill()?;
    cluster.node_mut(away)?.start()?;
    cluster.wait_ready(away).await?;
    wait_applied(&cluster, away, position.index).await?;
    let verdict = workload.ledger().check(&client, &local).await?;
    assert!(verdict.is_clean(), "after a restart: {verdict}");
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    assert_eq!(workload.counts().contradictions, Vec::<String>::new());
    Ok(())
}
