//! Locks: renewed while their guard lives, and known to be lost before anybody else can have them.

use std::time::{Duration, Instant};

use crate::fake::{Cluster, Fault, Node, builder, client, eventually};
use quorate_client::{
    AttributeSelection, Client, ErrorKind, LockGuard, LockOptions, NewSession, SessionId, Write,
};
use quorate_proto::SessionStore;
use quorate_proto::v1::{self, RequestId};
use tonic::Code;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

async fn session(client: &Client) -> SessionId {
    client.create(NewSession::new().attribute("n", "1").principal("alice")).await.expect("created").id
}

async fn locked(client: &Client, id: &SessionId, lease: Duration) -> LockGuard {
    client.lock(id, LockOptions::new().lease(lease).owner("here")).await.expect("locked")
}

fn renewals(cluster: &Cluster) -> usize {
    cluster.look(|state| state.locks.renewals)
}

fn is_held(cluster: &Cluster, id: &SessionId) -> bool {
    cluster.look(|state| state.locks.holder(id.reveal()).is_some())
}

async fn cluster() -> (Cluster, Node, Client, SessionId) {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let id = session(&client).await;
    (cluster, node, client, id)
}

#[tokio::test]
async fn a_guard_renews_its_lease_until_it_is_dropped() {
    let (cluster, _node, client, id) = cluster().await;
    let guard = locked(&client, &id, SHORT).await;
    eventually(|| renewals(&cluster) >= 6).await;
    assert!(!guard.is_lost(), "it is older than two leases");
    let owner = cluster.look(|state| state.locks.holder(id.reveal()).map(|held| held.owner.clone()));
    assert_eq!(owner.as_deref(), Some("here"));
    drop(guard);
    eventually(|| !is_held(&cluster, &id)).await;
    let renewed = renewals(&cluster);
    tokio::time::sleep(SHORT).await;
    assert_eq!(renewals(&cluster), renewed, "the renewals end with the guard");
}

#[tokio::test]
async fn a_lock_that_cannot_be_renewed_is_lost_before_the_server_gives_it_away() {
    for fault in [Fault::Silent, Fault::DropBefore, Fault::Redirect(None)] {
        let (cluster, node, client, id) = cluster().await;
        let guard = locked(&client, &id, SHORT).await;
        node.always(fault.clone());
        let mut lost = Box::pin(guard.lost());
        loop {
            let held = is_held(&cluster, &id);
            assert!(held || guard.is_lost(), "{fault:?}: somebody else could have it");
            tokio::select! {
                biased;
                lost = &mut lost => break assert_eq!(lost.kind(), ErrorKind::LockLost, "{fault:?}: {lost}"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(guard.is_lost());
        let before = cluster.attempts().len();
        let error = guard.write(Write::replace([("n", "2")])).await.expect_err("refused here");
        assert_eq!(error.kind(), ErrorKind::LockLost);
        assert!(
            cluster.attempts().len() <= before + 1,
            "{fault:?}: nothing but a renewal under way was sent"
        );
        assert!(!error.may_have_taken_effect() && !error.is_retryable());
    }
}

#[tokio::test]
async fn a_renewal_that_is_refused_tells_at_once() {
    let (cluster, _node, client, id) = cluster().await;
    let guard = locked(&client, &id, Duration::from_secs(1)).await;
    let begun = Instant::now();
    cluster.change(|state| state.locks.free(id.reveal()));
    let lost = guard.lost().await;
    assert_eq!((lost.kind(), lost.reason()), (ErrorKind::LockLost, Some("STALE_FENCE")));
    assert!(begun.elapsed() < Duration::from_millis(700), "at the next renewal: {:?}", begun.elapsed());
    assert_eq!(guard.unlock().await.expect_err("it is not held").kind(), ErrorKind::LockLost);
    // The session's end is the lock's.
    let guard = locked(&client, &id, SHORT).await;
    cluster.change(|state| state.sessions.clear());
    assert_eq!(guard.lost().await.kind(), ErrorKind::LockLost);
}

#[tokio::test]
async fn a_write_that_the_server_refuses_as_stale_tells_too() {
    let (cluster, _node, client, id) = cluster().await;
    let guard = locked(&client, &id, LONG).await;
    cluster.change(|state| state.locks.free(id.reveal()));
    let error = guard.write(Write::replace([("n", "2")])).await.expect_err("stale");
    assert_eq!(error.kind(), ErrorKind::LockLost);
    assert!(guard.is_lost());
    assert_eq!(guard.lost().await.reason(), Some("STALE_FENCE"));
}

#[tokio::test]
async fn writes_under_the_lock_carry_its_token_and_others_are_refused() {
    let (cluster, _node, client, id) = cluster().await;
    let guard = locked(&client, &id, LONG).await;
    let error = client.write(&id, Write::replace([("n", "3")])).await.expect_err("locked");
    assert!(matches!(error.kind(), ErrorKind::Locked { remaining, .. } if remaining > LONG / 2), "{error}");
    let error = client.lock(&id, LockOptions::new()).await.expect_err("locked");
    assert!(matches!(error.kind(), ErrorKind::Locked { .. }), "{error}");
    assert_eq!(guard.write(Write::replace([("n", "2")])).await.expect("written").version, 2);
    assert_eq!(client.write(&id, Write::keep().fence(guard.fence())).await.expect("written").version, 3);
    let fence = guard.fence();
    guard.write_and_release(Write::replace([("n", "4")])).await.expect("written");
    assert!(!is_held(&cluster, &id), "in the same step");
    let next = locked(&client, &id, LONG).await;
    assert!(next.fence() > fence);
    next.unlock().await.expect("unlocked");
    assert!(!is_held(&cluster, &id));
}

#[tokio::test]
async fn a_refused_write_and_release_gives_the_lock_back_all_the_same() {
    let (cluster, _node, client, id) = cluster().await;
    let guard = locked(&client, &id, LONG).await;
    let error = guard.write_and_release(Write::keep().if_version(9)).await.expect_err("another version");
    assert_eq!(error.kind(), ErrorKind::VersionConflict { current: 1 });
    eventually(|| !is_held(&cluster, &id)).await;
}

#[tokio::test]
async fn the_guard_moves_along_when_it_regenerates_the_session() {
    let (cluster, node, client, id) = cluster().await;
    let guard = locked(&client, &id, SHORT).await;
    // In a task: a server's handlers must be able to.
    let renamed = tokio::spawn(async move { (guard.regenerate().await, guard) });
    let (created, guard) = renamed.await.expect("no panic");
    let created = created.expect("renamed");
    assert_eq!(guard.id(), created.id);
    let renewed = renewals(&cluster);
    eventually(|| renewals(&cluster) > renewed + 3).await;
    assert!(!guard.is_lost());
    assert_eq!(guard.write(Write::replace([("n", "2")])).await.expect("written").version, 2);
    // Of unknown outcome: it did happen.
    let forgotten =
        || Fault::Refuse(Code::FailedPrecondition, "UNKNOWN_CLIENT", vec![("maybe_applied", "true")]);
    let new = SessionId::random();
    node.script([Fault::DropAfter, forgotten()]);
    let error = guard.regenerate_to(new.clone()).await.expect_err("nobody can know");
    assert!(error.may_have_taken_effect(), "{error}");
    guard.write(Write::replace([("n", "3")])).await.expect("the live id is found");
    assert_eq!(guard.id(), new);
    // It did not happen.
    node.script([Fault::DropBefore, forgotten()]);
    guard.regenerate().await.expect_err("nobody can know");
    guard.write(Write::replace([("n", "4")])).await.expect("the live id is found");
    assert_eq!(guard.id(), new);
    guard.unlock().await.expect("unlocked");
    assert!(!is_held(&cluster, &new));
}

#[tokio::test]
async fn a_lock_and_the_session_come_in_one_round_trip() {
    let (cluster, _node, client, id) = cluster().await;
    let before = cluster.attempts().len();
    let (guard, session) =
        client.lock_and_get(&id, LockOptions::new(), AttributeSelection::All).await.expect("locked");
    assert_eq!((session.attributes["n"].as_ref(), session.version), (b"1".as_ref(), 1));
    assert_eq!(cluster.attempts().len(), before + 1);
    let fence = guard.into_fence();
    tokio::task::yield_now().await;
    assert!(is_held(&cluster, &id), "nobody gives it back");
    client.renew_lock(&id, fence, LONG).await.expect("renewed");
    client.unlock(&id, fence).await.expect("unlocked");
    assert_eq!(client.unlock(&id, fence).await.expect_err("once").kind(), ErrorKind::LockLost);
}

#[tokio::test]
async fn a_lock_is_broken_by_handle() {
    let (cluster, _node, client, id) = cluster().await;
    let handle = client.get(&id).await.expect("there").handle;
    let error = client.break_lock(handle.as_str()).await.expect_err("nobody holds it");
    assert_eq!(error.reason(), Some("NOT_LOCKED"));
    let guard = locked(&client, &id, LONG).await;
    client.break_lock(handle).await.expect("broken");
    assert!(!is_held(&cluster, &id) && !guard.is_lost(), "the guard cannot know yet");
}

/// Under the same request id the answer would be the same for the whole wait.
#[tokio::test]
async fn a_line_that_is_full_is_told_at_once() {
    let (cluster, node, client, id) = cluster().await;
    let attempts = cluster.attempts().len();
    node.script([Fault::Refuse(Code::ResourceExhausted, "TOO_MANY_WAITERS", vec![("retryable", "true")])]);
    let error = client.lock(&id, LockOptions::new().wait(LONG)).await.expect_err("the line is full");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::ResourceExhausted, true));
    assert_eq!(cluster.attempts().len(), attempts + 1);
}

fn of(cluster: &Cluster, node: &Node) -> Vec<RequestId> {
    let attempts = cluster.attempts();
    attempts.iter().filter(|attempt| attempt.node == node.address()).filter_map(|a| a.request).collect()
}

#[tokio::test]
async fn a_waiting_lock_is_neither_cut_nor_sent_again_and_survives_its_leader() {
    let cluster = Cluster::default();
    let (follower, leader) = (cluster.node().await, cluster.node().await);
    let client = builder(&[&leader, &follower]).deadline(Duration::from_secs(1)).build().expect("valid");
    let id = session(&client).await;
    follower.follow(&leader);
    leader.script([Fault::Hold]);
    let before = of(&cluster, &leader).len();
    let waiting = tokio::spawn({
        let (client, id) = (client.clone(), id.clone());
        async move { client.lock(&id, LockOptions::new().lease(LONG).wait(Duration::from_secs(30))).await }
    });
    eventually(|| of(&cluster, &leader).len() > before).await;
    // Longer than the client's deadline, and than it waits for the answer to a try.
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    assert!(!waiting.is_finished());
    assert_eq!(of(&cluster, &leader).len(), before + 1, "it was sent once");
    // Other calls do not wait behind it. The leader goes down and the follower takes over.
    client.touch(&id).await.expect("touched");
    follower.always(Fault::None);
    leader.script([Fault::DropBefore]);
    leader.always(Fault::Redirect(Some(follower.address())));
    client.touch(&id).await.expect("touched by the new leader");
    let guard = waiting.await.expect("no panic").expect("locked at the new leader");
    let first = of(&cluster, &leader)[before];
    let again = of(&cluster, &follower);
    assert!(again.iter().any(|id| (id.client, id.sequence) == (first.client, first.sequence)), "{again:?}");
    assert!(!guard.is_lost());
}

#[tokio::test]
async fn a_lock_that_was_waited_for_is_confirmed_before_it_is_handed_out() {
    let (cluster, node, client, id) = cluster().await;
    node.script([Fault::Hold]);
    let attempts = cluster.attempts().len();
    let waiting = tokio::spawn({
        let (client, id) = (client.clone(), id.clone());
        async move { client.lock(&id, LockOptions::new().lease(SHORT).wait(Duration::from_secs(30))).await }
    });
    eventually(|| cluster.attempts().len() > attempts).await;
    // As long as the lease: of the answer alone nobody could say how old it is.
    tokio::time::sleep(SHORT).await;
    node.release();
    let guard = waiting.await.expect("no panic").expect("locked");
    assert!(!guard.is_lost() && renewals(&cluster) >= 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_waiting_does_not_keep_the_lock() {
    let (cluster, node, client, id) = cluster().await;
    // It was granted before the node hears of it.
    node.ignore_cancels();
    node.script([Fault::Hold]);
    let attempts = cluster.attempts().len();
    let given_up = client.lock(&id, LockOptions::new().lease(LONG).wait(Duration::from_secs(30)));
    let seen = eventually(|| cluster.attempts().len() > attempts);
    tokio::select! {
        _ = given_up => panic!("it is held"),
        () = seen => {}
    }
    let effects = cluster.look(|state| state.effects.len());
    node.release();
    eventually(|| cluster.look(|state| state.effects.len()) >= effects + 2).await;
    assert!(!is_held(&cluster, &id), "taken and given back");
}

/// Asks for the lock, and gives up once the node has the request; its id.
async fn give_up_waiting(cluster: &Cluster, client: &Client, id: &SessionId) -> RequestId {
    let attempts = cluster.attempts().len();
    let given_up = client.lock(id, LockOptions::new().lease(LONG).wait(Duration::from_secs(30)));
    tokio::select! {
        _ = given_up => panic!("it is held"),
        () = eventually(|| cluster.attempts().len() > attempts) => {}
    }
    cluster.attempts().get(attempts).and_then(|attempt| attempt.request).expect("a mutation")
}

/// How often this request was sent.
fn sent(cluster: &Cluster, request: RequestId) -> usize {
    let attempts = cluster.attempts();
    let of = |id: &RequestId| (id.client, id.sequence) == (request.client, request.sequence);
    attempts.iter().filter_map(|attempt| attempt.request.as_ref()).filter(|id| of(id)).count()
}

/// Until the client has done with this request: a request id behind it tells.
async fn until_over(cluster: &Cluster, client: &Client, request: RequestId) {
    let missing = SessionId::random();
    let over = async {
        loop {
            let next = client.lock(&missing, LockOptions::new().wait(LONG)).await;
            assert_eq!(next.expect_err("no such session").kind(), ErrorKind::NotFound);
            let last = cluster.attempts().pop().and_then(|attempt| attempt.request).expect("a mutation");
            if last.client == request.client && last.lowest_unanswered > request.sequence {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.expect("the client goes on with it");
}

/// Others would wait behind it for as long as it was ready to.
#[tokio::test]
async fn a_caller_that_gives_up_waiting_leaves_the_line_at_once() {
    let (cluster, node, client, id) = cluster().await;
    node.script([Fault::Hold]);
    let request = give_up_waiting(&cluster, &client, &id).await;
    eventually(|| node.cancelled() == 1).await;
    until_over(&cluster, &client, request).await;
    assert_eq!((sent(&cluster, request), node.cancelled()), (1, 1));
    assert!(!is_held(&cluster, &id));
}

#[tokio::test]
async fn so_does_a_caller_of_the_wires_own_request() {
    let (cluster, node, client, id) = cluster().await;
    node.script([Fault::Hold]);
    let attempts = cluster.attempts().len();
    let request =
        v1::LockRequest { id: id.reveal().to_owned(), wait_ms: 30_000, ..v1::LockRequest::default() };
    tokio::select! {
        _ = SessionStore::lock(&client, request) => panic!("it is held"),
        () = eventually(|| cluster.attempts().len() > attempts) => {}
    }
    eventually(|| node.cancelled() == 1).await;
}

/// What a try may have begun before its stream broke is asked for again only to be ended.
#[tokio::test]
async fn a_caller_that_has_gone_does_not_wait_again_after_its_stream_broke() {
    let (cluster, node, client, id) = cluster().await;
    node.ignore_cancels();
    node.script([Fault::Hold]);
    let request = give_up_waiting(&cluster, &client, &id).await;
    eventually(|| node.cancelled() == 1).await;
    node.heed_cancels();
    node.script([Fault::DropBefore]);
    client.touch(&id).await.expect("touched over another stream");
    until_over(&cluster, &client, request).await;
    assert_eq!(sent(&cluster, request), 2);
    eventually(|| node.cancelled() == 2).await;
    assert!(!is_held(&cluster, &id));
}

#[tokio::test]
async fn what_never_reached_a_leader_is_not_sent_when_its_caller_has_gone() {
    let (cluster, node, client, id) = cluster().await;
    // So that there is a handle for calls that wait.
    let missing = client.lock(&SessionId::random(), LockOptions::new().wait(LONG)).await;
    assert_eq!(missing.expect_err("no such session").kind(), ErrorKind::NotFound);
    node.always(Fault::Redirect(None));
    let request = give_up_waiting(&cluster, &client, &id).await;
    node.always(Fault::None);
    until_over(&cluster, &client, request).await;
    let effects = cluster.look(|state| state.effects.clone());
    let of = |id: &RequestId| (id.client, id.sequence) == (request.client, request.sequence);
    assert!(!effects.iter().any(|(id, _)| id.as_ref().is_some_and(of)), "it was locked for nobody");
}

#[tokio::test]
async fn many_calls_that_wait_hold_no_others_back() {
    let (cluster, node, client, id) = cluster().await;
    node.script([Fault::Hold]);
    let attempts = cluster.attempts().len();
    let wait = LockOptions::new().lease(LONG).wait(Duration::from_secs(30));
    let stuck = tokio::spawn({
        let (client, id, wait) = (client.clone(), id.clone(), wait.clone());
        async move { client.lock(&id, wait).await }
    });
    eventually(|| cluster.attempts().len() > attempts).await;
    let touches = (0..4_500).map(|_| client.touch(&id));
    assert!(futures_util::future::join_all(touches).await.iter().all(Result::is_ok));
    let missing = SessionId::random();
    for _ in 0..9 {
        let locks = (0..500).map(|_| client.lock(&missing, wait.clone()));
        for refused in futures_util::future::join_all(locks).await {
            assert_eq!(refused.expect_err("no such session").kind(), ErrorKind::NotFound);
        }
    }
    assert_eq!(cluster.look(|state| state.opened), 3, "one handle, and two for calls that wait");
    node.release();
    assert!(!stuck.await.expect("no panic").expect("locked").is_lost());
}

/// As by a timeout around it, while the cluster elects a leader.
#[tokio::test]
async fn an_unlock_that_is_given_up_gives_the_lock_back_all_the_same() {
    let (cluster, node, client, id) = cluster().await;
    // Longer than any test waits.
    let guard = locked(&client, &id, LONG * 30).await;
    node.always(Fault::Redirect(None));
    let attempts = cluster.attempts().len();
    tokio::select! {
        _ = guard.unlock() => panic!("nobody leads"),
        () = eventually(|| cluster.attempts().len() > attempts) => {}
    }
    node.always(Fault::None);
    eventually(|| !is_held(&cluster, &id)).await;
}

/// Nobody else would give it back, and its caller must not take it for free.
#[tokio::test]
async fn a_lock_that_was_granted_and_cannot_be_confirmed_may_have_taken_effect() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let deadline = Duration::from_secs(3);
    let client = builder(&[&node]).deadline(deadline).build().expect("valid");
    let id = session(&client).await;
    // As if it had waited for most of its lease.
    cluster.change(|state| state.locks.remaining_ms = Some(0));
    node.script([Fault::None]);
    node.always(Fault::Redirect(None));
    let begun = Instant::now();
    let error = client.lock(&id, LockOptions::new().lease(LONG)).await.expect_err("it cannot be confirmed");
    assert!(begun.elapsed() < deadline * 2, "{:?}", begun.elapsed());
    assert!(is_held(&cluster, &id));
    assert!(error.may_have_taken_effect() && !error.is_retryable(), "{error}");
    node.always(Fault::None);
    eventually(|| !is_held(&cluster, &id)).await;
}

/// One that was given back, or never held, is told as what it is.
#[tokio::test]
async fn a_lock_that_was_lost_before_it_could_be_confirmed_has_no_effect() {
    let (cluster, node, client, id) = cluster().await;
    cluster.change(|state| state.locks.remaining_ms = Some(0));
    node.script([Fault::None, Fault::Refuse(Code::FailedPrecondition, "STALE_FENCE", vec![])]);
    let error = client.lock(&id, LockOptions::new().lease(LONG)).await.expect_err("lost meanwhile");
    assert_eq!(error.kind(), ErrorKind::LockLost);
    assert!(!error.may_have_taken_effect(), "{error}");
}

#[tokio::test]
async fn a_guard_whose_write_gives_the_lock_back_holds_it_no_longer() {
    let (cluster, node, client, id) = cluster().await;
    let guard = locked(&client, &id, LONG).await;
    guard.write(Write::keep().principal("x").release()).await.expect("written");
    assert!(guard.is_lost() && !is_held(&cluster, &id));
    let lost = guard.lost().await;
    assert_eq!(lost.kind(), ErrorKind::LockLost, "{lost}");
    let next = locked(&client, &id, LONG).await;
    drop(guard);
    assert!(!next.is_lost());
    // Refused, it is still held.
    let refused = next.write(Write::keep().if_version(99).release()).await.expect_err("another version");
    assert!(matches!(refused.kind(), ErrorKind::VersionConflict { .. }) && !next.is_lost(), "{refused}");
    // Of unknown outcome: the servers know whether it is.
    let forgotten =
        || Fault::Refuse(Code::FailedPrecondition, "UNKNOWN_CLIENT", vec![("maybe_applied", "true")]);
    node.script([Fault::DropBefore, forgotten()]);
    next.write(Write::keep().release()).await.expect_err("nobody can know");
    assert!(!next.is_lost() && is_held(&cluster, &id), "it was not written");
    node.script([Fault::DropAfter, forgotten()]);
    next.write(Write::keep().release()).await.expect_err("nobody can know");
    assert!(next.is_lost() && !is_held(&cluster, &id), "it was written");
}

/// While it is not known which id a session has, and after that was found out.
#[tokio::test]
async fn a_write_under_the_lock_costs_one_operation_also_after_an_unknown_rename() {
    let (cluster, node, client, id) = cluster().await;
    let guard = locked(&client, &id, LONG).await;
    let forgotten =
        || Fault::Refuse(Code::FailedPrecondition, "UNKNOWN_CLIENT", vec![("maybe_applied", "true")]);
    for fault in [Fault::DropAfter, Fault::DropBefore] {
        node.script([fault.clone(), forgotten()]);
        guard.regenerate().await.expect_err("nobody can know");
        guard.write(Write::keep().principal("x")).await.expect("the live id is found");
        let before = cluster.attempts().len();
        for n in 0..10 {
            guard.write(Write::replace([("n", n.to_string())])).await.expect("written");
        }
        assert_eq!(cluster.attempts().len(), before + 10, "{fault:?}");
    }
    let id = guard.id();
    guard.unlock().await.expect("unlocked");
    assert!(!is_held(&cluster, &id));
}

#[tokio::test]
async fn debug_shows_no_id() {
    let (_cluster, _node, client, id) = cluster().await;
    let guard = locked(&client, &id, LONG).await;
    let shown = format!("{guard:?}");
    assert!(shown.contains("fence") && !shown.contains(id.reveal()), "{shown}");
}
