//! A lock that somebody else holds: the retry of one that waits for it keeps its place in line.

use std::time::Duration;

use quorate_client::{Client, LockOptions, SessionId};
use quorate_proto::v1;
use quorate_tests::{PATIENCE, ProcessCluster, Proxy, channel, until};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::mutations::{Stub, read};
use crate::common::{Outcome, patiently, reason, session, stub, three};

const LEASE: Duration = Duration::from_secs(1_200);
const WAIT_MS: u64 = 60_000;

type Call = JoinHandle<Result<v1::LockResponse, Status>>;

/// A session whose lock somebody holds, and calls that wait for it.
struct Line {
    cluster: ProcessCluster,
    client: Client,
    id: SessionId,
    /// Of the holder.
    fence: u64,
    opened: u64,
}

impl Line {
    async fn begin() -> Result<Line, Box<dyn std::error::Error>> {
        let mut cluster = three().await?;
        let leader = cluster.wait_leader().await?;
        let client = cluster.client()?;
        let id = client.create(session("a", "1")).await?.id;
        let options = LockOptions::new().lease(LEASE).owner("holder");
        let fence = client.lock(&id, options).await?.into_fence();
        let direct = stub(&cluster, leader).await?;
        let open = || {
            let mut stub = direct.clone();
            async move { stub.open_client(v1::OpenClientRequest {}).await }
        };
        let opened = patiently(open).await?.client;
        Ok(Line { cluster, client, id, fence, opened })
    }

    fn request(&self, sequence: u64) -> v1::LockRequest {
        v1::LockRequest {
            id: self.id.reveal().to_owned(),
            request_id: Some(v1::RequestId { client: self.opened, sequence, lowest_unanswered: 1 }),
            lease_ms: 1_200_000,
            wait_ms: WAIT_MS,
            owner: format!("waiter {sequence}"),
            ..Default::default()
        }
    }

    /// Sends it through `stub` until it is answered with something else than trouble on the way; so a retry of its own.
    fn send(&self, stub: &Stub, sequence: u64) -> Call {
        let (stub, request) = (stub.clone(), self.request(sequence));
        tokio::spawn(async move {
            patiently(|| {
                let mut call = tonic::Request::new(request.clone());
                call.set_timeout(PATIENCE);
                let mut sessions = stub.sessions.clone();
                async move { sessions.lock(call).await }
            })
            .await
        })
    }

    async fn stub(&self, node: u64) -> Result<Stub, Status> {
        let ports = self.cluster.ports(node).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Stub::new(channel(ports.client).await?))
    }

    /// Waits until this one holds the lock, and so many wait.
    async fn wait(&self, owner: &str, waiting: u32) -> Outcome {
        until("the line is so long", PATIENCE, || async {
            let lock = read(&self.client, &self.id).await?.lock;
            let seen = lock.as_ref().map(|lock| (lock.owner.as_str(), lock.waiting));
            if seen == Some((owner, waiting)) { Ok(()) } else { Err(format!("{lock:?}")) }
        })
        .await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_lock_that_waits_keeps_its_place_when_it_is_sent_again() -> Outcome {
    let mut line = Line::begin().await?;
    let leader = line.cluster.wait_leader().await?;
    let proxy = Proxy::start(line.cluster.ports(leader)?.client).await?;
    let through_proxy = Stub::new(channel(proxy.address()).await?);
    let follower = line.cluster.a_follower().await?;
    let (direct, through_follower) = (line.stub(leader).await?, line.stub(follower).await?);
    proxy.lose_answers();
    let lost = line.send(&through_proxy, 1);
    line.wait("holder", 1).await?;
    let second = line.send(&direct, 2);
    line.wait("holder", 2).await?;
    let again = [line.send(&direct, 1), line.send(&through_follower, 1)];
    // One more place than before shows that the retries have arrived, at least those sent to the same node.
    let third = line.send(&through_follower, 3);
    line.wait("holder", 3).await?;

    line.client.unlock(&line.id, line.fence).await?;
    line.wait("waiter 1", 2).await?;
    let mut fences = Vec::new();
    for retry in again {
        fences.push(retry.await??.fence);
    }
    until("the answer is lost", PATIENCE, || async {
        let lost = proxy.lost_answers();
        if lost.ended == 1 { Ok(()) } else { Err(format!("{lost:?}")) }
    })
    .await?;
    assert!(!lost.is_finished(), "its answer was lost");
    lost.abort();
    // Once more, now that it has the lock.
    fences.push(line.send(&through_follower, 1).await??.fence);
    // The holder, the first in line, the next two.
    assert_eq!(fences, [line.fence + 1; 3], "one place, one token");
    line.wait("waiter 1", 2).await?;

    line.client.unlock(&line.id, fences[0]).await?;
    line.wait("waiter 2", 1).await?;
    assert_eq!(second.await??.fence, line.fence + 2);
    // It had its turn, and does not get another.
    let late = line.send(&direct, 1).await?.err().ok_or("a lock was taken twice by one request")?;
    assert_eq!((late.code(), reason(&late).as_str()), (Code::Aborted, "WAIT_OVER"));
    line.wait("waiter 2", 1).await?;
    line.client.unlock(&line.id, line.fence + 2).await?;
    assert_eq!(third.await??.fence, line.fence + 3);
    line.wait("waiter 3", 0).await
}

#[tokio::test]
async fn a_lock_that_waits_keeps_its_place_when_its_leader_is_killed() -> Outcome {
    let mut line = Line::begin().await?;
    let old = line.cluster.wait_leader().await?;
    let direct = line.stub(old).await?;
    let first = line.send(&direct, 1);
    line.wait("holder", 1).await?;
    let second = line.send(&direct, 2);
    line.wait("holder", 2).await?;
    line.cluster.node_mut(old)?.kill()?;
    // Not before: who hangs up leaves the line.
    first.abort();
    second.abort();
    let leader = line.cluster.wait_leader_but(old).await?;
    let direct = line.stub(leader).await?;
    // The later one comes back first.
    let second = line.send(&direct, 2);
    line.wait("holder", 2).await?;
    let first = line.send(&direct, 1);
    line.wait("holder", 2).await?;
    line.client.unlock(&line.id, line.fence).await?;
    let fence = first.await??.fence;
    assert_eq!(fence, line.fence + 1);
    line.wait("waiter 1", 1).await?;
    assert!(!second.is_finished(), "two hold one lock");
    line.client.unlock(&line.id, fence).await?;
    assert_eq!(second.await??.fence, line.fence + 2);
    line.wait("waiter 2", 0).await?;
    line.cluster.start_all()?;
    line.cluster.wait_ready_all().await?;
    let digests = line.cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    Ok(())
}
