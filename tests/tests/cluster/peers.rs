use std::net::SocketAddrV4;

use quorate_proto::peer::v1 as peer;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_tests::{HarnessError, NodeProcess, PATIENCE, Ports, ProcessCluster, channel, until};
use tonic::Code;

use crate::common::{Outcome, assert_everywhere, session, three, three_as_shipped, wait_applied};

/// Has a stopped node listen elsewhere from now on. Its own settings alone say so, as an operator begins.
fn move_away(node: &mut NodeProcess) {
    let further = |address: SocketAddrV4| SocketAddrV4::new(*address.ip(), address.port() + 1_000);
    let before = node.spec().ports;
    let ports =
        Ports { client: further(before.client), peer: further(before.peer), admin: further(before.admin) };
    let moved = [(before.client, ports.client), (before.peer, ports.peer), (before.admin, ports.admin)];
    let spec = node.spec_mut();
    spec.ports = ports;
    for argument in &mut spec.arguments {
        let mut text = argument.to_string_lossy().into_owned();
        for (from, to) in moved {
            text = text.replace(&from.to_string(), &to.to_string());
        }
        *argument = text.into();
    }
}

#[tokio::test]
async fn a_node_that_moved_is_found_again() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let moving = cluster.a_follower().await?;
    cluster.stop(moving).await?;
    move_away(cluster.node_mut(moving)?);
    let created = client.create(session("a", "1")).await?;
    cluster.node_mut(moving)?.start()?;
    cluster.wait_ready(moving).await?;
    wait_applied(&cluster, moving, created.position.index).await?;

    // The cluster has put the new address on record: the others find it after their own restarts.
    let said = cluster.ports(moving)?.peer.to_string();
    for id in cluster.ids() {
        until("the new address is on record", PATIENCE, || async {
            let status = cluster.status(id).await.map_err(|error| error.to_string())?;
            let known = status.members.iter().find(|member| member.node == moving);
            known
                .is_some_and(|member| member.peer_address == said)
                .then_some(())
                .ok_or_else(|| format!("{:?}", known.map(|member| &member.peer_address)))
        })
        .await?;
    }
    for id in cluster.ids().into_iter().filter(|id| *id != moving) {
        cluster.node_mut(id)?.kill()?;
    }
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    let client = cluster.client()?;
    let created = client.create(session("a", "2")).await?;
    let all = cluster.ids();
    assert_everywhere(&cluster, &client, &all, (&created.id, "a", "2"), created.position).await?;
    Ok(())
}

/// A call of a peer that knows node `to` by another data directory.
async fn stale_claim(cluster: &ProcessCluster, to: u64) -> Result<tonic::Status, HarnessError> {
    let cluster_id = cluster.status(to).await?.cluster;
    let mut client = PeerClient::new(channel(cluster.ports(to)?.peer).await?);
    let envelope =
        peer::Envelope { cluster: cluster_id, from: 99, to, from_incarnation: 5, to_incarnation: 0xbad };
    let claim = peer::AppendRequest { envelope: Some(envelope), ..peer::AppendRequest::default() };
    match client.heartbeat(claim).await {
        Ok(_) => Err(HarnessError::Unreadable("a stale claim was accepted".into())),
        Err(status) => Ok(status),
    }
}

#[tokio::test]
async fn a_peer_that_is_behind_stops_no_node() -> Outcome {
    let mut cluster = three().await?;
    for id in cluster.ids() {
        let status = stale_claim(&cluster, id).await?;
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert!(status.message().contains("incarnation"), "{status:?}");
    }
    cluster.client()?.create(session("a", "1")).await?;
    for id in cluster.ids() {
        cluster.wait_ready(id).await?;
    }
    assert_eq!(cluster.running().len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_stops_hands_leadership_over() -> Outcome {
    let mut cluster = three_as_shipped().await?;
    cluster.client()?.create(session("a", "1")).await?;
    let leader = cluster.wait_leader().await?;
    cluster.stop(leader).await?;
    let said = cluster.node(leader)?.log_text();
    assert!(said.contains("handed leadership over"), "{said}");
    let next = cluster.wait_leader_but(leader).await?;
    let said = cluster.node(next)?.log_text();
    cluster.client()?.create(session("a", "2")).await?;
    assert!(!said.contains("panicked"), "{said}");
    Ok(())
}
