//! No message is longer than a node takes, and an operation that would be is refused before it is sent.

use std::time::{Duration, Instant};

use crate::fake::{Cluster, Fault, builder, client};
use quorate_client::{Client, ErrorKind, NewSession, Patch, SessionId};

fn of(bytes: usize) -> NewSession {
    NewSession::new().attribute("a", vec![7; bytes])
}

#[tokio::test]
async fn an_oversized_operation_is_refused_before_it_is_sent() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    let other = client.create(of(10)).await.expect("created").id;
    let begun = Instant::now();
    let error = client.create(of(5 << 20)).await.expect_err("no node takes it");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((error.kind(), error.reason()), (ErrorKind::ResourceExhausted, Some("MESSAGE_TOO_LARGE")));
    assert!(!error.may_have_taken_effect() && !error.is_retryable(), "{error}");
    let told = error.to_string();
    let max = error.metadata().get("max_bytes").expect("it says how much may be");
    let size = error.metadata().get("bytes").expect("it says how much it is");
    assert!(told.contains(max) && told.contains(size), "{told}");
    let read = client.get(&"a".repeat(256).parse().expect("an id")).await.expect_err("not there");
    assert_eq!(read.kind(), ErrorKind::NotFound, "the stream is as it was");
    client.patch(&other, Patch::new().set("n", "1")).await.expect("patched");
    assert_eq!(node.unread(), 0);
}

#[tokio::test]
async fn an_oversized_operation_is_refused_without_any_node() {
    let client = Client::builder().endpoints(["127.0.0.1:1"]).build().expect("valid");
    let error = client.create(of(5 << 20)).await.expect_err("no node would take it");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
}

#[tokio::test]
async fn batches_stay_within_the_longest_message() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    client.create(of(10)).await.expect("created");
    // Two of them together are more than a message takes; the largest alone is just below.
    let creates = (0..12).map(|n| client.create(of(if n % 2 == 0 { 900 << 10 } else { (4 << 20) - 1_000 })));
    for created in futures_util::future::join_all(creates).await {
        created.expect("created");
    }
    assert_eq!(node.unread(), 0, "a message was too long");
    assert_eq!(cluster.attempts().len(), 13);
}

#[tokio::test]
async fn a_nodes_word_that_a_message_is_too_long_is_final() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    node.always(Fault::TooLarge);
    let client = builder(&[&node]).deadline(Duration::from_secs(20)).build().expect("valid");
    let begun = Instant::now();
    let error = client.create(of(2 << 20)).await.expect_err("it is refused");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((error.kind(), error.reason()), (ErrorKind::ResourceExhausted, Some("MESSAGE_TOO_LARGE")));
    assert!(!error.may_have_taken_effect() && !error.is_retryable(), "{error}");
    assert_eq!(cluster.attempts().len(), 1);
    // Not so when an earlier try may have been taken.
    node.script([Fault::DropAfter]);
    let error = client.create(of(10).id(SessionId::random())).await.expect_err("refused at the second try");
    assert!(error.may_have_taken_effect(), "the first try did take effect: {error}");
}

/// With a node, or a proxy, that takes less than ours do, it need not be each of the operations that is too long.
#[tokio::test]
async fn operations_that_were_in_a_message_too_long_together_are_sent_again() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = client(&[&node]);
    client.create(of(10)).await.expect("created");
    node.script([Fault::TooLarge]);
    let creates = futures_util::future::join_all((0..5).map(|_| client.create(of(10)))).await;
    assert!(creates.iter().all(Result::is_ok));
    assert_eq!(cluster.look(|state| state.effects.len()), 6);
}
