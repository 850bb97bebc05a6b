use std::time::{Duration, Instant};

use quorate_client::{ErrorKind, LockOptions, Patch, Position};
use quorate_proto::v1;
use tonic::Code;

use crate::common::{Outcome, local, reason, session, stub, three};

/// A node tells what remains by its own estimate of cluster time.
const SLACK: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_follower_answers_at_a_position_with_everything_written_by_then() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let leader = cluster.wait_leader().await?;
    let followers: Vec<_> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let id = client.create(session("n", "0")).await?.id;
    for number in 1..=50 {
        let written = client.patch(&id, Patch::new().set("n", number.to_string())).await?;
        for follower in &followers {
            // At once, without waiting for the follower by other means.
            let seen = client.get_with(&id, local(&cluster, *follower, written.position)?).await?;
            assert_eq!(seen.version, written.version, "node {follower} answered with an older session");
            assert!(seen.position.index >= written.position.index);
        }
    }
    let deleted = client.delete(&id).await?;
    for follower in followers {
        let gone = client.get_with(&id, local(&cluster, follower, deleted)?).await;
        assert_eq!(gone.err().map(|error| error.kind()), Some(ErrorKind::NotFound), "node {follower}");
    }
    Ok(())
}

#[tokio::test]
async fn a_position_out_of_reach_or_of_another_cluster_is_refused() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let created = client.create(session("a", "1")).await?;
    let follower = cluster.a_follower().await?;
    let mut stub = stub(&cluster, follower).await?;
    let read = |position: Position| v1::GetRequest {
        id: created.id.reveal().to_owned(),
        at_least: Some(v1::Position { cluster: position.cluster, index: position.index }),
        ..Default::default()
    };
    let foreign = Position { cluster: created.position.cluster ^ 1, index: 1 };
    let refused = stub.get(read(foreign)).await.err().ok_or("a foreign position was taken")?;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "OTHER_CLUSTER"));

    let beyond = Position { index: created.position.index + 1_000_000, ..created.position };
    let began = Instant::now();
    let refused = stub.get(read(beyond)).await.err().ok_or("a position in the future was answered")?;
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert!((4..8).contains(&began.elapsed().as_secs()), "the wait is bounded: {:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_read_tells_timeouts_and_lock_on_every_node() -> Outcome {
    const IDLE: Duration = Duration::from_secs(600);
    const ABSOLUTE: Duration = Duration::from_secs(3_600);
    const LEASE: Duration = Duration::from_secs(90);
    let cluster = three().await?;
    let client = cluster.client()?;
    let new = session("a", "1").idle_timeout(IDLE).absolute_timeout(ABSOLUTE);
    let id = client.create(new).await?.id;
    let began = Instant::now();
    let guard = client.lock(&id, LockOptions::new().lease(LEASE).owner("web-1")).await?;
    for node in cluster.ids() {
        let seen = client.get_with(&id, local(&cluster, node, guard.position())?).await?;
        let lasted = began.elapsed();
        assert_eq!((seen.idle_timeout, seen.absolute_timeout), (Some(IDLE), Some(ABSOLUTE)), "node {node}");
        let remaining = seen.remaining.ok_or("it would never expire")?;
        assert!(remaining <= IDLE && remaining + lasted + SLACK >= IDLE, "{remaining:?} after {lasted:?}");
        let lock = seen.lock.ok_or("nobody holds the lock")?;
        assert_eq!((lock.owner.as_str(), lock.waiting), ("web-1", 0), "node {node}");
        assert!(lock.age <= lasted + SLACK, "{lock:?} after {lasted:?}");
        assert!(lock.remaining <= LEASE && lock.remaining + lasted + SLACK >= LEASE, "{lock:?}");
    }
    let unlocked = guard.unlock().await?;
    for node in cluster.ids() {
        let seen = client.get_with(&id, local(&cluster, node, unlocked)?).await?;
        assert_eq!(seen.lock, None, "node {node}");
    }
    Ok(())
}
