//! A watch goes on at another node where it was: no event is lost, none comes twice.

use std::time::Duration;

use crate::fake::{Cluster, Fault, Node, builder, client, eventually};
use quorate_client::{Cursor, ErrorKind, Event, EventKind, PolicyChange, Watch, WatchOptions};
use tonic::Status;

async fn versions(watch: &mut Watch, n: usize) -> Vec<u64> {
    let mut versions = Vec::new();
    let read = async {
        while versions.len() < n {
            versions.push(watch.next().await.expect("it goes on").expect("an event").version);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the events come");
    versions
}

fn watches(cluster: &Cluster) -> Vec<String> {
    cluster.look(|state| state.feed.watches.iter().map(|(node, _)| node.clone()).collect())
}

fn after(cluster: &Cluster, nth: usize) -> Option<Cursor> {
    cluster.look(|state| state.feed.watches.get(nth).and_then(|(_, asked)| asked.after).map(Cursor::from))
}

async fn two() -> (Cluster, Node, Node) {
    let cluster = Cluster::default();
    let (one, other) = (cluster.node().await, cluster.node().await);
    (cluster, one, other)
}

#[tokio::test]
async fn a_watch_goes_on_at_another_node_without_gap_or_repetition() {
    let (cluster, one, other) = two().await;
    cluster.change(|state| state.feed.happen(4));
    let client = client(&[&one, &other]);
    let mut watch = client.watch(WatchOptions::new()).await.expect("watching");
    let mut seen = 0;
    for round in 1..=6_u64 {
        // Nodes may send again what was sent before; the reader may be behind when its node is lost.
        one.repeat(2);
        other.repeat(5);
        cluster.change(|state| state.feed.happen(7));
        let read = if round % 2 == 0 { 4 } else { 7 };
        let expected: Vec<u64> = (4 + seen..4 + seen + read).collect();
        assert_eq!(versions(&mut watch, expected.len()).await, expected, "round {round}");
        seen += read;
        one.break_watches();
        other.break_watches();
    }
    let rest: Vec<u64> = (4 + seen..46).collect();
    assert_eq!(versions(&mut watch, rest.len()).await, rest);
    let nodes = watches(&cluster);
    assert!(nodes.contains(&one.address()) && nodes.contains(&other.address()), "{nodes:?}");
    assert!((0..nodes.len()).all(|nth| after(&cluster, nth).is_some()), "resumed each time");
}

/// A node that lags knows neither a new namespace nor what was acknowledged: from now on is from where the leader is.
#[tokio::test]
async fn a_watch_begins_at_the_leaders_position_whichever_node_takes_it() {
    let (cluster, leader, behind) = two().await;
    behind.follow(&leader);
    cluster.change(|state| {
        state.feed.happen(6);
        state.feed.behind.push(behind.address());
    });
    let client = client(&[&leader, &behind]);
    for round in 0..4 {
        let mut watch = client.watch(WatchOptions::new()).await.expect("taken by any node");
        cluster.change(|state| state.feed.happen(2));
        assert_eq!(versions(&mut watch, 2).await, [6 + round * 2, 7 + round * 2]);
    }
    assert!(watches(&cluster).contains(&behind.address()), "it was asked too");
    let missing = client.with_namespace("nowhere").watch(WatchOptions::new()).await.expect_err("not there");
    assert_eq!((missing.kind(), missing.reason()), (ErrorKind::NotFound, Some("UNKNOWN_NAMESPACE")));
}

/// Not from wherever the node that takes it may be.
#[tokio::test]
async fn without_a_leader_a_watch_from_now_on_is_unavailable() {
    let (cluster, one, other) = two().await;
    let client = builder(&[&one, &other]).deadline(Duration::from_millis(300)).build().expect("valid");
    one.always(Fault::Redirect(None));
    other.always(Fault::Redirect(None));
    let error = client.watch(WatchOptions::new()).await.expect_err("nobody knows what now is");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && watches(&cluster).is_empty());
    cluster.change(|state| state.feed.happen(2));
    let first = Cursor { position: quorate_client::Position { cluster: 7, index: 100 }, ordinal: Some(0) };
    let mut watch = client.watch(WatchOptions::new().after(first)).await.expect("any node takes this one");
    assert_eq!(versions(&mut watch, 1).await, [1]);
}

#[tokio::test]
async fn a_node_that_refuses_a_watch_is_named() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = builder(&[&node]).deadline(Duration::from_millis(300)).build().expect("valid");
    node.refuse_watches(Some(Status::unavailable("")));
    let error = client.watch(WatchOptions::new()).await.expect_err("refused").to_string();
    assert!(error.contains(&node.address()) && error.contains("Unavailable"), "{error}");
}

#[tokio::test]
async fn a_watch_resumes_at_a_cursor_that_was_kept() {
    let (cluster, one, other) = two().await;
    let client = client(&[&one, &other]);
    let mut watch = client.watch(WatchOptions::new()).await.expect("watching");
    cluster.change(|state| state.feed.happen(10));
    let mut kept = None;
    for _ in 0..4 {
        kept = Some(watch.next().await.expect("goes on").expect("an event").cursor);
    }
    let text = kept.expect("four events").to_string();
    assert_eq!(watch.cursor().map(|cursor| cursor.to_string()), Some(text.clone()));
    drop(watch);
    let cursor: Cursor = text.parse().expect("a cursor");
    let mut watch = client.watch(WatchOptions::new().after(cursor)).await.expect("watching");
    assert_eq!(versions(&mut watch, 6).await, [4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_dead_node_is_passed_over() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let client = builder(&[&node]).endpoints(["127.0.0.1:1"]).build().expect("valid");
    for _ in 0..4 {
        let mut watch = client.watch(WatchOptions::new()).await.expect("watching");
        cluster.change(|state| state.feed.happen(1));
        versions(&mut watch, 1).await;
        node.break_watches();
        cluster.change(|state| state.feed.happen(1));
        versions(&mut watch, 1).await;
    }
}

#[tokio::test]
async fn without_any_node_a_watch_is_unavailable_and_later_it_waits() {
    let (cluster, one, other) = two().await;
    let client = builder(&[&one, &other]).deadline(Duration::from_millis(300)).build().expect("valid");
    let away = || Some(Status::unavailable("scripted"));
    one.refuse_watches(away());
    other.refuse_watches(away());
    let error = client.watch(WatchOptions::new()).await.expect_err("nobody takes it");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && !error.may_have_taken_effect());
    other.refuse_watches(None);
    let mut watch = client.watch(WatchOptions::new()).await.expect("watching");
    other.refuse_watches(away());
    other.break_watches();
    eventually(|| other.serving() == 0).await;
    cluster.change(|state| state.feed.happen(2));
    let mut waiting = Box::pin(versions(&mut watch, 2));
    tokio::select! {
        _ = &mut waiting => panic!("nobody takes it"),
        // Longer than the deadline: it does not end for that.
        () = tokio::time::sleep(Duration::from_millis(700)) => {}
    }
    one.refuse_watches(None);
    assert_eq!(waiting.await, [0, 1]);
}

/// It still answers, pings too: nothing else tells that it is cut off.
#[tokio::test]
async fn a_node_that_does_not_move_on_is_left() {
    let (cluster, one, other) = two().await;
    let client = client(&[&one, &other]);
    let mut watch = client.watch(WatchOptions::new()).await.expect("watching");
    let first = watches(&cluster);
    let (current, next) = if first == [one.address()] { (&one, &other) } else { (&other, &one) };
    current.stall();
    current.break_watches();
    next.refuse_watches(Some(Status::unavailable("scripted")));
    eventually(|| watches(&cluster).len() == 1 && current.serving() == 0).await;
    let mut read = Box::pin(versions(&mut watch, 2));
    let taken_again = async {
        while watches(&cluster).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut read => panic!("nothing happened"),
        () = taken_again => {}
    }
    next.refuse_watches(None);
    cluster.change(|state| state.feed.happen(2));
    assert_eq!(read.await, [0, 1], "from the other node");
}

#[tokio::test]
async fn what_no_node_will_grant_ends_the_watch() {
    let (cluster, one, other) = two().await;
    let client = client(&[&one, &other]);
    let mut watch = client.watch(WatchOptions::new()).await.expect("watching");
    cluster.change(|state| state.feed.happen(10));
    let first = watch.next().await.expect("goes on").expect("an event").cursor;
    cluster.change(|state| state.feed.oldest = 1_000);
    let error = client.watch(WatchOptions::new().after(first)).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert_eq!(error.metadata().get("oldest_index").map(String::as_str), Some("1000"));
    one.break_watches();
    other.break_watches();
    let error = loop {
        if let Err(error) = watch.next().await.expect("an error comes first") {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(watch.next().await.is_none(), "nothing comes behind it");
    for (refused, kind) in [
        (Status::not_found(""), ErrorKind::NotFound),
        (Status::permission_denied(""), ErrorKind::PermissionDenied),
        (Status::unimplemented(""), ErrorKind::Unsupported),
    ] {
        one.refuse_watches(Some(refused.clone()));
        other.refuse_watches(Some(refused));
        assert_eq!(client.watch(WatchOptions::new()).await.expect_err("refused").kind(), kind);
    }
}

#[tokio::test]
async fn options_reach_the_node_and_a_watch_ends_with_its_reader() {
    let cluster = Cluster::default();
    let node = cluster.node().await;
    let options = WatchOptions::new().kinds([EventKind::Deleted, EventKind::Expired]).principal("alice");
    let client = client(&[&node]).with_namespace("shop");
    client.create_namespace("shop", PolicyChange::new()).await.expect("created");
    let shown = format!("{options:?}");
    let mut watch = client.watch(options.without_attributes()).await.expect("watching");
    let asked = cluster.look(|state| state.feed.watches[0].1.clone());
    assert_eq!((asked.namespace.as_str(), asked.kinds.len()), ("shop", 2));
    assert_eq!((asked.principal.as_deref(), asked.without_attributes), (Some("alice"), true));
    cluster.change(|state| state.feed.happen(1));
    let event: Event = watch.next().await.expect("goes on").expect("an event");
    let shown = format!("{shown} {watch:?} {event:?}");
    assert!(!shown.contains("sesame") && !shown.contains("alice") && shown.contains("card"), "{shown}");
    drop(watch);
    eventually(|| node.serving() == 0).await;
}
