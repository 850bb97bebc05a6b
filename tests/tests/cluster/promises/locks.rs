//! A lock whose holder stops, and one whose leader is killed.

use std::time::Duration;

use quorate_client::{Client, ErrorKind, LockOptions, LockState, Patch, SessionId, Write};
use quorate_tests::{PATIENCE, until};
use rustix::process::Signal;
use tokio::time::Instant;

use super::holder::Holder;
use crate::common::{Outcome, assert_everywhere, looking, session, three};

fn writer(name: &str) -> Write {
    Write::patch(Patch::new().set("writer", name.to_owned()))
}

#[tokio::test]
async fn a_stale_fence_is_refused_after_its_holder_was_stopped_past_its_lease() -> Outcome {
    const LEASE: Duration = Duration::from_secs(2);
    // A lease, what a busy machine needs, and one call.
    const FREE_WITHIN: Duration = Duration::from_secs(8);
    let cluster = three().await?;
    let client = cluster.client()?;
    let id = client.create(session("writer", "nobody")).await?.id;
    let holder = Holder::start(&cluster, &id, LEASE)?;
    let first: u64 = holder.wait("holds").await?.parse()?;
    // Longer than the lease: it renews.
    let held = Instant::now();
    until("the holder renews its lease", PATIENCE, || async {
        let age = client.get_with(&id, looking()).await.map_err(|error| error.to_string())?.lock;
        match age {
            Some(lock) if lock.age > LEASE * 2 => Ok(()),
            lock => Err(format!("{lock:?} after {:?}", held.elapsed())),
        }
    })
    .await?;
    holder.wait("wrote 3").await?;
    let refused = client.write(&id, writer("without")).await.err().ok_or("a write without the lock")?;
    assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");

    holder.signal(Signal::STOP)?;
    let stopped = Instant::now();
    let second = client.lock(&id, LockOptions::new().wait(PATIENCE).owner("second")).await?;
    assert!(stopped.elapsed() < FREE_WITHIN, "an orphaned lock blocked for {:?}", stopped.elapsed());
    assert!(second.fence() > first, "{} after {first}", second.fence());
    let written = second.write(writer("second")).await?;

    let before = holder.lines().len();
    holder.signal(Signal::CONT)?;
    assert_eq!(holder.wait("refused").await?, "STALE_FENCE");
    assert_eq!(holder.wait("is_lost").await?, "true", "it was refused, and its guard holds on");
    holder.wait("told").await?;
    assert_eq!(holder.wait("guard").await?, "LockLost");
    // One answer may have been on its way while it was stopped; it is one to a write before the second holder's.
    let late = holder.lines().split_off(before).iter().filter(|line| line.starts_with("wrote")).count();
    assert!(late <= 1, "{:?}", holder.lines());
    let found = client.get_with(&id, looking()).await?;
    assert_eq!(found.version, written.version, "somebody wrote without the lock");
    let expected = (&id, "writer", "second");
    assert_everywhere(&cluster, &client, &cluster.ids(), expected, found.position).await?;
    assert!(!second.is_lost());
    second.write_and_release(writer("second, still")).await?;
    assert_eq!(client.get_with(&id, looking()).await?.lock, None);
    Ok(())
}

async fn lock_of(client: &Client, id: &SessionId) -> Result<Option<LockState>, quorate_client::Error> {
    Ok(client.get_with(id, looking()).await?.lock)
}

#[tokio::test]
async fn a_lock_outlives_the_leader_and_its_guard_goes_on_renewing_it() -> Outcome {
    const LEASE: Duration = Duration::from_secs(8);
    const ORPHAN_LEASE: Duration = Duration::from_secs(600);
    // A new leader may know less of the time than the last one, by a little.
    const SLACK: Duration = Duration::from_secs(1);
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let id = client.create(session("writer", "nobody")).await?.id;
    let guard = client.lock(&id, LockOptions::new().lease(LEASE).owner("holder")).await?;
    // One whose holder is gone: nobody renews it.
    let orphan = client.create(session("writer", "nobody")).await?.id;
    client.lock(&orphan, LockOptions::new().lease(ORPHAN_LEASE)).await?.into_fence();
    let locked = Instant::now();
    let mut version = guard.write(writer("holder")).await?.version;
    let mut age = Duration::ZERO;
    let mut rounds = 0;
    // Longer than a lease that nobody renews.
    while locked.elapsed() < LEASE * 3 / 2 {
        let leader = cluster.wait_leader().await?;
        cluster.node_mut(leader)?.kill()?;
        cluster.wait_leader_but(leader).await?;
        let lock = lock_of(&client, &id).await?.ok_or("the lock is gone")?;
        let most = locked.elapsed();
        assert_eq!(lock.owner, "holder");
        assert!(age < lock.age && lock.age <= most + SLACK, "{lock:?} after {most:?}");
        age = lock.age;
        let gone = locked.elapsed();
        let left = lock_of(&client, &orphan).await?.ok_or("the lock is gone")?.remaining;
        assert!(left <= ORPHAN_LEASE + SLACK - gone, "its lease began anew: {left:?} left after {gone:?}");
        let other = client.lock(&id, LockOptions::new()).await.err().ok_or("two hold one lock")?;
        assert!(matches!(other.kind(), ErrorKind::Locked { .. }), "{other}");
        let written = guard.write(writer("holder")).await?;
        assert_eq!(written.version, version + 1, "somebody wrote without the lock");
        version = written.version;
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
        rounds += 1;
    }
    assert!(!guard.is_lost(), "it was renewed all the time");
    assert!(age > LEASE || rounds > 1, "age {age:?} after {rounds} kills");
    let fence = guard.fence();
    guard.unlock().await?;
    let next = client.lock(&id, LockOptions::new()).await?;
    assert_eq!(next.fence(), fence + 2, "the counter went on");
    next.unlock().await?;
    Ok(())
}

/// Those who are there must not wait behind those who are not, nor find the line full of them.
#[tokio::test]
async fn who_gives_up_waiting_leaves_the_line_at_once() -> Outcome {
    const WAIT: Duration = Duration::from_secs(60);
    // Far below what they were ready to wait.
    const LEFT_WITHIN: Duration = Duration::from_secs(20);
    let cluster = three().await?;
    let client = cluster.client()?;
    let id = client.create(session("writer", "nobody")).await?.id;
    let guard = client.lock(&id, LockOptions::new().lease(WAIT)).await?;
    let wait = LockOptions::new().lease(WAIT).wait(WAIT);
    let mut most = 0;
    for _ in 0..20 {
        let given_up = tokio::time::timeout(Duration::from_millis(50), async {
            tokio::select! {
                _ = client.lock(&id, wait.clone()) => None,
                seen = seen_waiting(&client, &id) => Some(seen),
            }
        });
        most = most.max(given_up.await.ok().flatten().unwrap_or_default());
    }
    assert!(most > 0, "nobody was ever in line");
    until("nobody is in line", LEFT_WITHIN, || async {
        match lock_of(&client, &id).await {
            Ok(Some(lock)) if lock.waiting == 0 => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    assert!(!guard.is_lost());
    let fence = guard.fence();
    guard.unlock().await?;
    let next = client.lock(&id, LockOptions::new()).await?;
    assert!(next.fence() > fence, "it goes to nobody who has left");
    next.unlock().await?;
    Ok(())
}

/// How many wait, once anybody does; looks until then.
async fn seen_waiting(client: &Client, id: &SessionId) -> u32 {
    loop {
        if let Ok(Some(lock)) = lock_of(client, id).await
            && lock.waiting > 0
        {
            return lock.waiting;
        }
    }
}
