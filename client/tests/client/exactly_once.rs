//! A mutation takes effect once, whatever happens to its answers; what cannot be known is told and never guessed.

use std::time::Duration;

use crate::fake::{Cluster, Fault, builder, client, eventually};
use quorate_client::{ErrorKind, NewSession, Patch, SessionId};
use quorate_proto::v1::RequestId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::Code;

/// A session holding `n` = `value`.
fn numbered(value: u64) -> NewSession {
    NewSession::new().attribute("n", value.to_string())
}

/// Client and sequence of every mutation that reached a node.
fn ids(cluster: &Cluster) -> Vec<(u64, u64)> {
    let id = |id: RequestId| (id.client, id.sequence);
    cluster.attempts().into_iter().filter_map(|attempt| attempt.request.map(id)).collect()
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_request_id() {
    for fault in [Fault::DropBefore, Fault::DropAfter, Fault::OtherTag] {
        let cluster = Cluster::default();
        let node = cluster.node().await;
        node.script([fault.clone()]);
        let created = client(&[&node]).create(numbered(1)).await.expect("the second try succeeds");
        assert_eq!(created.version, 1, "{fault:?}");
        let ids = ids(&cluster);
        assert_eq!(ids.len(), 2, "{fault:?}: {ids:?}");
        assert_eq!(ids[0], ids[1], "{fault:?}");
        assert_eq!(cluster.look(|state| state.effects.len()), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn an_overloaded_node_is_asked_again_under_the_same_request_id() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let overloaded = Fault::Refuse(Code::ResourceExhausted, "OVERLOADED", vec![("retryable", "true")]);
    node.script([overloaded.clone(), overloaded]);
    client(&[&node]).create(numbered(1)).await.expect("the third try succeeds");
    let ids = ids(&cluster);
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn refusals_are_told_and_not_tried_again() {
    let table = [
        (Code::NotFound, "RENAMED", ErrorKind::NotFound),
        (Code::AlreadyExists, "RECENTLY_ENDED", ErrorKind::AlreadyExists),
        (Code::Aborted, "VERSION_CONFLICT", ErrorKind::VersionConflict { current: 9 }),
        (Code::InvalidArgument, "INVALID_NAMESPACE", ErrorKind::InvalidArgument),
        (Code::ResourceExhausted, "SESSION_TOO_LARGE", ErrorKind::ResourceExhausted),
        (Code::FailedPrecondition, "REQUEST_MISMATCH", ErrorKind::FailedPrecondition),
    ];
    for (code, reason, kind) in table {
        let cluster = Cluster::default();
        let node = cluster.node().await;
        node.script([Fault::Refuse(code, reason, vec![("current_version", "9")])]);
        let error = client(&[&node]).create(numbered(1)).await.expect_err("it is refused");
        assert_eq!(error.kind(), kind, "{reason}");
        assert_eq!(error.reason(), Some(reason));
        assert!(!error.is_retryable() && !error.may_have_taken_effect(), "{reason}");
        assert_eq!(ids(&cluster).len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_handle_forgotten_before_the_first_try_is_opened_again() {
    for reason in ["UNKNOWN_CLIENT", "STALE_REQUEST"] {
        let cluster = Cluster::default();
        let node = cluster.node().await;
        node.script([Fault::Refuse(Code::FailedPrecondition, reason, vec![("maybe_applied", "true")])]);
        client(&[&node]).create(numbered(1)).await.expect("the new handle is taken");
        assert_eq!(ids(&cluster), [(1, 1), (2, 1)], "{reason}");
        assert_eq!(cluster.look(|state| state.effects.len()), 1, "{reason}");
    }
}

#[tokio::test]
async fn many_callers_on_a_forgotten_handle_open_one_new_one() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    client.create(numbered(0)).await.expect("created");
    cluster.forget_clients();
    let creates = (1..=50).map(|n| client.create(numbered(n)));
    for created in futures_util::future::join_all(creates).await {
        created.expect("created under the new handle");
    }
    assert_eq!(cluster.look(|state| (state.opened, state.effects.len())), (2, 51));
}

/// Each of them used to take the opening with it when it went away, so that none ever had a handle.
#[tokio::test]
async fn callers_that_go_away_do_not_take_the_opening_of_the_handle_with_them() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    node.hold_open();
    let client = client(&[&node]);
    let asked = || cluster.look(|state| state.open_attempts);
    for _ in 0..20 {
        let given_up = client.create(numbered(1));
        let seen = async {
            eventually(|| asked() > 0).await;
            tokio::task::yield_now().await;
        };
        tokio::select! {
            biased;
            _ = given_up => panic!("the handle is held"),
            () = seen => {}
        }
    }
    let waiting = [client.create(numbered(2)), client.create(numbered(3))].map(Box::pin);
    let (created, ()) = tokio::join!(futures_util::future::join_all(waiting), async { node.release() });
    assert!(created.iter().all(Result::is_ok), "they have the handle that those who went away had asked for");
    assert_eq!((asked(), cluster.look(|state| state.opened)), (1, 1));
}

#[tokio::test]
async fn a_deadline_shorter_than_the_opening_of_the_handle_does_not_start_it_again() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    node.hold_open();
    let client = builder(&[&node]).deadline(Duration::from_millis(50)).build().expect("valid");
    for _ in 0..5 {
        let error = client.create(numbered(1)).await.expect_err("the handle is held");
        assert!(!error.may_have_taken_effect() && error.is_retryable(), "{error}");
    }
    node.release();
    eventually(|| cluster.look(|state| state.opened) > 0).await;
    let created = async { while client.create(numbered(1)).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(5), created).await.expect("the handle is open");
    assert_eq!(cluster.look(|state| (state.open_attempts, state.opened)), (1, 1));
}

#[tokio::test]
async fn a_request_forgotten_after_a_lost_try_is_of_unknown_outcome() {
    for reason in ["UNKNOWN_CLIENT", "STALE_REQUEST"] {
        let cluster = Cluster::default();
        let node = cluster.node().await;
        let forgotten = Fault::Refuse(Code::FailedPrecondition, reason, vec![("maybe_applied", "true")]);
        node.script([Fault::DropAfter, forgotten]);
        let client = client(&[&node]);
        let error = client.create(numbered(1)).await.expect_err("nobody can know");
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert!(error.may_have_taken_effect() && !error.is_retryable());
        assert_eq!(ids(&cluster), [(1, 1), (1, 1)], "{reason}: never under another id");
        client.create(numbered(2)).await.expect("the next one has a new handle");
        assert_eq!(ids(&cluster).last(), Some(&(2, 1)), "{reason}");
    }
}

#[tokio::test]
async fn a_cluster_that_knows_no_handle_is_not_flooded_with_new_ones() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    node.always(Fault::Refuse(Code::FailedPrecondition, "UNKNOWN_CLIENT", vec![]));
    let client = builder(&[&node]).deadline(Duration::from_millis(300)).build().expect("valid");
    let error = client.create(numbered(1)).await.expect_err("never taken");
    // The deadline may cut off the answer to the last try.
    assert!(cluster.look(|state| state.effects.is_empty()), "{error}");
    let opened = cluster.look(|state| state.opened);
    assert!((2..=20).contains(&opened), "{opened} handles were opened");
}

#[tokio::test]
async fn an_answer_that_says_nothing_leaves_the_outcome_open() {
    for fault in [Fault::OtherKind, Fault::Empty] {
        let cluster = Cluster::default();
        let node = cluster.node().await;
        let client = client(&[&node]);
        let created = client.create(numbered(1)).await.expect("created");
        node.script([fault.clone(), fault.clone()]);
        let error = client.delete(&created.id).await.expect_err("that is no answer");
        assert!(error.may_have_taken_effect() && !error.is_retryable(), "{fault:?}: {error}");
        let error = client.get(&created.id).await.expect_err("that is no answer");
        assert!(!error.may_have_taken_effect(), "{fault:?}: a read has no effect");
    }
}

/// The new id used to be drawn inside and lost with the error, and the session with it.
#[tokio::test]
async fn a_new_id_is_known_when_the_outcome_is_not() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let created = client.create(numbered(1)).await.expect("created");
    let forgotten =
        Fault::Refuse(Code::FailedPrecondition, "UNKNOWN_CLIENT", vec![("maybe_applied", "true")]);
    node.script([Fault::DropAfter, forgotten]);
    let new_id = SessionId::random();
    let error = client.regenerate_to(&created.id, new_id.clone()).await.expect_err("nobody can know");
    assert!(error.may_have_taken_effect(), "{error}");
    assert_eq!(client.get(&new_id).await.expect("the new id is the live one").attributes["n"].as_ref(), b"1");
}

#[tokio::test]
async fn a_fault_of_the_node_leaves_the_outcome_of_an_earlier_try_open() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    node.script([Fault::DropAfter, Fault::Refuse(Code::PermissionDenied, "DENIED", vec![])]);
    let error = client(&[&node]).create(numbered(1)).await.expect_err("refused at the second try");
    assert!(error.may_have_taken_effect(), "the first try did take effect");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_books_in_order() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let session = client.create(numbered(0)).await.expect("created").id;
    node.script([Fault::Hold]);
    let given_up = client.patch(&session, Patch::new().set("n", "late"));
    let seen = eventually(|| cluster.attempts().len() >= 2);
    tokio::select! {
        _ = given_up => panic!("it is held"),
        () = seen => {}
    }
    // More than the server's window of 4,096: the sequence given up must not hold it open.
    for round in 0..9_u64 {
        let patches =
            (0..500).map(|n| client.patch(&session, Patch::new().set("n", (round * 500 + n).to_string())));
        for patched in futures_util::future::join_all(patches).await {
            patched.expect("the book is not stuck");
        }
    }
    node.release();
    client.get(&session).await.expect("there");
    let late = cluster.look(|state| state.effects.iter().any(|(_, set)| set.as_deref() == Some(b"late")));
    assert!(!late, "what came after was acknowledged: it must not be undone by a call given up before");
    assert_eq!(cluster.look(|state| state.opened), 1);
}

#[tokio::test]
async fn an_unanswered_mutation_holds_others_back_within_the_servers_window() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    // The callers wait for one that is stuck until all the others were seen, however slow the machine is.
    let client = builder(&[&node]).deadline(Duration::from_secs(60)).build().expect("valid");
    let session = client.create(numbered(0)).await.expect("created").id;
    node.script([Fault::Hold]);
    let stuck = tokio::spawn({
        let (client, session) = (client.clone(), session.clone());
        async move { client.patch(&session, Patch::new().set("stuck", "yes")).await }
    });
    eventually(|| cluster.attempts().len() >= 2).await;
    let patches = (0..4_200).map(|n| client.patch(&session, Patch::new().set("n", n.to_string())));
    let release = async {
        eventually(|| cluster.look(|state| state.effects.len()) >= 4_000).await;
        let held = cluster.look(|state| state.effects.len());
        node.release();
        held
    };
    let (patched, held) = tokio::join!(futures_util::future::join_all(patches), release);
    assert!(patched.iter().all(Result::is_ok));
    assert_eq!(held, 4_000, "the create and 3,999 patches: the rest waits for the one that is stuck");
    stuck.await.expect("no panic").expect("patched");
    assert!(cluster.look(|state| state.spread_max) < 4_096);
}

#[tokio::test]
async fn one_callers_changes_apply_in_order_through_faults() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let session = client.create(numbered(0)).await.expect("created").id;
    for n in 1..=40_u64 {
        node.script([if n % 2 == 0 { Fault::DropAfter } else { Fault::DropBefore }]);
        let written = client.patch(&session, Patch::new().set("n", n.to_string())).await.expect("patched");
        assert_eq!(written.version, n + 1);
    }
    let order: Vec<String> = cluster.look(|state| {
        let text = |set: &bytes::Bytes| String::from_utf8_lossy(set).into_owned();
        state.effects.iter().filter_map(|(_, set)| set.as_ref().map(text)).collect()
    });
    assert_eq!(order, (0..=40).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Callers in parallel, two nodes that lead by turns and fail at random: all is acknowledged, all happened once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_neither_loses_nor_repeats() {
    const CALLERS: u64 = 16;
    const PATCHES: u64 = 60;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let cluster = Cluster::default();
    let (one, other) = (cluster.node().await, cluster.node().await);
    let mut random = StdRng::seed_from_u64(seed);
    let mut injected = 0;
    for node in [&one, &other] {
        let peer = if node.address() == one.address() { &other } else { &one };
        for _ in 0..600 {
            let fault = match random.random_range(0..100) {
                0..3 => Fault::DropBefore,
                3..6 => Fault::DropAfter,
                6..10 => Fault::Redirect(Some(peer.address())),
                10..12 => Fault::Redirect(None),
                12..16 => Fault::Refuse(Code::ResourceExhausted, "OVERLOADED", vec![("retryable", "true")]),
                _ => Fault::None,
            };
            injected += usize::from(!matches!(fault, Fault::None));
            node.script([fault]);
        }
    }
    let client = builder(&[&one, &other]).deadline(Duration::from_secs(30)).build().expect("valid");
    let callers = (0..CALLERS).map(|caller| {
        let client = client.clone();
        tokio::spawn(async move {
            let session = SessionId::random();
            client.create(NewSession::new().id(session.clone())).await.expect("created");
            for n in 1..=PATCHES {
                let patch = Patch::new().set("n", format!("{caller}-{n}"));
                let written = client.patch(&session, patch).await.expect("patched");
                assert_eq!(written.version, n + 1, "a patch was lost or repeated");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no caller fails");
    }
    let effects = cluster.look(|state| state.effects.len() as u64);
    assert_eq!(effects, CALLERS * (PATCHES + 1), "seed {seed}");
    assert!(injected > 100 && ids(&cluster).len() as u64 > effects + 50, "faults must have been met");
}
