use std::time::{Duration, Instant};

use quorate_tests::load::Workload;
use quorate_tests::{PATIENCE, Source};

use crate::common::{Outcome, looking, one, session, three};

#[tokio::test]
async fn everything_is_there_after_all_nodes_were_stopped_in_order() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let mut workload = Workload::new(&client, 8, 2);
    workload.start();
    workload.wait_acknowledged(400, PATIENCE).await?;
    workload.rest().await;
    let before = cluster.digests().await?;
    for id in cluster.ids() {
        let began = Instant::now();
        cluster.stop(id).await?;
        assert!(began.elapsed() < Duration::from_secs(15), "node {id} took {:?} to stop", began.elapsed());
    }
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    let verdict = workload.ledger().check(&client, &Source::Leader).await?;
    assert!(verdict.is_clean(), "{verdict}");
    let after = cluster.digests().await?;
    assert!(before.are_equal() && after.are_equal() && after.index >= before.index, "{before} / {after}");
    assert_eq!(workload.counts().contradictions, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn stopping_the_leader_in_order_fails_no_write() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let mut workload = Workload::new(&client, 8, 3);
    workload.start();
    workload.wait_acknowledged(200, PATIENCE).await?;
    let leader = cluster.wait_leader().await?;
    cluster.stop(leader).await?;
    workload.wait_acknowledged(200, PATIENCE).await?;
    workload.rest().await;
    let counts = workload.counts();
    assert_eq!((counts.unknown, counts.not_applied), (0, 0), "the client retries exactly once: {counts:?}");
    assert_eq!(counts.contradictions, Vec::<String>::new());
    let verdict = workload.ledger().check(&client, &Source::Leader).await?;
    assert!(verdict.is_clean(), "{verdict}");
    Ok(())
}

#[tokio::test]
async fn a_node_alone_keeps_everything_over_stops_and_kills() -> Outcome {
    let mut cluster = one().await?;
    let mut made = Vec::new();
    for round in 0..4 {
        let client = cluster.client()?;
        for number in 0..10 {
            made.push((
                client.create(session("a", format!("{round}/{number}"))).await?.id,
                format!("{round}/{number}"),
            ));
        }
        if round % 2 == 0 {
            cluster.node_mut(1)?.kill()?;
        } else {
            cluster.stop(1).await?;
        }
        cluster.node_mut(1)?.start()?;
        cluster.wait_ready(1).await?;
        for (id, value) in &made {
            let session = client.get_with(id, looking()).await?;
            assert_eq!(
                session.attributes.get("a").map(|value| value.to_vec()),
                Some(value.clone().into_bytes())
            );
        }
    }
    Ok(())
}
