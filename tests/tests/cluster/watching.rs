use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_tests::{PATIENCE, ProcessCluster, until};
use tokio::time::Instant;
use tonic::{Code, Streaming};

use crate::common::{Outcome, fact, options, patiently, reason, stub, three, wait_applied};
use crate::watched::{
    NAMESPACE, Writers, after, create, events_up_to, keep, narrow_stub, next, place, place_of, write,
};

const PLENTY: u32 = 100_000;

/// What came out of a watch, over all its streams.
#[derive(Default)]
struct Seen {
    events: Vec<v1::Event>,
    cursor: Option<v1::Cursor>,
}

impl Seen {
    fn take(&mut self, message: v1::WatchResponse) {
        self.events.extend(message.events);
        self.cursor = message.cursor;
    }

    async fn up_to(&mut self, watch: &mut Streaming<v1::WatchResponse>, index: u64) -> Outcome {
        while self.cursor.is_none_or(|cursor| place(&cursor).0 < index) {
            self.take(next(watch).await?);
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_another_node_without_a_gap_when_its_own_is_killed() -> Outcome {
    let mut cluster = three().await?;
    let begin = keep(&cluster, PLENTY).await?;
    let writers = Writers::start(&cluster, 4).await?;
    let mut seen = Seen { events: Vec::new(), cursor: Some(begin) };
    for round in 0..3 {
        let leader = cluster.wait_leader().await?;
        let victim = if round == 1 { leader } else { cluster.a_follower().await? };
        let cursor = seen.cursor.ok_or("no cursor")?;
        let mut watch = stub(&cluster, victim).await?.watch(after(cursor)).await?.into_inner();
        let reading = async {
            loop {
                match next(&mut watch).await {
                    Ok(message) => seen.take(message),
                    Err(status) => return status,
                }
            }
        };
        let killing = async {
            writers.wait_acknowledged(150).await?;
            cluster.node_mut(victim)?.kill()?;
            Outcome::Ok(())
        };
        let (status, killed) = tokio::join!(reading, killing);
        killed?;
        assert_ne!(status.code(), Code::OutOfRange, "{status}");
        writers.wait_acknowledged(100).await?;
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
    }
    let acknowledged = writers.finish().await?;
    let last =
        acknowledged.values().flatten().map(|(_, _, index)| *index).max().ok_or("nothing was written")?;
    let node = cluster.a_follower().await?;
    let cursor = seen.cursor.ok_or("no cursor")?;
    let mut watch = stub(&cluster, node).await?.watch(after(cursor)).await?.into_inner();
    seen.up_to(&mut watch, last).await?;

    assert!(seen.events.is_sorted_by(|one, next| place_of(one) < place_of(next)), "each once, in order");
    let mut lives: BTreeMap<String, Vec<(v1::EventKind, u64, u64)>> = BTreeMap::new();
    let mut renamed = BTreeMap::new();
    for event in &seen.events {
        let handle = renamed.get(&event.handle).unwrap_or(&event.handle).clone();
        if event.kind() == v1::EventKind::Renamed {
            renamed.insert(event.new_handle.clone(), event.handle.clone());
        }
        lives.entry(handle).or_default().push((event.kind(), event.version, place_of(event).0));
    }
    assert_eq!(lives.len(), acknowledged.len(), "nothing else happened");
    for (handles, acknowledged) in &acknowledged {
        let handle = handles.split(' ').next().unwrap_or_default();
        let told = lives.get(handle).ok_or("a session of which nothing was told")?;
        assert_eq!(told.len(), acknowledged.len(), "{told:?} / {acknowledged:?}");
        for (told, acknowledged) in told.iter().zip(acknowledged) {
            assert_eq!((told.0, told.1), (acknowledged.0, acknowledged.1));
            // A retry is answered with its own, later position.
            assert!(told.2 <= acknowledged.2, "{told:?} / {acknowledged:?}");
        }
    }
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    Ok(())
}

#[tokio::test]
async fn the_events_outlive_kills_and_stops_of_all_nodes() -> Outcome {
    let mut cluster = three().await?;
    let begin = keep(&cluster, PLENTY).await?;
    let writers = Writers::start(&cluster, 4).await?;
    writers.wait_acknowledged(500).await?;
    let acknowledged = writers.finish().await?;
    let last =
        acknowledged.values().flatten().map(|(_, _, index)| *index).max().ok_or("nothing was written")?;
    let first = cluster.wait_leader().await?;
    let before = events_up_to(&cluster, first, begin, last).await?;
    assert_eq!(before.len(), acknowledged.values().map(Vec::len).sum::<usize>());
    for is_kill in [true, false] {
        for node in cluster.ids() {
            if is_kill {
                cluster.node_mut(node)?.kill()?;
            } else {
                cluster.stop(node).await?;
            }
        }
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
        for node in cluster.ids() {
            let after = events_up_to(&cluster, node, begin, last).await?;
            assert!(after == before, "node {node}: {} events, {} before", after.len(), before.len());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_node_that_was_sent_a_snapshot_tells_the_same_events() -> Outcome {
    let mut options = options(3);
    // So few that a node which was away for a moment needs a snapshot.
    options.arguments.push("--log-entries-kept=100".into());
    let mut cluster = ProcessCluster::start(&options).await?;
    let begin = keep(&cluster, PLENTY).await?;
    let writers = Writers::start(&cluster, 4).await?;
    writers.wait_acknowledged(50).await?;
    let away = cluster.a_follower().await?;
    let left_at = cluster.status(away).await?.last_log_index;
    cluster.node_mut(away)?.kill()?;
    writers.wait_acknowledged(600).await?;
    let leader = cluster.wait_leader().await?;
    until("the log is purged beyond what the absent node has", PATIENCE, || async {
        let status = cluster.status(leader).await.map_err(|error| error.to_string())?;
        let purged = status.purged_index;
        (purged > left_at + 50).then_some(()).ok_or_else(|| format!("up to {purged}, absent since {left_at}"))
    })
    .await?;
    cluster.node_mut(away)?.start()?;
    cluster.wait_ready(away).await?;
    let acknowledged = writers.finish().await?;
    let last =
        acknowledged.values().flatten().map(|(_, _, index)| *index).max().ok_or("nothing was written")?;
    let expected = events_up_to(&cluster, leader, begin, last).await?;
    assert_eq!(expected.len(), acknowledged.values().map(Vec::len).sum::<usize>());
    for is_restarted in [false, true] {
        if is_restarted {
            cluster.node_mut(away)?.kill()?;
            cluster.node_mut(away)?.start()?;
            cluster.wait_ready(away).await?;
        }
        let told = events_up_to(&cluster, away, begin, last).await?;
        assert!(told == expected, "{} events, {} at the leader", told.len(), expected.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_node_that_stops_in_order_tells_its_watchers() -> Outcome {
    let mut cluster = three().await?;
    let begin = keep(&cluster, PLENTY).await?;
    let node = cluster.wait_leader().await?;
    let mut watch = stub(&cluster, node).await?.watch(after(begin)).await?.into_inner();
    next(&mut watch).await?;
    let began = Instant::now();
    let (status, stopped) = tokio::join!(
        async {
            loop {
                if let Err(status) = next(&mut watch).await {
                    return status;
                }
            }
        },
        cluster.stop(node)
    );
    stopped?;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STOPPING"));
    assert_eq!(fact(&status, "retryable").as_deref(), Some("true"));
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?} to stop", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn an_expired_session_is_told_with_its_last_attributes_on_every_node() -> Outcome {
    let cluster = three().await?;
    let begin = keep(&cluster, PLENTY).await?;
    let stub = stub(&cluster, 1).await?;
    let timeouts = Some(v1::Timeouts { idle_ms: Some(1_000), absolute_ms: None });
    let create = v1::CreateRequest { timeouts, principal: "ada".to_owned(), ..create() };
    let made = patiently(|| {
        let (mut stub, create) = (stub.clone(), create.clone());
        async move { stub.create(create).await }
    });
    let handle = made.await?.handle;
    let write = write(&create.id, "last");
    let written = patiently(|| {
        let (mut stub, write) = (stub.clone(), write.clone());
        async move { stub.write(write).await }
    });
    let written = written.await?;
    let mut told = Vec::new();
    for node in cluster.ids() {
        let kinds = vec![v1::EventKind::Expired.into()];
        let request = v1::WatchRequest { kinds, principal: Some("ada".to_owned()), ..after(begin) };
        let mut watch = crate::common::stub(&cluster, node).await?.watch(request).await?.into_inner();
        let deadline = Instant::now() + PATIENCE;
        let event = loop {
            if let Some(event) = next(&mut watch).await?.events.into_iter().next() {
                break event;
            }
            assert!(Instant::now() < deadline, "node {node} tells nothing");
        };
        assert_eq!((event.kind(), event.reason()), (v1::EventKind::Expired, v1::EndReason::IdleTimeout));
        assert_eq!((&event.handle, event.version), (&handle, written.version));
        assert_eq!(event.attributes, BTreeMap::from([("a".to_owned(), Bytes::from_static(b"last"))]));
        told.push(event);
    }
    assert!(told.iter().all(|event| Some(event) == told.first()), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_longer_kept_is_out_of_range_and_says_where_it_begins() -> Outcome {
    let mut cluster = three().await?;
    let begin = keep(&cluster, 100).await?;
    let writers = Writers::start(&cluster, 4).await?;
    writers.wait_acknowledged(400).await?;
    let acknowledged = writers.finish().await?;
    let last =
        acknowledged.values().flatten().map(|(_, _, index)| *index).max().ok_or("nothing was written")?;
    let mut oldest = Vec::new();
    for node in cluster.ids() {
        wait_applied(&cluster, node, last).await?;
        let mut stub = stub(&cluster, node).await?;
        let refused = stub.watch(after(begin)).await.err().ok_or("what is lost was watched")?;
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::OutOfRange, "EVENTS_LOST"));
        oldest.push((fact(&refused, "oldest_index"), fact(&refused, "oldest_ordinal")));

        let mut other = begin;
        if let Some(position) = &mut other.position {
            position.cluster ^= 1;
        }
        let refused = stub.watch(after(other)).await.err().ok_or("another cluster's place was taken")?;
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::OutOfRange, "OTHER_CLUSTER"));
        assert_eq!((fact(&refused, "oldest_index"), fact(&refused, "oldest_ordinal")), oldest[0]);
    }
    assert!(oldest.iter().all(|same| same == &oldest[0]), "{oldest:?}");
    let index: u64 = oldest[0].0.as_deref().ok_or("no oldest index")?.parse()?;
    assert_eq!(oldest[0].1.as_deref(), Some("0"), "one event for each entry here");
    let mut from = begin;
    if let Some(position) = &mut from.position {
        position.index = index - 1;
    }
    let node = cluster.a_follower().await?;
    let events = events_up_to(&cluster, node, from, last).await?;
    assert_eq!(events.first().map(place_of), Some((index, 0)));
    assert!((36..=100).contains(&events.len()), "{} are kept", events.len());
    Ok(())
}

#[tokio::test]
async fn a_watcher_that_reads_nothing_is_cut_off_and_writes_go_on() -> Outcome {
    /// Longer than a watcher may take nothing.
    const ASLEEP: Duration = Duration::from_secs(14);
    let mut cluster = three().await?;
    let begin = keep(&cluster, PLENTY).await?;
    let leader = cluster.wait_leader().await?;
    let stub = stub(&cluster, leader).await?;
    let mut sleeper = narrow_stub(&cluster, leader).await?;
    let mut watch = sleeper.watch(after(begin)).await?.into_inner();
    let mut seen = Seen::default();
    seen.take(next(&mut watch).await?);

    let (began, mut ends, mut slowest, mut last) = (Instant::now(), 0, Duration::ZERO, 0);
    while began.elapsed() < ASLEEP {
        let started = Instant::now();
        let mut create = create();
        // Together far more than the transport takes ahead.
        create.attributes.insert("a".to_owned(), Bytes::from(vec![7; 100_000]));
        let id = create.id.clone();
        patiently(|| {
            let (mut stub, create) = (stub.clone(), create.clone());
            async move { stub.create(create).await }
        })
        .await?;
        let delete = v1::DeleteRequest { namespace: NAMESPACE.to_owned(), id, ..Default::default() };
        let deleted = patiently(|| {
            let (mut stub, delete) = (stub.clone(), delete.clone());
            async move { stub.delete(delete).await }
        });
        last = deleted.await?.position.map_or(0, |position| position.index);
        ends += 1;
        slowest = slowest.max(started.elapsed());
        if ends == 150 {
            // Enough; from here on they only show that writes go on.
            tokio::time::sleep_until(began + ASLEEP).await;
        }
    }
    assert!(ends >= 50 && slowest < Duration::from_secs(5), "{ends} sessions, the slowest took {slowest:?}");
    let ended = loop {
        match next(&mut watch).await {
            Ok(message) => seen.take(message),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::ResourceExhausted, "SLOW_CONSUMER"));
    assert!(seen.events.len() < ends, "it was ended long before");
    let cursor = seen.cursor.ok_or("no cursor")?;
    let rest = events_up_to(&cluster, leader, cursor, last).await?;
    seen.events.extend(rest);
    assert_eq!(seen.events.len(), 2 * ends);
    assert!(seen.events.is_sorted_by(|one, next| place_of(one) < place_of(next)));
    Ok(())
}
