//! Which node is asked, for how long, and what is told when none answers.

use std::time::{Duration, Instant};

use crate::fake::{Cluster, Fault, builder, client};
use quorate_client::{
    AttributeSelection, Client, Consistency, ErrorKind, GetOptions, LockOptions, NewSession, Patch, Position,
    SessionId, WatchOptions, Write,
};
use quorate_proto::SessionStore;
use quorate_proto::v1;
use tokio::net::TcpListener;

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

/// An address that takes connections and never says a word.
async fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

/// How many attempts reached the node at `address`.
fn attempts_at(cluster: &Cluster, address: &str) -> usize {
    cluster.attempts().iter().filter(|attempt| attempt.node == address).count()
}

/// There is no TLS yet: what asks for it must not be sent in the clear.
#[tokio::test]
async fn an_endpoint_that_asks_for_tls_or_names_no_port_is_refused() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let builder = |endpoint: String| Client::builder().endpoints([node.address(), endpoint]);
    for (endpoint, why) in [
        (format!("https://{}", node.address()), "TLS is not supported yet"),
        (format!("ftp://{}", node.address()), "host:port"),
        ("127.0.0.1".to_owned(), "host:port"),
        ("http://127.0.0.1".to_owned(), "host:port"),
        ("http://127.0.0.1/".to_owned(), "host:port"),
    ] {
        let error = builder(endpoint.clone()).build().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{endpoint}");
        assert!(error.to_string().contains(&endpoint) && error.to_string().contains(why), "{error}");
        assert!(builder(endpoint).connect().await.is_err());
    }
    let client = builder(format!("http://{}/", node.address())).build().expect("taken");
    let options = GetOptions { node: Some(format!("https://{}", node.address())), ..GetOptions::default() };
    let error = client.get_with(&SessionId::random(), options).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

/// `Duration::MAX` is how people write "no limit".
#[tokio::test]
async fn no_duration_is_too_long() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let max = Duration::MAX;
    let builder = builder(&[&node]).deadline(max).connect_timeout(max).keep_alive(max);
    let client = builder.connect().await.expect("connected");
    let id = client.create(NewSession::new().idle_timeout(max)).await.expect("created").id;
    let guard = client.lock(&id, LockOptions::new().lease(max).wait(max)).await.expect("locked");
    guard.write(Write::keep()).await.expect("written");
    let stale = GetOptions { consistency: Consistency::Stale(max), ..GetOptions::default() };
    client.get_with(&id, stale).await.expect("read");
    client.watch(WatchOptions::new()).await.expect("watching");
    assert!(client.status().await.iter().all(|(_, status)| status.is_ok()));
    client.renew_lock(&id, guard.fence(), max).await.expect("renewed");
    guard.unlock().await.expect("unlocked");
}

/// A node that waits for it is well.
#[tokio::test]
async fn a_position_that_is_not_reached_in_time_is_told_as_that() {
    let cluster = Cluster::default();
    let (one, other) = (cluster.node().await, cluster.node().await);
    let client = builder(&[&one, &other]).deadline(Duration::from_millis(300)).build().expect("valid");
    let id = client.create(NewSession::new()).await.expect("created").id;
    one.always(Fault::Silent);
    other.always(Fault::Silent);
    let consistency = Consistency::AtLeast(Position { cluster: 7, index: 99 });
    let options = GetOptions { consistency, ..GetOptions::default() };
    let error = client.get_with(&id, options).await.expect_err("it is never reached");
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Deadline, Some("POSITION_NOT_REACHED")),
        "{error}"
    );
    assert!(error.is_retryable() && !error.may_have_taken_effect());
    assert!(error.to_string().contains("position"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_followed_and_remembered() {
    let cluster = Cluster::default();
    let (follower, leader) = (cluster.node().await, cluster.node().await);
    follower.follow(&leader);
    // The leader's address is learnt from the redirect alone.
    let client = client(&[&follower]);
    let session = client.create(NewSession::new()).await.expect("created").id;
    for _ in 0..10 {
        client.touch(&session).await.expect("touched");
    }
    assert_eq!(attempts_at(&cluster, &follower.address()), 0, "only OpenClient went to the follower");
    assert_eq!(attempts_at(&cluster, &leader.address()), 11);
}

#[tokio::test]
async fn the_next_node_is_asked_when_one_cannot_be_reached() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = Client::builder().endpoints([nobody().await, node.address()]).build().expect("valid");
    let begun = Instant::now();
    client.create(NewSession::new()).await.expect("created by the node that is there");
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_next_node_is_asked_when_one_says_nothing() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let (_listener, mute) = mute().await;
    let client = Client::builder().endpoints([mute, node.address()]).build().expect("valid");
    let begun = Instant::now();
    client.create(NewSession::new()).await.expect("created by the node that answers");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_client_moves_to_a_new_leader_at_once() {
    let cluster = Cluster::default();
    let (old, new) = (cluster.node().await, cluster.node().await);
    new.follow(&old);
    let client = client(&[&old, &new]);
    let session = client.create(NewSession::new()).await.expect("created").id;
    old.script([Fault::DropAfter]);
    old.always(Fault::Redirect(None));
    new.always(Fault::None);
    let begun = Instant::now();
    client.touch(&session).await.expect("the new leader has the first try's outcome");
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
    assert_eq!(cluster.look(|state| state.effects.len()), 2, "created once, touched once");
}

#[tokio::test]
async fn other_nodes_are_learnt_from_the_only_one_given() {
    let cluster = Cluster::default();
    let (given, other) = (cluster.node().await, cluster.node().await);
    other.follow(&given);
    let client = client(&[&given]);
    let session = client.create(NewSession::new()).await.expect("created").id;
    let learnt = async {
        while client.status().await.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), learnt).await.expect("the other node is learnt");
    // The one given loses its leadership and does not know who has it.
    given.always(Fault::Redirect(None));
    other.always(Fault::None);
    client.touch(&session).await.expect("touched by the other node");
}

#[tokio::test]
async fn nodes_that_name_each_other_are_given_up_at_the_deadline() {
    let cluster = Cluster::default();
    let (one, other) = (cluster.node().await, cluster.node().await);
    one.follow(&other);
    other.follow(&one);
    let client = builder(&[&one, &other]).deadline(Duration::from_millis(300)).build().expect("valid");
    let begun = Instant::now();
    let error = client.create(NewSession::new()).await.expect_err("nobody leads");
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable() && !error.may_have_taken_effect());
}

#[tokio::test]
async fn without_any_node_nothing_happened() {
    let client = Client::builder()
        .endpoints([nobody().await])
        .deadline(Duration::from_millis(200))
        .build()
        .expect("valid");
    for error in [
        client.create(NewSession::new()).await.expect_err("nobody is there"),
        client.get(&SessionId::random()).await.map(|_| ()).expect_err("nobody is there"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "an outage is no logout: {error}");
        assert!(error.is_retryable() && !error.may_have_taken_effect(), "{error}");
    }
    let status = client.status().await;
    assert!(matches!(status.as_slice(), [(_, Err(_))]));
    let unreachable = Client::builder().endpoints([nobody().await]).deadline(Duration::from_millis(200));
    assert!(unreachable.connect().await.is_err());
}

#[tokio::test]
async fn at_the_deadline_a_sent_mutation_may_have_happened_and_a_read_has_not() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    node.always(Fault::Silent);
    let client = builder(&[&node]).deadline(Duration::from_millis(250)).build().expect("valid");
    let begun = Instant::now();
    let error = client.create(NewSession::new()).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(error.may_have_taken_effect() && !error.is_retryable());
    let error = client.get(&SessionId::random()).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(!error.may_have_taken_effect() && error.is_retryable());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_mutation_that_never_left_has_not_happened() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let (_listener, mute) = mute().await;
    // Less than what would be waited for the mute one, to ask the other again.
    let client = builder(&[&node]).endpoints([mute.clone()]).deadline(Duration::from_millis(180));
    let client = client.build().expect("valid");
    // The handle is open; then the node names one as leader that takes connections and says nothing.
    let session = client.create(NewSession::new()).await.expect("created").id;
    node.always(Fault::Redirect(Some(mute)));
    let error = client.delete(&session).await.expect_err("nobody takes it");
    assert!(!error.may_have_taken_effect() && error.is_retryable(), "{error}");
    assert_eq!(cluster.look(|state| state.effects.len()), 1);
}

#[tokio::test]
async fn whatever_is_queued_goes_out_together() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let session = client.create(NewSession::new()).await.expect("created").id;
    let before = node.messages().len();
    let touches = (0..1_000).map(|_| client.touch(&session));
    assert!(futures_util::future::join_all(touches).await.iter().all(Result::is_ok));
    let messages = node.messages().len() - before;
    assert!(messages <= 100, "1,000 operations took {messages} messages");
}

#[tokio::test]
async fn a_read_of_one_node_goes_nowhere_else() {
    let cluster = Cluster::default();
    let (leader, follower) = (cluster.node().await, cluster.node().await);
    let client = client(&[&leader, &follower]);
    let created = client.create(NewSession::new().attribute("a", "1")).await.expect("created");
    let options = GetOptions {
        touch: false,
        attributes: AttributeSelection::All,
        consistency: Consistency::AtLeast(created.position),
        node: Some(follower.address()),
    };
    let session = client.get_with(&created.id, options.clone()).await.expect("read");
    assert_eq!(session.attributes["a"].as_ref(), b"1");
    assert_eq!(attempts_at(&cluster, &follower.address()), 1);
    follower.always(Fault::Redirect(Some(leader.address())));
    let error = client.get_with(&created.id, options).await.expect_err("it refuses");
    assert_eq!(error.reason(), Some("NOT_LEADER"));
    assert_eq!(attempts_at(&cluster, &leader.address()), 1, "the create alone");
}

#[tokio::test]
async fn every_operation_does_what_it_says() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = builder(&[&node]).connect().await.expect("it is there");
    let new = NewSession::new().attributes([("a", "1"), ("b", "2")]);
    let created = client.create(new.clone().id(SessionId::random())).await.expect("created");
    let patched = client.patch(&created.id, Patch::new().set("c", "3").remove("a")).await.expect("patched");
    assert_eq!(patched.version, 2);
    let error = client.create(new.id(created.id.clone())).await.expect_err("it exists");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let stale = Write::replace([("z", "9")]).if_version(1);
    let error = client.write(&created.id, stale).await.expect_err("the version is another");
    assert_eq!(error.kind(), ErrorKind::VersionConflict { current: 2 });
    let session = client.get(&created.id).await.expect("there");
    assert_eq!(session.attributes.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(client.replace(&created.id, [("z", "9")]).await.expect("replaced").version, 3);
    assert_eq!(client.touch(&created.id).await.expect("touched").remaining, Some(Duration::from_secs(1)));
    let renewed = client.regenerate(&created.id).await.expect("renewed");
    assert_ne!(renewed.id, created.id);
    assert_eq!(client.get(&created.id).await.expect_err("dead").kind(), ErrorKind::NotFound);
    let position: Position = client.delete(&renewed.id).await.expect("deleted");
    assert_eq!(position.cluster, 7);
    assert_eq!(client.delete(&renewed.id).await.expect_err("gone").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn wire_requests_take_the_same_path() {
    async fn end<S: SessionStore>(store: &S, id: String) -> Result<v1::DeleteResponse, S::Error> {
        store.delete(v1::DeleteRequest { id, ..v1::DeleteRequest::default() }).await
    }
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let created = SessionStore::create(&client, v1::CreateRequest::default()).await.expect("created");
    assert_eq!(created.id.len(), 43, "the id is made here, before the first try");
    node.script([Fault::DropAfter]);
    end(&client, created.id).await.expect("deleted once, asked twice");
    assert_eq!(cluster.look(|state| state.effects.len()), 2);
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let new = NewSession::new().attribute("card", "sesame").principal("alice");
    let patch = Patch::new().set("card", "sesame");
    let write = Write::replace([("card", "sesame")]);
    let created = client.create(new.clone()).await.expect("created");
    let session = client.get(&created.id).await.expect("there");
    let shown = format!("{new:?} {patch:?} {write:?} {client:?} {created:?} {session:?}");
    // Bytes show as text or as numbers.
    for secret in ["sesame", "115, 101", created.id.reveal()] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("card"), "names may be shown, and help");
}
