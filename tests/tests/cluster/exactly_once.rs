use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_client::{Client, ErrorKind, SessionId, Write};
use quorate_proto::v1;
use quorate_tests::{PATIENCE, until};
use tokio::sync::watch;
use tonic::Code;

use crate::common::{Outcome, create_request, fact, looking, patiently, reason, session, stub, three};

#[tokio::test]
async fn a_request_id_is_carried_out_once_also_across_leaders() -> Outcome {
    let mut cluster = three().await?;
    let leader = cluster.wait_leader().await?;
    let follower = cluster.a_follower().await?;
    let (first, second) = (stub(&cluster, leader).await?, stub(&cluster, follower).await?);
    let client = patiently(|| {
        let mut stub = first.clone();
        async move { stub.open_client(v1::OpenClientRequest {}).await }
    })
    .await?
    .client;
    let numbered = |sequence| Some(v1::RequestId { client, sequence, lowest_unanswered: 1 });
    let request = v1::CreateRequest { request_id: numbered(1), ..create_request("1") };
    let send = |stub: &v1::sessions_client::SessionsClient<_>, request: &v1::CreateRequest| {
        let (mut stub, request) = (stub.clone(), request.clone());
        async move { stub.create(request).await }
    };
    let created = patiently(|| send(&first, &request)).await?;
    let again = patiently(|| send(&first, &request)).await?;
    assert_eq!((&again.id, again.version), (&created.id, 1), "a retry answers as the first did");

    cluster.node_mut(leader)?.kill()?;
    let after = patiently(|| send(&second, &request)).await?;
    assert_eq!((&after.id, after.version), (&created.id, 1), "also after the leader died");

    let other = v1::CreateRequest { request_id: numbered(1), ..create_request("2") };
    let refused =
        patiently(|| send(&second, &other)).await.err().ok_or("another payload under the same id")?;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "REQUEST_MISMATCH"));
    let stranger = v1::RequestId { client: client ^ 1, sequence: 1, lowest_unanswered: 1 };
    let unknown = v1::CreateRequest { request_id: Some(stranger), ..create_request("3") };
    let refused = patiently(|| send(&second, &unknown)).await.err().ok_or("an unknown client was served")?;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "UNKNOWN_CLIENT"));
    assert_eq!(fact(&refused, "retryable").as_deref(), Some("false"));

    // Sequence 2 says that 1 has been answered: its outcome is forgotten.
    let later = v1::CreateRequest {
        request_id: Some(v1::RequestId { client, sequence: 2, lowest_unanswered: 2 }),
        ..create_request("4")
    };
    patiently(|| send(&second, &later)).await?;
    let refused =
        patiently(|| send(&second, &request)).await.err().ok_or("a forgotten request was repeated")?;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "STALE_REQUEST"));
    Ok(())
}

/// Raises one session's version by one, again and again, each write on condition of the version before. A retry that
/// was carried out twice would meet a conflict with itself.
async fn count(
    client: Client,
    id: SessionId,
    counted: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
) -> Result<u64, String> {
    let mut version = 1;
    while !*stop.borrow() {
        let write = Write::replace([("version", version.to_string())]).if_version(version);
        match client.write(&id, write).await {
            Ok(written) if written.version == version + 1 => {
                version += 1;
                // Only what was acknowledged is progress.
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(written) => return Err(format!("version {} after {version}", written.version)),
            Err(error) if error.kind() == ErrorKind::Deadline || error.may_have_taken_effect() => {
                return Err(format!("no outcome although a quorum lived: {error}"));
            }
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(version)
}

#[tokio::test]
async fn conditional_writes_never_conflict_with_their_own_retries_across_leader_kills() -> Outcome {
    const COUNTERS: usize = 8;
    const KILLS: usize = 3;
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let counted = Arc::new(AtomicU64::new(0));
    let stop = watch::Sender::new(false);
    let mut counters = Vec::new();
    for _ in 0..COUNTERS {
        let id = client.create(session("version", "0")).await?.id;
        let task = count(client.clone(), id.clone(), Arc::clone(&counted), stop.subscribe());
        counters.push((id, tokio::spawn(task)));
    }
    for _ in 0..KILLS {
        more(&counted, 100).await?;
        let leader = cluster.wait_leader().await?;
        cluster.node_mut(leader)?.kill()?;
        more(&counted, 100).await?;
        cluster.node_mut(leader)?.start()?;
        cluster.wait_ready(leader).await?;
    }
    stop.send_replace(true);
    for (id, counter) in counters {
        let version = counter.await??;
        assert_eq!(client.get_with(&id, looking()).await?.version, version);
    }
    Ok(())
}

async fn more(counted: &AtomicU64, by: u64) -> Outcome {
    let before = counted.load(Ordering::Relaxed);
    until("writes are acknowledged", PATIENCE, || async {
        let done = counted.load(Ordering::Relaxed) - before;
        if done >= by { Ok(()) } else { Err(format!("{done}")) }
    })
    .await?;
    Ok(())
}
