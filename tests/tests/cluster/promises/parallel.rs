//! Requests of one user at the same time: patches of different attributes, and a logout among writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_client::{Client, ErrorKind, NewSession, Position, SessionId};
use quorate_proto::v1;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::{PATIENCE, ProcessCluster, new_id, until};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{Outcome, local, looking, patiently, reason, session, stub, three};

fn patch(id: &SessionId, name: &str, value: &str) -> v1::WriteRequest {
    let set = [(name.to_owned(), Bytes::from(value.to_owned()))].into();
    v1::WriteRequest {
        id: id.reveal().to_owned(),
        change: Some(v1::write_request::Change::Patch(v1::Patch { set, remove: Vec::new() })),
        ..Default::default()
    }
}

async fn written(
    stub: &SessionsClient<Channel>,
    request: &v1::WriteRequest,
) -> Result<v1::WriteResponse, Status> {
    patiently(|| {
        let (mut stub, request) = (stub.clone(), request.clone());
        async move { stub.write(request).await }
    })
    .await
}

#[tokio::test]
async fn parallel_patches_of_different_attributes_are_both_kept() -> Outcome {
    const ROUNDS: u64 = 200;
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let (leader, follower) = (cluster.wait_leader().await?, cluster.a_follower().await?);
    let (here, there) = (stub(&cluster, leader).await?, stub(&cluster, follower).await?);
    let id = client.create(session("kept", "1")).await?.id;
    let mut position = Position::default();
    for round in 0..ROUNDS {
        let value = round.to_string();
        let (left, right) = (patch(&id, "left", &value), patch(&id, "right", &value));
        let (left, right) = tokio::join!(written(&here, &left), written(&there, &right));
        let (left, right) = (left?, right?);
        assert_ne!(left.version, right.version, "one of them was not seen by the other");
        let session = client.get_with(&id, looking()).await?;
        let found = ["left", "right", "kept"].map(|name| session.attributes.get(name).map(AsRef::as_ref));
        assert_eq!(found, [Some(value.as_bytes()), Some(value.as_bytes()), Some(b"1")], "round {round}");
        position = session.position;
    }
    for node in cluster.ids() {
        let session = client.get_with(&id, local(&cluster, node, position)?).await?;
        let last = (ROUNDS - 1).to_string();
        for name in ["left", "right"] {
            assert_eq!(session.attributes.get(name).map(AsRef::as_ref), Some(last.as_bytes()), "node {node}");
        }
    }
    Ok(())
}

/// Writes all attributes again and again, as a slow request would, until there is no such session.
fn keep_writing(
    client: &Client,
    id: &SessionId,
    acknowledged: &Arc<AtomicU64>,
) -> JoinHandle<Result<(), String>> {
    let (client, id, acknowledged) = (client.clone(), id.clone(), Arc::clone(acknowledged));
    tokio::spawn(async move {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match client.replace(&id, [("a", "written")]).await {
                Ok(_) => {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                // No quorum for a while. What was lost comes late, if ever.
                Err(error) if error.is_retryable() || error.may_have_taken_effect() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the session never ended".to_owned())
    })
}

/// Asserts that the session is there on no node, and that its id is refused.
async fn assert_ended(
    cluster: &ProcessCluster,
    client: &Client,
    id: &SessionId,
    position: Position,
) -> Outcome {
    for node in cluster.expected() {
        let found = client.get_with(id, local(cluster, node, position)?).await;
        assert_eq!(found.err().map(|error| error.kind()), Some(ErrorKind::NotFound), "node {node}");
    }
    let found = client.get_with(id, looking()).await;
    assert_eq!(found.err().map(|error| error.kind()), Some(ErrorKind::NotFound), "a revived session");
    let made = client.create(NewSession::new().id(id.clone())).await;
    assert_eq!(made.err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists), "its id is free");
    Ok(())
}

/// Ends a session that four clients write to without a pause; with `kill_after` turns of this thread the leader is killed
/// while that goes on.
async fn log_out_among_writes(cluster: &mut ProcessCluster, kill_after: Option<usize>) -> Outcome {
    let client = cluster.client()?;
    let id = client.create(session("a", "1")).await?.id;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut writers = Vec::new();
    for _ in 0..4 {
        // Connections of their own: else they would all stand behind one another.
        writers.push(keep_writing(&cluster.client()?, &id, &acknowledged));
    }
    until("writes are acknowledged", PATIENCE, || async {
        let count = acknowledged.load(Ordering::Relaxed);
        if count >= 20 { Ok(()) } else { Err(count.to_string()) }
    })
    .await?;
    let leader = cluster.wait_leader().await?;
    let ended = tokio::spawn({
        let (client, id) = (client.clone(), id.clone());
        async move { client.delete(&id).await }
    });
    if let Some(turns) = kill_after {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        cluster.node_mut(leader)?.kill()?;
    }
    let position = ended.await??;
    assert_ended(cluster, &client, &id, position).await?;
    // Each has a write under way when the session ends, and sends it again after a kill.
    for writer in writers {
        writer.await??;
    }
    if kill_after.is_some() {
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
    }
    assert_ended(cluster, &client, &id, position).await
}

#[tokio::test]
async fn a_logout_is_never_undone_by_writes_under_way() -> Outcome {
    let mut cluster = three().await?;
    for _ in 0..10 {
        log_out_among_writes(&mut cluster, None).await?;
    }
    for turns in [1, 200, 2_000] {
        log_out_among_writes(&mut cluster, Some(turns)).await?;
    }
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    Ok(())
}

#[tokio::test]
async fn a_logout_is_never_undone_by_a_write_that_is_sent_again() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let (leader, follower) = (cluster.wait_leader().await?, cluster.a_follower().await?);
    let (here, there) = (stub(&cluster, leader).await?, stub(&cluster, follower).await?);
    let opened = patiently(|| {
        let mut stub = here.clone();
        async move { stub.open_client(v1::OpenClientRequest {}).await }
    })
    .await?
    .client;
    let id = client.create(NewSession::new().id(new_id())).await?.id;
    let numbered = |sequence| {
        let request_id = Some(v1::RequestId { client: opened, sequence, lowest_unanswered: 1 });
        v1::WriteRequest { request_id, ..patch(&id, "a", &sequence.to_string()) }
    };
    let (acknowledged, late) = (numbered(1), numbered(2));
    let first = written(&here, &acknowledged).await?;
    let position = client.delete(&id).await?;
    for stub in [&here, &there] {
        let again = written(stub, &acknowledged).await?;
        assert_eq!(again.version, first.version, "its answer was another");
        let refused = written(stub, &late).await.err().ok_or("a session was written that has ended")?;
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"));
        assert_ended(&cluster, &client, &id, position).await?;
    }
    cluster.node_mut(leader)?.kill()?;
    let again = written(&there, &acknowledged).await?;
    assert_eq!(again.version, first.version, "its answer was another");
    for late in [late, numbered(3)] {
        let refused = written(&there, &late).await.err().ok_or("a session was written that has ended")?;
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NOT_FOUND"));
    }
    assert_ended(&cluster, &client, &id, position).await
}
