use std::future::Future;
use std::time::{Duration, Instant};

use quorate_proto::v1;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::{PATIENCE, ProcessCluster, until};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::common::{Outcome, create_request, fact, patiently, reason, stub, three};

/// How long a waiter of these tests waits at most.
const WAIT: Duration = Duration::from_secs(45);

/// A client handle at one node, and one session.
#[derive(Clone)]
struct Caller {
    stub: SessionsClient<Channel>,
    client: u64,
    id: String,
}

impl Caller {
    /// With a new session.
    async fn at(cluster: &ProcessCluster, node: u64) -> Result<Caller, Box<dyn std::error::Error>> {
        let stub = stub(cluster, node).await?;
        let opened = patiently(|| {
            let mut stub = stub.clone();
            async move { stub.open_client(v1::OpenClientRequest {}).await }
        })
        .await?;
        let caller = Caller { stub, client: opened.client, id: String::new() };
        let request = v1::CreateRequest { request_id: caller.numbered(1), ..create_request("1") };
        let id = request.id.clone();
        caller.retry(request, async |mut stub, request| stub.create(request).await).await?;
        Ok(Caller { id, ..caller })
    }

    fn numbered(&self, sequence: u64) -> Option<v1::RequestId> {
        Some(v1::RequestId { client: self.client, sequence, lowest_unanswered: 1 })
    }

    /// Sends the same request until a leader answers it.
    async fn retry<T: Clone, R, F>(
        &self,
        request: T,
        call: impl Fn(SessionsClient<Channel>, T) -> F,
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        patiently(|| call(self.stub.clone(), request.clone())).await
    }

    fn lock_request(&self, sequence: u64, wait: Duration, lease_ms: u64) -> v1::LockRequest {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let (id, request_id) = (self.id.clone(), self.numbered(sequence));
        v1::LockRequest { id, request_id, wait_ms, lease_ms, ..Default::default() }
    }

    async fn lock(&self, request: v1::LockRequest) -> Result<v1::LockResponse, Status> {
        self.retry(request, |mut stub, lock| {
            let mut request = Request::new(lock);
            request.set_timeout(WAIT + Duration::from_secs(5));
            async move { stub.lock(request).await }
        })
        .await
    }

    /// Asks for the lock, and returns once it stands in line.
    async fn wait_in_line(
        &self,
        sequence: u64,
    ) -> Result<JoinHandle<Result<v1::LockResponse, Status>>, Box<dyn std::error::Error>> {
        let before = self.waiting().await?;
        let caller = self.clone();
        let request = self.lock_request(sequence, WAIT, 60_000);
        let call = tokio::spawn(async move { caller.lock(request).await });
        self.until_waiting(before + 1).await?;
        Ok(call)
    }

    async fn lock_state(&self) -> Result<Option<v1::LockState>, Status> {
        let get = v1::GetRequest { id: self.id.clone(), touch: Some(false), ..Default::default() };
        let got = self.retry(get, async |mut stub, get| stub.get(get).await).await?;
        Ok(got.session.and_then(|session| session.lock))
    }

    async fn waiting(&self) -> Result<u32, Status> {
        Ok(self.lock_state().await?.map_or(0, |lock| lock.waiting))
    }

    async fn until_waiting(&self, count: u32) -> Outcome {
        until("so many stand in line", PATIENCE, || async {
            match self.waiting().await {
                Ok(waiting) if waiting == count => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await?;
        Ok(())
    }

    async fn unlock(&self, sequence: u64, fence: u64) -> Result<v1::UnlockResponse, Status> {
        let (id, request_id) = (self.id.clone(), self.numbered(sequence));
        let unlock = v1::UnlockRequest { id, fence, request_id, ..Default::default() };
        self.retry(unlock, async |mut stub, unlock| stub.unlock(unlock).await).await
    }

    async fn write(&self, sequence: u64, fence: Option<u64>) -> Result<v1::WriteResponse, Status> {
        let write = v1::WriteRequest {
            id: self.id.clone(),
            request_id: self.numbered(sequence),
            principal: Some(format!("user {sequence}")),
            fence,
            ..Default::default()
        };
        self.retry(write, async |mut stub, write| stub.write(write).await).await
    }
}

/// Kills the leader; gives a node that survives.
async fn kill_leader(cluster: &mut ProcessCluster) -> Result<(), Box<dyn std::error::Error>> {
    let leader = cluster.wait_leader().await?;
    cluster.node_mut(leader)?.kill()?;
    cluster.wait_leader_but(leader).await?;
    Ok(())
}

fn refused<T>(answer: Result<T, Status>) -> Result<(Code, String), Box<dyn std::error::Error>> {
    let status = answer.err().ok_or("it was not refused")?;
    Ok((status.code(), reason(&status)))
}

#[tokio::test]
async fn a_lock_outlives_the_leader_that_gave_it() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let caller = Caller::at(&cluster, follower).await?;
    let request = v1::LockRequest {
        get: true,
        owner: "web-1".to_owned(),
        ..caller.lock_request(2, Duration::ZERO, 60_000)
    };
    let held = caller.lock(request.clone()).await?;
    let attributes = held.session.ok_or("no session came with the lock")?.attributes;
    assert_eq!(attributes.get("a").map(AsRef::as_ref), Some(b"1".as_slice()));

    kill_leader(&mut cluster).await?;
    let state = caller.lock_state().await?.ok_or("the lock is gone")?;
    assert_eq!((state.owner.as_str(), state.waiting), ("web-1", 0));
    let locked = caller.write(3, None).await.err().ok_or("written without the token")?;
    assert_eq!((locked.code(), reason(&locked).as_str()), (Code::Aborted, "LOCKED"));
    assert!(fact(&locked, "remaining_ms").is_some() && fact(&locked, "age_ms").is_some());
    caller.write(4, Some(held.fence)).await?;
    let again = caller.lock(request).await?;
    assert_eq!(again.fence, held.fence, "a retry answers as the first did, whoever leads");
    caller.unlock(5, held.fence).await?;
    let stale = (Code::FailedPrecondition, "STALE_FENCE".to_owned());
    assert_eq!(refused(caller.write(6, Some(held.fence)).await)?, stale);
    let next = caller.lock(caller.lock_request(7, Duration::ZERO, 60_000)).await?;
    assert!(next.fence > held.fence, "tokens only grow");
    assert_eq!(refused(caller.unlock(8, held.fence).await)?, stale);
    Ok(())
}

#[tokio::test]
async fn three_who_wait_are_served_in_their_order_though_the_leader_dies() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let caller = Caller::at(&cluster, follower).await?;
    let mut held = caller.lock(caller.lock_request(2, Duration::ZERO, 60_000)).await?;
    let mut waiters = Vec::new();
    for sequence in 3..6 {
        waiters.push(caller.wait_in_line(sequence).await?);
    }

    kill_leader(&mut cluster).await?;
    caller.until_waiting(3).await?;
    for (sequence, waiter) in (10..).zip(waiters) {
        assert!(!waiter.is_finished(), "before its turn");
        caller.unlock(sequence, held.fence).await?;
        let next = waiter.await??;
        assert_eq!(next.fence, held.fence + 1, "whoever came next");
        held = next;
    }
    caller.unlock(20, held.fence).await?;
    assert_eq!(caller.lock_state().await?, None);
    Ok(())
}

/// A handover is no failure: the call goes on at the next leader, and its caller notices nothing.
#[tokio::test]
async fn a_planned_handover_keeps_who_waits() -> Outcome {
    let mut cluster = three().await?;
    let leader = cluster.wait_leader().await?;
    let follower = cluster.a_follower().await?;
    let caller = Caller::at(&cluster, follower).await?;
    let held = caller.lock(caller.lock_request(2, Duration::ZERO, 60_000)).await?;
    let mut stub = caller.stub.clone();
    let request = caller.lock_request(3, WAIT, 60_000);
    let call = tokio::spawn(async move {
        let mut request = Request::new(request);
        request.set_timeout(WAIT);
        stub.lock(request).await.map(Response::into_inner)
    });
    caller.until_waiting(1).await?;
    cluster.stop(leader).await?;
    caller.unlock(4, held.fence).await?;
    assert_eq!(call.await??.fence, held.fence + 1);
    Ok(())
}

#[tokio::test]
async fn who_goes_away_leaves_the_line() -> Outcome {
    let mut cluster = three().await?;
    let leader = cluster.wait_leader().await?;
    let follower = cluster.a_follower().await?;
    for node in [leader, follower] {
        let caller = Caller::at(&cluster, node).await?;
        let held = caller.lock(caller.lock_request(2, Duration::ZERO, 60_000)).await?;
        let gone = caller.wait_in_line(3).await?;
        let next = caller.wait_in_line(4).await?;
        gone.abort();
        caller.until_waiting(1).await?;
        caller.unlock(5, held.fence).await?;
        let next = next.await??;
        assert_eq!(next.fence, held.fence + 2);
        caller.unlock(6, next.fence).await?;
        assert_eq!(caller.lock_state().await?, None, "by node {node}");
    }
    Ok(())
}

/// The holder is gone, and says nothing any more: its lease ends, the next has its turn, and what the holder still sends
/// is refused.
#[tokio::test]
async fn a_lapsed_lock_goes_to_who_waits_and_its_token_is_refused() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let caller = Caller::at(&cluster, follower).await?;
    let held = caller.lock(caller.lock_request(2, Duration::ZERO, 1_000)).await?;
    let since = Instant::now();
    let next = caller.lock(caller.lock_request(3, WAIT, 60_000)).await?;
    let waited = since.elapsed();
    assert!(next.fence > held.fence);
    // Its answer was on its way for a while; and the machine is loaded.
    assert!(waited >= Duration::from_millis(700), "{waited:?}: before the lease had ended");
    assert!(waited < Duration::from_secs(4), "{waited:?}: long after the lease had ended");
    let stale = (Code::FailedPrecondition, "STALE_FENCE".to_owned());
    assert_eq!(refused(caller.write(4, Some(held.fence)).await)?, stale);
    caller.write(5, Some(next.fence)).await?;
    Ok(())
}

#[tokio::test]
async fn a_wait_that_was_in_vain_tells_of_the_lock() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let caller = Caller::at(&cluster, follower).await?;
    caller.lock(caller.lock_request(2, Duration::ZERO, 60_000)).await?;
    let since = Instant::now();
    let refused = caller.lock(caller.lock_request(3, Duration::from_millis(300), 60_000)).await;
    let refused = refused.err().ok_or("two hold the lock")?;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "LOCKED"));
    assert!(since.elapsed() >= Duration::from_millis(250));
    let remaining: u64 = fact(&refused, "remaining_ms").ok_or("no remaining_ms")?.parse()?;
    assert!((1..=60_000).contains(&remaining));
    assert_eq!(caller.waiting().await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_session_ends_the_wait_for_its_lock() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let caller = Caller::at(&cluster, follower).await?;
    caller.lock(caller.lock_request(2, Duration::ZERO, 60_000)).await?;
    let waiter = caller.wait_in_line(3).await?;
    let (id, request_id) = (caller.id.clone(), caller.numbered(4));
    let delete = v1::DeleteRequest { id, request_id, ..Default::default() };
    caller.retry(delete, async |mut stub, delete| stub.delete(delete).await).await?;
    assert_eq!(refused(waiter.await?)?, (Code::NotFound, "NOT_FOUND".to_owned()));
    Ok(())
}

/// As many wait through one node as a connection usually carries calls, and what gives the lock back comes through.
#[tokio::test]
async fn many_who_wait_through_one_node_block_nobody() -> Outcome {
    const WAITERS: u32 = 300;
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let caller = Caller::at(&cluster, follower).await?;
    let held = caller.lock(caller.lock_request(2, Duration::ZERO, 60_000)).await?;
    let mut waiters = tokio::task::JoinSet::new();
    for sequence in 0..WAITERS {
        let caller = caller.clone();
        let request = caller.lock_request(10 + u64::from(sequence), WAIT, 60_000);
        waiters.spawn(async move { caller.lock(request).await });
    }
    caller.until_waiting(WAITERS).await?;
    let since = Instant::now();
    caller.unlock(3, held.fence).await?;
    let next = waiters.join_next().await.ok_or("nobody waits")???;
    assert_eq!(next.fence, held.fence + 1);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    drop(waiters);
    caller.until_waiting(0).await
}
