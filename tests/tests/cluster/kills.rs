use quorate_tests::load::Workload;
use quorate_tests::{PATIENCE, Source};

use crate::common::{Outcome, three_as_shipped};

const WRITERS: usize = 8;
const WRITES: usize = 150;

#[tokio::test]
async fn everything_acknowledged_outlives_kill_9() -> Outcome {
    let mut cluster = three_as_shipped().await?;
    let client = cluster.client()?;
    let mut workload = Workload::new(&client, WRITERS, 1);
    for victims in ["leader", "follower", "all"] {
        workload.start();
        workload.wait_acknowledged(WRITES, PATIENCE).await?;
        let leader = cluster.wait_leader().await?;
        let killed = match victims {
            "leader" => vec![leader],
            "follower" => vec![cluster.a_follower().await?],
            _ => cluster.ids(),
        };
        for id in &killed {
            cluster.node_mut(*id)?.kill()?;
        }
        if killed.len() == 1 {
            workload.wait_acknowledged(WRITES, PATIENCE).await?;
        }
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
        workload.wait_acknowledged(WRITES, PATIENCE).await?;
        workload.rest().await;
        let verdict = workload.ledger().check(&client, &Source::Leader).await?;
        assert!(verdict.is_clean(), "after killing {victims}: {verdict}");
        let digests = cluster.digests().await?;
        assert!(digests.are_equal() && digests.of.len() == 3, "after killing {victims}: {digests}");
    }
    let counts = workload.counts();
    assert_eq!(counts.contradictions, Vec::<String>::new());
    Ok(())
}
