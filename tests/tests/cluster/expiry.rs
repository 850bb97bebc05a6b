use std::time::{Duration, Instant};

use quorate_client::{Client, ErrorKind, NewSession, SessionId};
use quorate_tests::{HarnessError, PATIENCE};
use tokio::time::sleep;

use crate::common::{Outcome, local, looking, three};

/// The granule of a short idle timeout.
const GRANULE: Duration = Duration::from_secs(1);
/// How long after deadline and granule a session may still be seen.
const LATEST: Duration = Duration::from_millis(1_500);
/// What a read on a loaded machine may take on top.
const SLACK: Duration = Duration::from_secs(2);

/// Reads until the session is gone; returns when the last read that still saw it was sent, and when the first that did
/// not was answered.
async fn watch_end(client: &Client, id: &SessionId) -> Result<(Option<Instant>, Instant), HarnessError> {
    let (began, mut alive) = (Instant::now(), None);
    loop {
        let sent = Instant::now();
        match client.get_with(id, looking()).await {
            Ok(_) => alive = Some(sent),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((alive, Instant::now())),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.into()),
        }
        if began.elapsed() > PATIENCE {
            let seen = "it is still there".to_owned();
            return Err(HarnessError::Deadline {
                what: "the session expires".to_owned(),
                within: PATIENCE,
                seen,
            });
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_idle_session_lives_for_its_timeout_and_is_gone_soon_after_on_every_node() -> Outcome {
    const IDLE: Duration = Duration::from_secs(2);
    let cluster = three().await?;
    let client = cluster.client()?;
    let sent = Instant::now();
    let created = client.create(NewSession::new().attribute("a", "1").idle_timeout(IDLE)).await?;
    let acknowledged = Instant::now();
    let (alive, gone) = watch_end(&client, &created.id).await?;
    // The server's clock started somewhere between the two.
    assert!(gone - sent >= IDLE, "expired after {:?}, early", gone - sent);
    assert!(alive.is_some(), "it was never seen alive");
    let latest = IDLE + GRANULE + LATEST + SLACK;
    assert!(gone - acknowledged <= latest, "seen {:?} after its creation", gone - acknowledged);

    // The id is free again: what comes is a new session.
    let position =
        client.create(NewSession::new().id(created.id.clone()).attribute("a", "2")).await?.position;
    for node in cluster.ids() {
        let session = client.get_with(&created.id, local(&cluster, node, position)?).await?;
        assert_eq!(
            (session.version, session.attributes.get("a").map(AsRef::as_ref)),
            (1, Some(b"2".as_slice()))
        );
    }
    Ok(())
}

#[tokio::test]
async fn touching_prolongs_an_idle_session_but_not_an_absolute_deadline() -> Outcome {
    const IDLE: Duration = Duration::from_secs(2);
    const ABSOLUTE: Duration = Duration::from_secs(7);
    let cluster = three().await?;
    let client = cluster.client()?;
    let sent = Instant::now();
    let new = NewSession::new().idle_timeout(IDLE).absolute_timeout(ABSOLUTE);
    let id = client.create(new).await?.id;
    let acknowledged = Instant::now();
    let (mut touches, mut between) = (0, Duration::ZERO);
    let mut last = Instant::now();
    let gone = loop {
        let result = client.touch(&id).await;
        between = between.max(last.elapsed());
        last = Instant::now();
        match result {
            Ok(_) => touches += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => break Instant::now(),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.into()),
        }
        assert!(acknowledged.elapsed() < PATIENCE, "it never expired");
        sleep(Duration::from_millis(200)).await;
    };
    assert!(between < IDLE, "this machine stalled for {between:?}: the test says nothing");
    assert!(touches > 5, "only {touches} touches");
    assert!(gone - sent >= ABSOLUTE, "gone after {:?} although it was touched all the time", gone - sent);
    assert!(
        gone - acknowledged <= ABSOLUTE + LATEST + SLACK,
        "alive {:?} after its creation",
        gone - acknowledged
    );
    Ok(())
}

#[tokio::test]
async fn a_failover_and_a_restart_of_all_nodes_cost_nobody_their_session() -> Outcome {
    // The outage below is longer, so the session would be gone if it counted; what is served after it is shorter.
    const IDLE: Duration = Duration::from_secs(10);
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let id = client.create(NewSession::new().attribute("a", "1").idle_timeout(IDLE)).await?.id;
    let leader = cluster.wait_leader().await?;
    cluster.node_mut(leader)?.kill()?;
    assert!(client.get_with(&id, looking()).await?.remaining.is_some());
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    client.touch(&id).await?;
    let touched = Instant::now();
    for id in cluster.ids() {
        cluster.node_mut(id)?.kill()?;
    }
    // How long the outage is, is what is tested: there is nothing to wait for but time.
    sleep((IDLE + GRANULE + LATEST).saturating_sub(touched.elapsed())).await;
    let restarted = Instant::now();
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    let result = client.get_with(&id, looking()).await;
    let served = restarted.elapsed();
    assert!(served < IDLE, "this machine took {served:?} to start: the test says nothing");
    let session = result?;
    assert_eq!(session.attributes.get("a").map(AsRef::as_ref), Some(b"1".as_slice()));
    Ok(())
}
