use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_kept_is_said_to_be_lost() {
    let rig = rig().await;
    let (_, begin) = rig.begun(&all()).await;
    rig.keep("default", 100).await;
    rig.create(1, "").await;
    for _ in 0..400 {
        rig.write(1, b"value", None).await;
    }
    let refused = why(rig.watch(&after(begin)));
    is(&refused, Code::OutOfRange, "EVENTS_LOST");
    assert_eq!((refused.2["retryable"].as_str(), refused.2["maybe_applied"].as_str()), ("false", "false"));
    let oldest: u64 = refused.2["oldest_index"].parse().unwrap();
    assert_eq!(refused.2["oldest_ordinal"], "0");
    // What the error says is the oldest is: before it nothing can be had, from it on everything.
    let (mut watch, _) = rig.begun(&after(at(oldest - 1))).await;
    let (first, _) = rig.backend.with_applied(|state, _| state.events_kept(1));
    let (told, _) = events(&mut watch, usize::try_from(first).unwrap()).await;
    assert_eq!(told[0].cursor.unwrap().position.unwrap().index, oldest);
    is(&why(rig.watch(&after(at(oldest - 2)))), Code::OutOfRange, "EVENTS_LOST");

    // A running watch whose place falls out of what is kept.
    let (mut watch, _) = rig.begun(&all()).await;
    let writes = (0..1_000).map(|_| write(1, b"value", None)).collect();
    rig.at_once(writes).await;
    let ended = end(&mut watch).await;
    is(&ended, Code::OutOfRange, "EVENTS_LOST");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_means_nothing_here_is_refused() {
    let rig = rig().await;
    let created = rig.create(1, "").await;
    let other = v1::Cursor { position: Some(v1::Position { cluster: CLUSTER + 1, index: 3 }), ordinal: None };
    let refused = why(rig.watch(&after(other)));
    is(&refused, Code::OutOfRange, "OTHER_CLUSTER");
    assert_eq!(refused.2["oldest_index"], created.to_string());
    let refused = why(rig.watch(&after(v1::Cursor { position: None, ordinal: Some(1) })));
    is(&refused, Code::InvalidArgument, "INVALID_CURSOR");
    for kinds in [vec![0], vec![6], vec![-1], vec![1; 17]] {
        let refused = why(rig.watch(&v1::WatchRequest { kinds, ..all() }));
        is(&refused, Code::InvalidArgument, "INVALID_KINDS");
    }
    let principal = Some("p".repeat(257));
    let refused = why(rig.watch(&v1::WatchRequest { principal, ..all() }));
    is(&refused, Code::InvalidArgument, "INVALID_PRINCIPAL");
    is(&why(rig.watch(&in_namespace("a/b"))), Code::InvalidArgument, "INVALID_NAMESPACE");
    let principal = Some("p".repeat(256));
    let _watch = rig.begun(&v1::WatchRequest { kinds: vec![1; 16], principal, ..all() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes_ends_its_watches() {
    let rig = rig().await;
    is(&why(rig.watch(&in_namespace("shop"))), Code::NotFound, "UNKNOWN_NAMESPACE");
    rig.keep("shop", 1_000).await;
    let (mut watch, begin) = rig.begun(&in_namespace("shop")).await;
    rig.create_in("shop", 1, "").await;
    events(&mut watch, 1).await;
    rig.remove_namespace("shop").await;
    is(&end(&mut watch).await, Code::NotFound, "UNKNOWN_NAMESPACE");

    rig.keep("shop", 1_000).await;
    let (mut watch, _) = rig.begun(&in_namespace("shop")).await;
    // Gone and there again before anybody looks.
    rig.at_once(vec![Operation::DeleteNamespace { name: "shop".into() }, keep("shop", 1_000)]).await;
    is(&end(&mut watch).await, Code::NotFound, "UNKNOWN_NAMESPACE");
    // The events of the one before are not those of this one.
    let request = v1::WatchRequest { after: Some(begin), ..in_namespace("shop") };
    is(&why(rig.watch(&request)), Code::OutOfRange, "EVENTS_LOST");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_takes_nothing_is_ended_and_slows_nobody() {
    let rig = rig().await;
    let (mut watch, _) = rig.begun(&all()).await;
    rig.create(1, "").await;
    let began = tokio::time::Instant::now();
    for _ in 0..2_000 {
        rig.write(1, b"value", None).await;
    }
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for it");
    tokio::time::sleep(PATIENCE + PROGRESS_INTERVAL).await;
    assert_eq!(rig.watches.free.available_permits(), WATCHES_MAX, "it is over");
    let waited = next(&mut watch).await.unwrap();
    assert!(!waited.events.is_empty());
    let ended = end(&mut watch).await;
    is(&ended, Code::ResourceExhausted, "SLOW_CONSUMER");
    assert_eq!(ended.2["retryable"], "true");
    // It goes on from where it stood.
    let (mut watch, _) = rig.begun(&after(waited.cursor.unwrap())).await;
    let (told, _) = events(&mut watch, 2_001 - waited.events.len()).await;
    assert_eq!(told.last().unwrap().version, 2_001);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_takes_what_comes_is_not_ended() {
    let rig = rig().await;
    let (mut watch, _) = rig.begun(&all()).await;
    for _ in 0..20 {
        tokio::time::sleep(PATIENCE - MOMENT).await;
        next(&mut watch).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_at_once_and_no_more() {
    let rig = rig().await;
    let mut open = Vec::new();
    for _ in 0..WATCHES_MAX {
        open.push(rig.begun(&all()).await.0);
    }
    let refused = why(rig.watch(&all()));
    is(&refused, Code::ResourceExhausted, "TOO_MANY_WATCHES");
    assert_eq!((refused.2["retryable"].as_str(), refused.2["max_count"].as_str()), ("true", "256"));
    // One whose client goes makes room at once, though nothing happens.
    open.pop();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (_watch, _) = rig.begun(&all()).await;
    is(&why(rig.watch(&all())), Code::ResourceExhausted, "TOO_MANY_WATCHES");
    // A request that is refused takes none.
    open.clear();
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..300 {
        is(&why(rig.watch(&in_namespace("nowhere"))), Code::NotFound, "UNKNOWN_NAMESPACE");
    }
    assert_eq!(rig.watches.free.available_permits(), WATCHES_MAX - 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_says_so_to_all_watchers() {
    let rig = rig().await;
    let (mut idle, _) = rig.begun(&all()).await;
    let (mut waiting, _) = rig.begun(&after(at(1_000_000))).await;
    let (mut slow, _) = rig.begun(&all()).await;
    rig.create(1, "").await;
    for _ in 0..1_000 {
        rig.write(1, b"value", None).await;
    }
    events(&mut idle, 1_001).await;
    rig.stop.cancel();
    for watch in [&mut idle, &mut waiting, &mut slow] {
        let ended = end(watch).await;
        is(&ended, Code::Unavailable, "STOPPING");
        assert_eq!(ended.2["retryable"], "true");
    }
}
