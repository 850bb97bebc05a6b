use std::fs;

use quorate_tests::{HarnessError, PATIENCE, ProcessCluster, until};
use rustix::process::{Pid, Signal};

use crate::common::{Outcome, three};

/// Everything that must notice that `node` has ended does, and names it.
async fn assert_missed(cluster: &mut ProcessCluster, node: u64) {
    let ended = |result: Result<(), HarnessError>, by: &str| match result {
        Err(HarnessError::Ended { node: found, .. }) => assert_eq!(found, node, "{by}"),
        other => panic!("{by} did not notice that node {node} has ended: {other:?}"),
    };
    ended(cluster.wait_ready_all().await, "wait_ready_all");
    ended(cluster.digests().await.map(drop), "digests");
    ended(cluster.check_alive(), "check_alive");
    ended(cluster.start_all(), "start_all");
    ended(cluster.stop(node).await, "stop");
    ended(cluster.node_mut(node).and_then(|node| node.kill()), "kill");
}

#[tokio::test]
async fn a_node_that_refuses_to_start_is_not_left_out() -> Outcome {
    let mut cluster = three().await?;
    let victim = cluster.a_follower().await?;
    cluster.node_mut(victim)?.kill()?;
    let rest = cluster.expected();
    assert_eq!(cluster.digests().await?.of.len(), 2, "a node that was killed is not expected");
    assert!(!rest.contains(&victim));
    let identity = cluster.node(victim)?.spec().data_dir.join("identity");
    let sound = fs::read(&identity)?;
    fs::write(&identity, b"no identity")?;
    cluster.start_all()?;
    assert_missed(&mut cluster, victim).await;

    fs::write(&identity, sound)?;
    cluster.node_mut(victim)?.start()?;
    cluster.wait_ready_all().await?;
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.are_of(&cluster.ids()), "{digests}");
    Ok(())
}

#[tokio::test]
async fn a_node_that_dies_by_itself_is_not_left_out() -> Outcome {
    let mut cluster = three().await?;
    let victim = cluster.a_follower().await?;
    // Behind the harness's back.
    cluster.node(victim)?.signal(Signal::KILL)?;
    let all = cluster.ids().len();
    until("the node is gone", PATIENCE, || {
        let running = cluster.running().len();
        std::future::ready(if running < all { Ok(()) } else { Err(format!("{running} run")) })
    })
    .await?;
    assert_missed(&mut cluster, victim).await;
    Ok(())
}

/// Waits until the kernel says so of a process.
async fn wait_told(pid: Pid, told: &str) -> Result<(), HarnessError> {
    until(&format!("process {pid} has {told:?}"), PATIENCE, || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        std::future::ready(if status.contains(told) { Ok(()) } else { Err(status) })
    })
    .await
}

#[tokio::test]
async fn a_stop_that_ends_badly_is_an_error() -> Outcome {
    let mut cluster = three().await?;
    let victim = cluster.a_follower().await?;
    let pid = cluster.node(victim)?.pid().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(Pid::from_raw).ok_or("it does not run")?;
    // Paused, so that it cannot carry out the order to stop before it is killed.
    cluster.node(victim)?.signal(Signal::STOP)?;
    wait_told(pid, "State:\tT").await?;
    let kill = async {
        // SIGTERM, and nothing else, is pending.
        wait_told(pid, "ShdPnd:\t0000000000004000").await?;
        rustix::process::kill_process(pid, Signal::KILL)
            .map_err(|errno| HarnessError::Unreadable(errno.to_string()))
    };
    let (stopped, killed) = futures_util::future::join(cluster.stop(victim), kill).await;
    killed?;
    match stopped {
        Err(HarnessError::Disorderly { node, .. }) => assert_eq!(node, victim),
        other => panic!("a killed node counts as stopped: {other:?}"),
    }
    cluster.wait_ready_all().await?;
    Ok(())
}
