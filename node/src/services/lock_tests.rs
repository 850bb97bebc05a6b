use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_proto::v1::operation::Operation as Wire;
use tokio::task::JoinHandle;
use tonic::Code;

use super::*;
use crate::services::executor::{Context, Executor, deadline_after};
use crate::services::scripted::Scripted;

const ID: &str = "0123456789abcdef";
const CLIENT: u64 = 5;

async fn execute_within(
    backend: &Scripted,
    operation: Wire,
    timeout: Option<Duration>,
) -> Result<Answer, Failure> {
    let context = Context { deadline: deadline_after(timeout), redirect: true, forwarded: false };
    let operation = v1::Operation { operation: Some(operation), ..Default::default() };
    Executor::new(backend.clone(), 1 << 20).execute(operation, context).await
}

async fn execute(backend: &Scripted, operation: Wire) -> Result<Answer, Failure> {
    execute_within(backend, operation, None).await
}

/// A leader with a session and a client handle.
async fn leader() -> Scripted {
    let backend = Scripted::leader();
    backend
        .submit(vec![Command::OpenClient { client: CLIENT }])
        .await
        .unwrap()
        .next()
        .await
        .unwrap()
        .unwrap();
    let attributes = BTreeMap::from([
        ("a".to_owned(), Bytes::from_static(b"1")),
        ("b".to_owned(), Bytes::from_static(b"2")),
    ]);
    execute(&backend, Wire::Create(v1::CreateRequest { id: ID.into(), attributes, ..Default::default() }))
        .await
        .unwrap();
    backend
}

fn request(sequence: u64) -> Option<v1::RequestId> {
    Some(v1::RequestId { client: CLIENT, sequence, lowest_unanswered: 1 })
}

fn lock(wait_ms: u64) -> v1::LockRequest {
    v1::LockRequest { id: ID.to_owned(), wait_ms, lease_ms: 10_000, ..Default::default() }
}

async fn take(backend: &Scripted, lock: v1::LockRequest) -> Result<v1::LockResponse, Failure> {
    match execute(backend, Wire::Lock(lock)).await? {
        Answer::Lock(taken) => Ok(taken),
        other => panic!("{other:?}"),
    }
}

/// Asks for the lock, and returns once it stands in line.
async fn wait_for(
    backend: &Scripted,
    lock: v1::LockRequest,
) -> JoinHandle<Result<v1::LockResponse, Failure>> {
    let before = waiting(backend);
    let call = tokio::spawn({
        let backend = backend.clone();
        async move { take(&backend, lock).await }
    });
    backend.until("one more in line", |backend| waiting(backend) == before + 1).await;
    call
}

async fn unlock(backend: &Scripted, fence: Fence) -> Result<Answer, Failure> {
    execute(backend, Wire::Unlock(v1::UnlockRequest { id: ID.into(), fence, ..Default::default() })).await
}

fn with_session<R>(backend: &Scripted, look: impl FnOnce(&quorate_state::Session) -> R) -> Option<R> {
    let id = quorate_state::SessionId::parse(ID).unwrap();
    let key = SessionKey::derive("default", &id);
    backend.with_applied(|state, _| state.lookup("default", &key, state.clocks()).ok().map(look))
}

fn waiting(backend: &Scripted) -> usize {
    with_session(backend, |session| session.lock.as_ref().map_or(0, |lock| lock.waiting.len())).unwrap_or(0)
}

fn is_locked(backend: &Scripted) -> bool {
    with_session(backend, |session| session.lock.is_some()).unwrap_or(false)
}

fn left(backend: &Scripted) -> usize {
    backend.commands().iter().filter(|command| matches!(command, Command::LeaveLine(_))).count()
}

/// What the leader of a cluster does when it leads no longer.
fn depose(backend: &Scripted) {
    backend.follow();
    backend.lock_waits().wake_all();
}

#[tokio::test]
async fn a_lock_is_taken_renewed_and_given_back() {
    let backend = leader().await;
    let taken = take(&backend, lock(0)).await.unwrap();
    assert_eq!((taken.remaining_ms, taken.session), (10_000, None));
    backend.advance(4_000);
    let refused = take(&backend, lock(0)).await.unwrap_err();
    assert_eq!((refused.code, refused.reason), (Code::Aborted, "LOCKED"));
    assert_eq!(refused.facts, [("age_ms", "4000".to_owned()), ("remaining_ms", "6000".to_owned())]);
    let renewal = v1::LockRequest { fence: Some(taken.fence), ..lock(0) };
    let renewed = take(&backend, renewal.clone()).await.unwrap();
    assert_eq!((renewed.fence, renewed.remaining_ms), (taken.fence, 10_000));
    unlock(&backend, taken.fence).await.unwrap();
    assert_eq!(unlock(&backend, taken.fence).await.unwrap_err().reason, "STALE_FENCE");
    assert_eq!(take(&backend, renewal).await.unwrap_err().reason, "STALE_FENCE");
    let broken = with_session(&backend, |_| ()).map(|()| v1::BreakLockRequest {
        handle: SessionKey::derive("default", &quorate_state::SessionId::parse(ID).unwrap()).handle(),
        ..Default::default()
    });
    let broken = execute(&backend, Wire::BreakLock(broken.unwrap())).await.unwrap_err();
    assert_eq!(broken.reason, "NOT_LOCKED");
}

#[tokio::test]
async fn a_lock_brings_the_session_that_it_locks() {
    let backend = leader().await;
    let attributes = Some(v1::AttributeNames { names: vec!["b".to_owned(), "c".to_owned()] });
    let held = take(&backend, v1::LockRequest { get: true, attributes, owner: "web-1".into(), ..lock(0) });
    let held = held.await.unwrap();
    let session = held.session.unwrap();
    assert_eq!(session.attributes, BTreeMap::from([("b".to_owned(), Bytes::from_static(b"2"))]));
    let state = session.lock.unwrap();
    assert_eq!((state.owner.as_str(), state.remaining_ms, state.waiting), ("web-1", 10_000, 0));
    let waiter = wait_for(&backend, v1::LockRequest { get: true, ..lock(5_000) }).await;
    let set = BTreeMap::from([("a".to_owned(), Bytes::from_static(b"new"))]);
    let write = v1::WriteRequest {
        id: ID.into(),
        change: Some(v1::write_request::Change::Patch(v1::Patch { set, remove: Vec::new() })),
        fence: Some(held.fence),
        release: true,
        ..Default::default()
    };
    execute(&backend, Wire::Write(write)).await.unwrap();
    let session = waiter.await.unwrap().unwrap().session.unwrap();
    assert_eq!(session.attributes["a"], b"new".as_slice(), "what the holder before wrote is there");
}

#[tokio::test]
async fn waiters_get_the_lock_in_their_order_and_nobody_asks_meanwhile() {
    let backend = leader().await;
    let mut held = take(&backend, lock(0)).await.unwrap();
    let mut waiters = Vec::new();
    for _ in 0..3 {
        waiters.push(wait_for(&backend, lock(5_000)).await);
    }
    let submitted = backend.submitted();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(backend.submitted(), submitted, "somebody polls");
    for waiter in waiters {
        unlock(&backend, held.fence).await.unwrap();
        let next = waiter.await.unwrap().unwrap();
        assert!(next.fence > held.fence);
        held = next;
    }
    assert_eq!(left(&backend), 0);
}

#[tokio::test]
async fn a_lapsed_lock_goes_to_the_next_in_line() {
    let backend = leader().await;
    take(&backend, lock(0)).await.unwrap();
    let waiter = wait_for(&backend, lock(30_000)).await;
    backend.advance(10_000);
    // As the leader's clock does.
    let now = backend.now().cluster;
    let keys = backend.with_applied(|state, _| state.lapsed_locks(now, 10));
    proposed(&backend, vec![Command::SettleLocks { keys }]).await.unwrap();
    waiter.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_wait_that_is_over_leaves_the_line_and_tells_of_the_lock() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let refused = take(&backend, lock(50)).await.unwrap_err();
    assert_eq!((refused.code, refused.reason, refused.maybe_applied), (Code::Aborted, "LOCKED", false));
    assert!(refused.facts.contains(&("remaining_ms", "10000".to_owned())), "{:?}", refused.facts);
    assert_eq!((left(&backend), waiting(&backend)), (1, 0));
    unlock(&backend, held.fence).await.unwrap();
    assert!(!is_locked(&backend), "it goes to nobody");
}

/// The wait ends before the caller's time does, so that the caller is answered.
#[tokio::test]
async fn a_wait_ends_before_its_operation_does() {
    let backend = leader().await;
    take(&backend, lock(0)).await.unwrap();
    let brief = Some(Duration::from_millis(200));
    let refused = execute_within(&backend, Wire::Lock(lock(60_000)), brief).await.unwrap_err();
    assert_eq!((refused.reason, left(&backend)), ("LOCKED", 1));
}

#[tokio::test]
async fn a_turn_that_comes_as_the_time_is_up_is_taken() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let waiter = wait_for(&backend, lock(100)).await;
    backend.hold(true);
    let giving_back = tokio::spawn({
        let backend = backend.clone();
        async move { unlock(&backend, held.fence).await }
    });
    backend.until("the claim behind the unlock", |backend| left(backend) == 1).await;
    backend.hold(false);
    giving_back.await.unwrap().unwrap();
    assert!(waiter.await.unwrap().unwrap().fence > held.fence);
    assert!(is_locked(&backend));
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_the_line() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let gone = wait_for(&backend, lock(30_000)).await;
    let next = wait_for(&backend, lock(30_000)).await;
    gone.abort();
    backend.until("it left", |backend| waiting(backend) == 1).await;
    unlock(&backend, held.fence).await.unwrap();
    next.await.unwrap().unwrap();
    assert_eq!(left(&backend), 1);
}

#[tokio::test]
async fn a_caller_who_goes_away_before_it_stands_in_line_leaves_it_all_the_same() {
    let backend = leader().await;
    take(&backend, lock(0)).await.unwrap();
    backend.hold(true);
    let submitted = backend.submitted();
    let call = tokio::spawn({
        let backend = backend.clone();
        async move { take(&backend, lock(30_000)).await }
    });
    backend.until("the lock in the log", |backend| backend.submitted() == submitted + 1).await;
    call.abort();
    backend.hold(false);
    backend.until("it left", |backend| left(backend) == 1 && waiting(backend) == 0).await;
}

#[tokio::test]
async fn a_caller_of_another_node_who_goes_away_leaves_the_line() {
    let remote = leader().await;
    let backend = Scripted::follower(&remote);
    take(&remote, lock(0)).await.unwrap();
    let context = Context { deadline: deadline_after(None), redirect: false, forwarded: false };
    let operation = v1::Operation { operation: Some(Wire::Lock(lock(30_000))), ..Default::default() };
    let call =
        tokio::spawn(
            async move { Executor::new(backend, 1 << 20).execute(operation, context).await.map(drop) },
        );
    remote.until("in line", |remote| waiting(remote) == 1).await;
    call.abort();
    remote.until("it left", |remote| waiting(remote) == 0).await;
}

/// A caller without a request id cannot come back for what it was given while it left.
#[tokio::test]
async fn a_lock_that_comes_to_a_caller_who_has_just_left_is_given_back() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let call = wait_for(&backend, lock(30_000)).await;
    let (giving_back, claims) = (backend.clone(), |backend: &Scripted| {
        backend.commands().iter().filter(|command| matches!(command, Command::ClaimLock(_))).count()
    });
    // Its time is up just as its turn comes: the claim is on its way when it leaves.
    let fence = held.fence;
    backend.hold_at(|command| matches!(command, Command::ClaimLock(_)));
    tokio::spawn(async move { unlock(&giving_back, fence).await });
    backend.until("the claim in the log", |backend| claims(backend) == 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    backend.hold(false);
    backend.until("given back", |backend| !is_locked(backend)).await;
}

#[tokio::test]
async fn a_lock_taken_as_the_time_is_up_for_a_caller_who_is_gone_is_given_back() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let call = tokio::spawn({
        let backend = backend.clone();
        async move { execute_within(&backend, Wire::Lock(lock(10_000)), Some(Duration::from_secs(1))).await }
    });
    backend.until("one in line", |backend| waiting(backend) == 1).await;
    backend.hold(true);
    let giving_back = tokio::spawn({
        let backend = backend.clone();
        async move { unlock(&backend, held.fence).await }
    });
    assert_eq!(call.await.unwrap().unwrap_err().reason, "DEADLINE_EXCEEDED");
    backend.until("its last try", |backend| left(backend) == 1).await;
    backend.hold(false);
    giving_back.await.unwrap().unwrap();
    backend.until("given back", |backend| !is_locked(backend)).await;
}

/// Asks for the lock, and goes away while that is on its way.
async fn take_and_go(backend: &Scripted, lock: v1::LockRequest) {
    let before = backend.submitted();
    backend.hold(true);
    let call = tokio::spawn({
        let backend = backend.clone();
        async move { take(&backend, lock).await }
    });
    backend.until("the lock in the log", |backend| backend.submitted() == before + 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    backend.hold(false);
}

#[tokio::test]
async fn a_free_lock_taken_for_a_caller_who_is_gone_is_given_back() {
    for wait_ms in [0, 30_000] {
        let backend = leader().await;
        take_and_go(&backend, lock(wait_ms)).await;
        let given_back = |backend: &Scripted| backend.submitted() == 4 && !is_locked(backend);
        backend.until("given back", given_back).await;
    }
}

/// It has its token, or can ask for it.
#[tokio::test]
async fn who_can_still_give_a_lock_back_keeps_it_though_it_goes_away() {
    let backend = leader().await;
    let once = v1::LockRequest { request_id: request(1), ..lock(0) };
    take_and_go(&backend, once.clone()).await;
    let held = take(&backend, once).await.unwrap();
    backend.advance(1_000);
    take_and_go(&backend, v1::LockRequest { fence: Some(held.fence), ..lock(0) }).await;
    let until =
        |backend: &Scripted| with_session(backend, |session| session.lock.as_ref().unwrap().holder.until);
    let renewed = Some(backend.now().cluster.0 + 10_000);
    backend.until("renewed", |backend| until(backend).map(|until| until.0) == renewed).await;
    unlock(&backend, held.fence).await.unwrap();
}

#[tokio::test]
async fn a_call_sent_again_keeps_its_place_though_the_first_is_gone() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let first = wait_for(&backend, v1::LockRequest { request_id: request(1), ..lock(30_000) }).await;
    let other = wait_for(&backend, lock(30_000)).await;
    first.abort();
    let again = tokio::spawn({
        let backend = backend.clone();
        async move { take(&backend, v1::LockRequest { request_id: request(1), ..lock(30_000) }).await }
    });
    tokio::time::sleep(RETURN_WAIT + Duration::from_millis(100)).await;
    assert_eq!((left(&backend), waiting(&backend)), (0, 2));
    unlock(&backend, held.fence).await.unwrap();
    let first = again.await.unwrap().unwrap();
    unlock(&backend, first.fence).await.unwrap();
    assert!(other.await.unwrap().unwrap().fence > first.fence);
}

#[tokio::test]
async fn a_caller_with_a_request_id_who_does_not_come_back_leaves_the_line() {
    let backend = leader().await;
    take(&backend, lock(0)).await.unwrap();
    let call = wait_for(&backend, v1::LockRequest { request_id: request(1), ..lock(30_000) }).await;
    call.abort();
    backend.until("it left", |backend| waiting(backend) == 0).await;
}

#[tokio::test]
async fn a_retry_whose_first_answer_was_lost_is_told_that_it_holds_the_lock() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let call = v1::LockRequest { request_id: request(1), get: true, ..lock(30_000) };
    let waiter = wait_for(&backend, call.clone()).await;
    unlock(&backend, held.fence).await.unwrap();
    let first = waiter.await.unwrap().unwrap();
    backend.advance(3_000);
    let again = take(&backend, call.clone()).await.unwrap();
    assert_eq!((again.fence, again.remaining_ms), (first.fence, 7_000));
    assert!(again.session.is_some());
    unlock(&backend, first.fence).await.unwrap();
    assert_eq!(take(&backend, call).await.unwrap_err().reason, "WAIT_OVER");
    // The same for one that never waited.
    let call = v1::LockRequest { request_id: request(2), ..lock(0) };
    let first = take(&backend, call.clone()).await.unwrap();
    backend.advance(3_000);
    assert_eq!(
        take(&backend, call.clone()).await.unwrap(),
        v1::LockResponse {
            position: Some(v1::Position {
                index: first.position.unwrap().index + 1,
                ..first.position.unwrap()
            }),
            remaining_ms: 7_000,
            ..first
        }
    );
    unlock(&backend, first.fence).await.unwrap();
    assert_eq!(take(&backend, call).await.unwrap_err().reason, "STALE_FENCE");
}

#[tokio::test]
async fn a_wait_goes_on_at_the_next_leader_in_its_place() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let call = v1::LockRequest { request_id: request(1), ..lock(30_000) };
    let waiter = wait_for(&backend, call.clone()).await;
    let other = wait_for(&backend, v1::LockRequest { request_id: request(2), ..lock(30_000) }).await;
    depose(&backend);
    for waiter in [waiter, other] {
        let told = waiter.await.unwrap().unwrap_err();
        assert_eq!((told.code, told.reason, told.retryable), (Code::Unavailable, "NOT_LEADER", true));
    }
    assert_eq!((left(&backend), waiting(&backend)), (0, 2), "their places are kept");
    // The next leader has the same state.
    backend.lead();
    let again = tokio::spawn({
        let backend = backend.clone();
        async move { take(&backend, call).await }
    });
    unlock(&backend, held.fence).await.unwrap();
    assert_eq!(again.await.unwrap().unwrap().fence, held.fence + 1);
}

/// Without a request id another try would stand in line twice.
#[tokio::test]
async fn without_a_request_id_a_lost_leader_is_an_unknown_outcome() {
    let backend = leader().await;
    take(&backend, lock(0)).await.unwrap();
    let waiter = wait_for(&backend, lock(30_000)).await;
    depose(&backend);
    let told = waiter.await.unwrap().unwrap_err();
    assert_eq!((told.reason, told.retryable, told.maybe_applied), ("OUTCOME_UNKNOWN", false, true));
}

#[tokio::test]
async fn a_claim_that_is_not_served_is_no_answer() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let waiter = wait_for(&backend, v1::LockRequest { request_id: request(1), ..lock(30_000) }).await;
    backend.apply_next();
    backend.fail_next(ProposeError::Unknown("deposed".to_owned()));
    unlock(&backend, held.fence).await.unwrap();
    let told = waiter.await.unwrap().unwrap_err();
    assert_eq!((told.reason, told.retryable, told.maybe_applied), ("OUTCOME_UNKNOWN", true, true));
}

#[tokio::test]
async fn the_end_of_a_session_ends_the_wait_for_its_lock() {
    for (ended, reason) in [(true, "NOT_FOUND"), (false, "RENAMED")] {
        let backend = leader().await;
        let held = take(&backend, lock(0)).await.unwrap();
        let waiter = wait_for(&backend, lock(30_000)).await;
        let operation = if ended {
            Wire::Delete(v1::DeleteRequest { id: ID.into(), ..Default::default() })
        } else {
            let fence = Some(held.fence);
            Wire::Regenerate(v1::RegenerateRequest { id: ID.into(), fence, ..Default::default() })
        };
        execute(&backend, operation).await.unwrap();
        let told = waiter.await.unwrap().unwrap_err();
        assert_eq!((told.code, told.reason), (Code::NotFound, reason));
    }
}

#[tokio::test]
async fn who_holds_no_lock_writes_nothing_while_somebody_does() {
    let backend = leader().await;
    let held = take(&backend, lock(0)).await.unwrap();
    let write = |fence| {
        let principal = Some("ada".to_owned());
        Wire::Write(v1::WriteRequest { id: ID.into(), principal, fence, ..Default::default() })
    };
    assert_eq!(execute(&backend, write(None)).await.unwrap_err().reason, "LOCKED");
    assert_eq!(execute(&backend, write(Some(held.fence + 1))).await.unwrap_err().reason, "STALE_FENCE");
    execute(&backend, write(Some(held.fence))).await.unwrap();
    let regenerate =
        |fence| Wire::Regenerate(v1::RegenerateRequest { id: ID.into(), fence, ..Default::default() });
    assert_eq!(execute(&backend, regenerate(None)).await.unwrap_err().reason, "LOCKED");
    execute(&backend, Wire::Delete(v1::DeleteRequest { id: ID.into(), ..Default::default() })).await.unwrap();
}
