//! Nodes that are slow to reach, dead or nowhere: how often they are dialled, and that nobody waits for them who could
//! ask another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fake::{Cluster, Fault, Node, builder, client, eventually};
use quorate_client::{
    AttributeSelection, Client, Consistency, ErrorKind, GetOptions, NewSession, Patch, Session, SessionId,
};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

/// An address at which every connection is closed at once, and how many there were.
async fn closing() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dials);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, dials)
}

/// An address from which connections reach `node` only after `delay`, and how many there were.
async fn slow(node: &Node, delay: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let (dials, node) = (Arc::new(AtomicUsize::new(0)), node.address());
    let counted = Arc::clone(&dials);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let node = node.clone();
            tokio::spawn(async move {
                // The network's own time, not the test's.
                tokio::time::sleep(delay).await;
                let mut far = TcpStream::connect(node).await.expect("it is there");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, dials)
}

/// How many attempts reached `node`.
fn attempts_at(cluster: &Cluster, node: &Node) -> usize {
    cluster.attempts().iter().filter(|attempt| attempt.node == node.address()).count()
}

async fn read_at(client: &Client, id: &SessionId, node: &Node) -> Result<Session, quorate_client::Error> {
    let options = GetOptions {
        touch: false,
        attributes: AttributeSelection::All,
        consistency: Consistency::Linearizable,
        node: Some(node.address()),
    };
    client.get_with(id, options).await
}

#[tokio::test]
async fn an_address_that_fails_is_not_dialled_by_each_caller() {
    let (address, dials) = closing().await;
    let client =
        Client::builder().endpoints([address]).deadline(Duration::from_secs(1)).build().expect("valid");
    let ids: Vec<_> = (0..100).map(|_| SessionId::random()).collect();
    let reads = futures_util::future::join_all(ids.iter().map(|id| client.get(id))).await;
    assert!(reads.iter().all(Result::is_err));
    // Nine or less in turn, after 10, 20, 40 ... ms or half of that; the transport may connect more than once for each.
    let dials = dials.load(Ordering::Relaxed);
    assert!((2..=30).contains(&dials), "{dials} dials in a second");
}

#[tokio::test]
async fn a_dead_leader_that_is_still_named_keeps_nobody_from_the_new_one() {
    let cluster = Cluster::default();
    let (one, other) = (cluster.node().await, cluster.node().await);
    let (dead, dials) = closing().await;
    for node in [&one, &other] {
        node.always(Fault::Redirect(Some(dead.clone())));
    }
    let client = builder(&[&one, &other]).build().expect("valid");
    let read = tokio::spawn({
        let client = client.clone();
        async move { client.get(&SessionId::random()).await }
    });
    // As long as it takes for the dead one to rest longer than an election.
    eventually(|| cluster.attempts().len() >= 20 && dials.load(Ordering::Relaxed) >= 3).await;
    one.follow(&other);
    other.always(Fault::None);
    let begun = Instant::now();
    let error = read.await.expect("no panic").expect_err("there is no such session");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_node_that_answers_again_is_dialled_at_once_when_it_breaks() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let session = client.create(NewSession::new()).await.expect("created").id;
    for _ in 0..20 {
        node.script([Fault::DropAfter]);
        let begun = Instant::now();
        client.touch(&session).await.expect("touched");
        assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn the_nodes_word_on_when_to_ask_again_is_kept() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let facts = vec![("retryable", "true"), ("retry_ms", "400")];
    node.script([Fault::Refuse(Code::ResourceExhausted, "OVERLOADED", facts)]);
    let begun = Instant::now();
    client(&[&node]).create(NewSession::new()).await.expect("created at the second try");
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(cluster.attempts().len(), 2);
}

#[tokio::test]
async fn a_node_that_is_slow_to_reach_is_reached_by_one_dial() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let (address, dials) = slow(&node, Duration::from_millis(600)).await;
    let client = Client::builder().endpoints([address]).connect_timeout(Duration::from_secs(4)).build();
    client.expect("valid").create(NewSession::new()).await.expect("created");
    assert_eq!(dials.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nobody_waits_long_for_a_node_that_is_slow_to_reach_when_there_is_another() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let (address, _) = slow(&node, Duration::from_secs(60)).await;
    let nowhere =
        Client::builder().endpoints([address, node.address()]).connect_timeout(Duration::from_secs(60));
    let client = nowhere.build().expect("valid");
    let begun = Instant::now();
    client.create(NewSession::new()).await.expect("created by the node that answers");
    assert!(begun.elapsed() < Duration::from_millis(450), "{:?}", begun.elapsed());
    let begun = Instant::now();
    client.create(NewSession::new()).await.expect("created by the node that answers");
    assert!(begun.elapsed() < Duration::from_millis(150), "it is known now: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_dial_ends_with_its_timeout() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let (address, dials) = slow(&node, Duration::from_secs(60)).await;
    let client = Client::builder().endpoints([address]).connect_timeout(Duration::from_millis(50));
    let client = client.deadline(Duration::from_millis(600)).build().expect("valid");
    let error = client.get(&SessionId::random()).await.expect_err("never reached");
    assert!(error.to_string().contains("within 50ms"), "{error}");
    assert!(dials.load(Ordering::Relaxed) >= 2);
}

#[tokio::test]
async fn a_leader_that_nobody_can_dial_is_passed_over() {
    let cluster = Cluster::default();
    let (one, other) = (cluster.node().await, cluster.node().await);
    let client = client(&[&one, &other]);
    client.create(NewSession::new()).await.expect("created");
    one.script([Fault::Redirect(Some("not an endpoint".into()))]);
    client.create(NewSession::new()).await.expect("created by one of the nodes that are there");
    assert!(client.status().await.iter().all(|(address, _)| address != "not an endpoint"));
}

#[tokio::test]
async fn a_call_with_little_time_does_not_forget_the_leader_for_all_others() {
    let cluster = Cluster::default();
    let (follower, leader) = (cluster.node().await, cluster.node().await);
    follower.follow(&leader);
    let client = builder(&[&follower, &leader]).deadline(Duration::from_millis(400)).build().expect("valid");
    let session = client.create(NewSession::new()).await.expect("created").id;
    let asked = attempts_at(&cluster, &follower);
    leader.script([Fault::Silent, Fault::Silent]);
    assert_eq!(read_at(&client, &session, &leader).await.expect_err("no answer").kind(), ErrorKind::Deadline);
    assert_eq!(client.get(&session).await.expect_err("no answer").kind(), ErrorKind::Deadline);
    client.patch(&session, Patch::new().set("n", "1")).await.expect("patched");
    assert_eq!(attempts_at(&cluster, &follower), asked, "the leader is still known");
}

#[tokio::test]
async fn first_contact_keeps_to_the_deadline() {
    let cluster = Cluster::default();
    let (one, other) = (cluster.node().await, cluster.node().await);
    one.mute_status();
    other.mute_status();
    let begun = Instant::now();
    let connected = builder(&[&one, &other]).deadline(Duration::from_millis(500)).connect().await;
    connected.expect("the leader answers, and who the members are is learnt later");
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}
