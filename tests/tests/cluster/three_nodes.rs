use std::time::Duration;

use quorate_client::{Client, ErrorKind, Patch};
use quorate_tests::{PATIENCE, until};
use rustix::process::Signal;
use tonic::Code;

use crate::common::{
    Outcome, assert_everywhere, create_request, looking, reason, session, stub, three, three_as_shipped,
    wait_applied,
};

#[tokio::test]
async fn every_node_has_every_write_and_the_cluster_outlives_its_leader() -> Outcome {
    let mut cluster = three_as_shipped().await?;
    let client = cluster.client()?;
    let mut made = Vec::new();
    for number in 0..20 {
        let value = format!("value {number}");
        let created = client.create(session("a", value.clone())).await?;
        made.push((created.id, value, created.position));
    }
    for (id, value, position) in &made {
        assert_everywhere(&cluster, &client, &[1, 2, 3], (id, "a", value), *position).await?;
    }

    let leader = cluster.wait_leader().await?;
    cluster.node_mut(leader)?.kill()?;
    let mut last = None;
    for (id, _, _) in &made {
        last = Some(client.patch(id, Patch::new().set("b", "after")).await?.position);
    }
    let last = last.ok_or("nothing was patched")?;
    let survivors = cluster.running();
    assert_eq!(survivors.len(), 2);
    for (id, value, _) in &made {
        assert_everywhere(&cluster, &client, &survivors, (id, "a", value), last).await?;
        assert_everywhere(&cluster, &client, &survivors, (id, "b", "after"), last).await?;
    }

    cluster.node_mut(leader)?.start()?;
    cluster.wait_ready(leader).await?;
    wait_applied(&cluster, leader, last.index).await?;
    for (id, _, _) in &made {
        assert_everywhere(&cluster, &client, &[leader], (id, "b", "after"), last).await?;
    }
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    Ok(())
}

#[tokio::test]
async fn without_a_quorum_nothing_is_acknowledged_and_nothing_looks_like_a_logout() -> Outcome {
    let mut cluster = three().await?;
    let created = cluster.client()?.create(session("a", "1")).await?;
    let alone = cluster.a_follower().await?;
    for id in cluster.ids().into_iter().filter(|id| *id != alone) {
        cluster.node_mut(id)?.kill()?;
    }
    let address = cluster.ports(alone)?.client.to_string();
    let client = Client::builder().endpoints([address]).deadline(Duration::from_secs(2)).build()?;
    let write = client.patch(&created.id, Patch::new().set("a", "2")).await;
    let write = write.err().ok_or("a write was acknowledged by one node of three")?;
    assert!(matches!(write.kind(), ErrorKind::Unavailable | ErrorKind::Deadline), "{write}");
    let read = client.get_with(&created.id, looking()).await;
    let read = read.err().ok_or("a linearizable read was answered by one node of three")?;
    assert!(matches!(read.kind(), ErrorKind::Unavailable | ErrorKind::Deadline), "{read}");
    assert!(read.is_retryable() && !read.may_have_taken_effect(), "{read}");
    let plain = stub(&cluster, alone).await?.create(create_request("x")).await;
    let plain = plain.err().ok_or("a plain create was acknowledged by one node of three")?;
    assert!(matches!(plain.code(), Code::Unavailable | Code::DeadlineExceeded), "{plain}");
    assert_ne!(reason(&plain), "", "every error carries a reason");

    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    let after = cluster.client()?.get_with(&created.id, looking()).await?;
    let value = after.attributes.get("a").map(|value| value.to_vec());
    assert!(value == Some(b"1".to_vec()) || value == Some(b"2".to_vec()), "either, never lost");
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_paused_serves_nothing_stale() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let created = client.create(session("a", "old")).await?;
    let old = cluster.wait_leader().await?;
    let mut old_stub = stub(&cluster, old).await?;
    cluster.node(old)?.signal(Signal::STOP)?;
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    let endpoints: Vec<_> = others
        .iter()
        .filter_map(|id| cluster.ports(*id).ok())
        .map(|ports| ports.client.to_string())
        .collect();
    let elsewhere = Client::builder().endpoints(endpoints).deadline(Duration::from_secs(20)).build()?;
    until("the others take writes", PATIENCE, || async {
        elsewhere
            .patch(&created.id, Patch::new().set("a", "new"))
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    })
    .await?;
    let request = quorate_proto::v1::GetRequest {
        id: created.id.reveal().to_owned(),
        touch: Some(false),
        ..Default::default()
    };
    cluster.node(old)?.signal(Signal::CONT)?;
    let mut fresh = 0;
    for _ in 0..200 {
        match old_stub.get(request.clone()).await {
            Ok(answer) => {
                let session = answer.into_inner().session.unwrap_or_default();
                let value = session.attributes.get("a").map(|value| value.to_vec());
                assert_eq!(value.as_deref(), Some(b"new".as_slice()), "a stale linearizable read");
                fresh += 1;
            }
            Err(status) => assert_ne!(status.code(), Code::NotFound, "an outage must not look like a logout"),
        }
    }
    cluster.wait_ready(old).await?;
    let answer = crate::common::patiently(|| {
        let (mut stub, request) = (old_stub.clone(), request.clone());
        async move { stub.get(request).await }
    });
    assert!(answer.await?.session.is_some());
    println!("{fresh} of 200 reads were answered while the old leader came back");
    Ok(())
}
