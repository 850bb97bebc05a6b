//! Operations on many sessions and on namespaces: what they do, and that each change takes effect once.

use std::time::Duration;

use crate::fake::{Cluster, Fault, builder, client};
use futures_util::{StreamExt as _, TryStreamExt as _};
use quorate_client::{
    AttributeSelection, Client, Consistency, Created, Error, ErrorKind, GetOptions, ListOptions, LockOptions,
    NewSession, PolicyChange, SessionId,
};

async fn created(client: &Client, principal: &str) -> Created {
    client.create(NewSession::new().attribute("n", "1").principal(principal)).await.expect("created")
}

/// How many attempts and effects there were when it last looked.
struct Seen<'a>(&'a Cluster, usize, usize);

impl<'a> Seen<'a> {
    fn now(cluster: &'a Cluster) -> Self {
        Seen(cluster, cluster.attempts().len(), cluster.look(|state| state.effects.len()))
    }

    /// Since then one change was asked for twice under one request id, and took effect once.
    fn once(self, what: &str) {
        let Seen(cluster, attempts, effects) = self;
        let since = cluster.attempts().split_off(attempts);
        let requests = since.iter().filter_map(|attempt| attempt.request);
        let ids: Vec<_> = requests.map(|request| (request.client, request.sequence)).collect();
        assert!(matches!(ids.as_slice(), [first, second] if first == second), "{what}: {ids:?}");
        assert_eq!(cluster.look(|state| state.effects.len()), effects + 1, "{what}");
    }
}

#[tokio::test]
async fn every_new_change_takes_effect_once_whatever_becomes_of_its_answers() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let created = created(&client, "alice").await;
    let (id, handle) =
        (created.id, client.list(ListOptions::new()).await.expect("listed").sessions[0].handle.clone());
    for fault in [Fault::DropBefore, Fault::DropAfter] {
        let losing = || {
            node.script([fault.clone()]);
            Seen::now(&cluster)
        };
        let seen = losing();
        let fence = client.lock(&id, LockOptions::new()).await.expect("locked").into_fence();
        seen.once("lock");
        let seen = losing();
        client.renew_lock(&id, fence, Duration::from_secs(9)).await.expect("renewed");
        seen.once("renew_lock");
        let seen = losing();
        client.unlock(&id, fence).await.expect("unlocked");
        seen.once("unlock");
        client.lock(&id, LockOptions::new()).await.expect("locked").into_fence();
        let seen = losing();
        client.break_lock(handle.as_str()).await.expect("broken");
        seen.once("break_lock");
        let seen = losing();
        client.touch_many([&id]).await.expect("touched");
        seen.once("touch_many");
        let seen = losing();
        client.revoke("nobody").await.expect("revoked");
        seen.once("revoke");
        let seen = losing();
        assert!(client.create_namespace("shop", PolicyChange::new()).await.expect("created").created);
        seen.once("create_namespace");
        let seen = losing();
        client.delete_namespace("shop").await.expect("deleted");
        seen.once("delete_namespace");
    }
    node.script([Fault::DropAfter]);
    let seen = Seen::now(&cluster);
    client.delete_handle(handle).await.expect("deleted");
    seen.once("delete_handle");
    assert_eq!(client.get(&id).await.expect_err("gone").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn all_pages_of_a_list_are_read_as_one_stream() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    for n in 0..25 {
        created(&client, if n % 5 == 0 { "bob" } else { "alice" }).await;
    }
    let page = client.list(ListOptions::new().page_size(10)).await.expect("listed");
    assert_eq!((page.sessions.len(), page.next.is_some(), page.position.cluster), (10, true, 7));
    let next = page.next.expect("more follow");
    let page = client.list(ListOptions::new().page_size(20).after(next)).await.expect("listed");
    assert_eq!((page.sessions.len(), page.next), (15, None));
    let before = cluster.attempts().len();
    let all: Vec<_> =
        client.list_all(ListOptions::new().page_size(4)).try_collect().await.expect("all pages");
    let mut handles: Vec<&String> = all.iter().map(|session| &session.handle).collect();
    handles.dedup();
    assert_eq!((handles.len(), cluster.attempts().len() - before), (25, 7));
    let bobs = client.list_all(ListOptions::new().principal("bob").page_size(2));
    assert_eq!(bobs.count().await, 5);
    let some = client.list_all(ListOptions::new().handle_prefix(&all[3].handle)).count().await;
    assert_eq!(some, 1);
    assert!(!format!("{:?}", ListOptions::new().principal("bob")).contains("bob"));
}

#[tokio::test]
async fn a_list_ends_behind_its_first_error() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    for _ in 0..3 {
        created(&client, "alice").await;
    }
    node.script([Fault::None, Fault::Refuse(tonic::Code::NotFound, "UNKNOWN_NAMESPACE", vec![])]);
    let read: Vec<Result<_, Error>> = client.list_all(ListOptions::new().page_size(2)).collect().await;
    assert_eq!(read.len(), 3);
    assert_eq!(read[2].as_ref().expect_err("the last one").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn all_sessions_of_a_principal_end_but_one() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let kept = created(&client, "alice").await;
    for _ in 0..3 {
        created(&client, "alice").await;
    }
    let bob = created(&client, "bob").await;
    assert_eq!(client.revoke_except("alice", &kept.id).await.expect("revoked").sessions, 3);
    client.get(&kept.id).await.expect("kept");
    assert_eq!(client.revoke("alice").await.expect("revoked").sessions, 1);
    client.get(&bob.id).await.expect("another user's");
}

#[tokio::test]
async fn many_are_touched_a_thousand_at_a_time() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let there = created(&client, "alice").await.id;
    let ids: Vec<SessionId> =
        (0..2_001).map(|n| if n == 1_500 { there.clone() } else { SessionId::random() }).collect();
    let before = cluster.attempts().len();
    let touched = client.touch_many(&ids).await.expect("touched");
    assert_eq!(cluster.attempts().len() - before, 3);
    assert_eq!(touched.missing, (0..2_001).filter(|n| *n != 1_500).collect::<Vec<_>>());
}

#[tokio::test]
async fn namespaces_are_put_read_and_deleted() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let policy = || PolicyChange::new().default_idle(Duration::from_secs(60)).sessions_max(9);
    assert!(client.put_namespace("shop", policy()).await.expect("put").created);
    assert!(!client.put_namespace("shop", policy()).await.expect("put").created);
    let error = client.create_namespace("shop", policy()).await.expect_err("it is there");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::AlreadyExists, Some("NAMESPACE_EXISTS")));
    let error = client.change_namespace("none", policy()).await.expect_err("it is not there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let shop = client.get_namespace("shop").await.expect("there");
    assert_eq!(
        (shop.policy.default_idle, shop.policy.sessions_max),
        (Some(Duration::from_secs(60)), Some(9))
    );
    assert_eq!((shop.counters.live, shop.policy.bytes_max), (0, None));
    assert_eq!(client.namespaces().await.expect("listed"), [shop]);
    client.delete_namespace("shop").await.expect("deleted");
    assert_eq!(client.get_namespace("shop").await.expect_err("gone").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn reads_that_any_node_may_answer_are_spread_and_no_leader_is_forgotten_for_them() {
    let cluster = Cluster::default();
    let (leader, follower) = (cluster.node().await, cluster.node().await);
    let client = builder(&[&leader, &follower]).build().expect("valid");
    let created = created(&client, "alice").await;
    let at = |address: &str| cluster.attempts().iter().filter(|attempt| attempt.node == address).count();
    let before = at(&leader.address());
    let read = |consistency| {
        let options =
            GetOptions { consistency, attributes: AttributeSelection::None, ..GetOptions::default() };
        client.get_with(&created.id, options)
    };
    for _ in 0..10 {
        read(Consistency::AtLeast(created.position)).await.expect("read");
        read(Consistency::Stale(Duration::from_secs(2))).await.expect("read");
    }
    assert!(at(&follower.address()) >= 8 && at(&leader.address()) >= before + 8);
    // One that is too far behind is passed over.
    let stale = || Fault::Refuse(tonic::Code::Unavailable, "TOO_STALE", vec![("retryable", "true")]);
    follower.always(stale());
    for _ in 0..4 {
        read(Consistency::Stale(Duration::from_secs(2))).await.expect("read from the other one");
    }
    let asked = at(&follower.address());
    client.touch(&created.id).await.expect("touched");
    assert_eq!(at(&follower.address()), asked, "the leader is still known");
}
