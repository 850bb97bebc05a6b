use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_client::{Client, ErrorKind, NewSession, SessionId};
use quorate_tests::{ClusterOptions, HarnessError, PATIENCE, ProcessCluster};
use tokio::time::sleep;

use crate::common::{Outcome, looking, options, session, three};

const HOUR_MS: i64 = 3_600_000;
/// How far cluster time may be from the true wall clock: less than any fault tested here, more than this machine stalls.
const SKEW_MS_MAX: i64 = 20_000;
/// The granule of a short idle timeout.
const GRANULE: Duration = Duration::from_secs(1);
/// How long after deadline and granule a session may still be seen, and what a read on a loaded machine takes on top.
const LATEST: Duration = Duration::from_millis(3_500);

fn set_offset(cluster: &mut ProcessCluster, node: u64, offset_ms: i64) -> Result<(), HarnessError> {
    let arguments = &mut cluster.node_mut(node)?.spec_mut().arguments;
    arguments.retain(|argument| !argument.to_string_lossy().starts_with("--clock-offset-ms"));
    arguments.push(format!("--clock-offset-ms={offset_ms}").into());
    Ok(())
}

/// Three nodes, ready, one of them with another wall clock.
async fn three_of_which(node: u64, offset_ms: i64) -> Result<ProcessCluster, HarnessError> {
    let mut cluster = ProcessCluster::lay_out(&options(3))?;
    set_offset(&mut cluster, node, offset_ms)?;
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    Ok(cluster)
}

/// The state's clock at the leader, less the true wall clock, in milliseconds.
async fn skew_ms(cluster: &mut ProcessCluster) -> Result<i64, HarnessError> {
    let leader = cluster.wait_leader().await?;
    let cluster_ms = i64::try_from(cluster.status(leader).await?.cluster_time_ms).unwrap_or(i64::MAX);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(cluster_ms - i64::try_from(wall.as_millis()).unwrap_or(0))
}

async fn assert_time_is_right(cluster: &mut ProcessCluster) -> Outcome {
    let skew_ms = skew_ms(cluster).await?;
    assert!(skew_ms.abs() < SKEW_MS_MAX, "cluster time is {skew_ms} ms ahead of the true time");
    Ok(())
}

/// The node that neither is `wanted` nor leads, killed, and a write that it does not have: now the other two have the
/// longest logs.
async fn leave_one_behind(
    cluster: &mut ProcessCluster,
    client: &Client,
    wanted: u64,
) -> Result<(u64, u64), HarnessError> {
    let leader = cluster.wait_leader().await?;
    let behind = cluster.ids().into_iter().find(|id| *id != leader && *id != wanted);
    let behind = behind.ok_or(HarnessError::NoNode(0))?;
    cluster.node_mut(behind)?.kill()?;
    client.create(session("a", "only two have it")).await?;
    Ok((leader, behind))
}

/// Kills the leader such that only `wanted` can succeed it, and waits until it does and all nodes are back.
async fn fail_over_to(
    cluster: &mut ProcessCluster,
    client: &Client,
    wanted: u64,
) -> Result<(), HarnessError> {
    let (leader, behind) = leave_one_behind(cluster, client, wanted).await?;
    if leader != wanted {
        cluster.node_mut(leader)?.kill()?;
        cluster.node_mut(behind)?.start()?;
        assert_eq!(cluster.wait_leader_but(leader).await?, wanted, "the other one lacks a committed entry");
    }
    cluster.start_all()?;
    cluster.wait_ready_all().await
}

async fn is_alive(client: &Client, id: &SessionId) -> Result<bool, HarnessError> {
    match client.get_with(id, looking()).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads until the session is gone.
async fn gone(client: &Client, id: &SessionId) -> Result<Instant, HarnessError> {
    let began = Instant::now();
    while is_alive(client, id).await? {
        if began.elapsed() > PATIENCE {
            let (what, seen) = ("the session expires".to_owned(), "it is still there".to_owned());
            return Err(HarnessError::Deadline { what, within: PATIENCE, seen });
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(Instant::now())
}

/// The node with the wrong clock takes part in founding the cluster, follows, leads, and dies as leader.
async fn a_wrong_clock_expires_nobody(offset_ms: i64) -> Outcome {
    const ABSOLUTE: Duration = Duration::from_secs(30);
    const WRONG: u64 = 2;
    let mut cluster = three_of_which(WRONG, offset_ms).await?;
    let client = cluster.client()?;
    assert_time_is_right(&mut cluster).await?;
    let sent = Instant::now();
    let id = client.create(NewSession::new().absolute_timeout(ABSOLUTE)).await?.id;
    let acknowledged = Instant::now();
    let idle = client.create(NewSession::new().idle_timeout(Duration::from_secs(300))).await?.id;

    fail_over_to(&mut cluster, &client, WRONG).await?;
    let alive = is_alive(&client, &id).await?;
    assert!(alive || sent.elapsed() >= ABSOLUTE, "gone {:?} after its creation", sent.elapsed());
    assert_time_is_right(&mut cluster).await?;
    cluster.node_mut(WRONG)?.kill()?;
    let alive = is_alive(&client, &id).await?;
    assert!(alive || sent.elapsed() >= ABSOLUTE, "gone {:?} after its creation", sent.elapsed());
    assert_time_is_right(&mut cluster).await?;

    let gone = gone(&client, &id).await?;
    assert!(gone - sent >= ABSOLUTE, "gone after {:?}, early", gone - sent);
    assert!(gone - acknowledged <= ABSOLUTE + LATEST, "alive {:?} after its creation", gone - acknowledged);
    assert!(is_alive(&client, &idle).await?, "the idle timeout has long not passed");
    Ok(())
}

#[tokio::test]
async fn a_wall_clock_an_hour_ahead_expires_nobody() -> Outcome {
    a_wrong_clock_expires_nobody(HOUR_MS).await
}

#[tokio::test]
async fn a_wall_clock_an_hour_behind_expires_nobody() -> Outcome {
    a_wrong_clock_expires_nobody(-HOUR_MS).await
}

#[tokio::test]
async fn a_restart_of_all_nodes_with_a_wrong_clock_counts_the_true_outage_and_no_more() -> Outcome {
    const SHORT: Duration = Duration::from_secs(6);
    const WRONG: u64 = 1;
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let short = client.create(NewSession::new().absolute_timeout(SHORT)).await?.id;
    let created = Instant::now();
    let one = client.create(NewSession::new().absolute_timeout(minutes(1))).await?.id;
    let ten = client.create(NewSession::new().absolute_timeout(minutes(10))).await?.id;
    let idle = client.create(NewSession::new().idle_timeout(minutes(1))).await?.id;
    let (leader, behind) = leave_one_behind(&mut cluster, &client, WRONG).await?;
    for id in cluster.running() {
        cluster.node_mut(id)?.kill()?;
    }
    set_offset(&mut cluster, WRONG, HOUR_MS)?;
    // How long the outage is, is what is tested: there is nothing to wait for but time.
    sleep((SHORT + LATEST).saturating_sub(created.elapsed())).await;

    // Two of three answer, and the one whose clock is wrong must lead: the other lacks a committed entry.
    cluster.node_mut(WRONG)?.start()?;
    cluster.node_mut(behind)?.start()?;
    assert_eq!(cluster.wait_leader().await?, WRONG);
    assert!(!is_alive(&client, &short).await?, "its deadline passed during the outage");
    let lived = created.elapsed();
    assert!(is_alive(&client, &one).await? || lived >= minutes(1), "gone after {lived:?}");
    assert!(is_alive(&client, &ten).await? && is_alive(&client, &idle).await?, "gone after {lived:?}");
    assert_time_is_right(&mut cluster).await?;
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    fail_over_to(&mut cluster, &client, if leader == WRONG { behind } else { leader }).await?;
    assert_time_is_right(&mut cluster).await?;
    assert!(is_alive(&client, &ten).await? && is_alive(&client, &idle).await?);
    Ok(())
}

#[tokio::test]
async fn what_a_leader_with_a_wrong_clock_has_written_misleads_no_restart() -> Outcome {
    const WRONG: u64 = 3;
    let mut cluster = three_of_which(WRONG, -HOUR_MS).await?;
    let client = cluster.client()?;
    let ten = client.create(NewSession::new().absolute_timeout(Duration::from_secs(600))).await?.id;
    fail_over_to(&mut cluster, &client, WRONG).await?;
    // Its Ticks are what the next start goes by: wait until it has made some.
    let ticked = cluster.status(WRONG).await?.applied_index + 3;
    crate::common::wait_applied(&cluster, WRONG, ticked).await?;
    for id in cluster.ids() {
        cluster.node_mut(id)?.kill()?;
    }
    set_offset(&mut cluster, WRONG, 0)?;
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    assert_time_is_right(&mut cluster).await?;
    assert!(is_alive(&client, &ten).await?);
    Ok(())
}

#[tokio::test]
async fn nodes_restarted_one_by_one_with_wrong_clocks_go_on_where_the_cluster_was() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let ten = client.create(NewSession::new().absolute_timeout(Duration::from_secs(600))).await?.id;
    // In the end all three wall clocks are wrong: who asks them instead of the other nodes is an hour ahead.
    for id in cluster.ids() {
        cluster.node_mut(id)?.kill()?;
        set_offset(&mut cluster, id, HOUR_MS)?;
        cluster.node_mut(id)?.start()?;
        cluster.wait_ready_all().await?;
        assert_time_is_right(&mut cluster).await?;
    }
    let leader = cluster.wait_leader().await?;
    cluster.node_mut(leader)?.kill()?;
    assert!(is_alive(&client, &ten).await?);
    assert_time_is_right(&mut cluster).await?;
    Ok(())
}

#[tokio::test]
async fn a_session_touched_right_before_a_failover_lives_for_its_idle_timeout() -> Outcome {
    const IDLE: Duration = Duration::from_secs(2);
    // Small enough that the leap of a new leader to its own wall clock would pass for served time.
    const AHEAD_MS: i64 = 4_500;
    // With the timers that users get: the failover is over before the session may end.
    let arguments = vec!["--log-prefill-bytes=0".into()];
    let options = ClusterOptions { arguments, ..ClusterOptions::new(crate::common::QUORATED) };
    let mut cluster = ProcessCluster::start(&options).await?;
    let client = cluster.client()?;
    let leader = cluster.wait_leader().await?;
    for id in cluster.ids().into_iter().filter(|id| *id != leader) {
        cluster.node_mut(id)?.kill()?;
        set_offset(&mut cluster, id, AHEAD_MS)?;
        cluster.node_mut(id)?.start()?;
        cluster.wait_ready(id).await?;
    }
    let mut seen_after = 0;
    for _ in 0..3 {
        let id = client.create(NewSession::new().attribute("a", "1").idle_timeout(IDLE)).await?.id;
        let leader = cluster.wait_leader().await?;
        let touched = Instant::now();
        client.touch(&id).await?;
        cluster.node_mut(leader)?.kill()?;
        while touched.elapsed() < IDLE {
            let alive = is_alive(&client, &id).await?;
            assert!(alive || touched.elapsed() >= IDLE, "gone {:?} after its touch", touched.elapsed());
            seen_after += u32::from(alive);
        }
        let gone = gone(&client, &id).await?;
        assert!(gone - touched <= IDLE + GRANULE + LATEST, "alive {:?} after its touch", gone - touched);
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
    }
    assert!(seen_after > 0, "no failover was over in time on this machine: the test says nothing");
    Ok(())
}
