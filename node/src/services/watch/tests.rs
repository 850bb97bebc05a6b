use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use quorate_proto::v1;
use quorate_state::{
    AttributeChange, Attributes, Command, CreateSession, Operation, PolicyChange, RegenerateSession,
    RevokePrincipal, SessionKey, Timeouts, WriteSession,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::follow::{PATIENCE, PROGRESS_INTERVAL};
use super::look::EVENTS_MAX;
use super::{WATCHES_MAX, WatchStream, Watches};
use crate::services::backend::Backend as _;
use crate::services::scripted::{CLUSTER, Scripted};

/// Below [`PROGRESS_INTERVAL`]: nothing more is under way.
const MOMENT: Duration = Duration::from_secs(1);

/// Time stands still but for those who wait (`start_paused`): a timeout costs nothing.
struct Rig {
    backend: Scripted,
    watches: Watches,
    stop: CancellationToken,
}

async fn rig() -> Rig {
    let stop = CancellationToken::new();
    Rig { backend: Scripted::leader(), watches: Watches::new(stop.clone()), stop }
}

fn key(number: u64) -> SessionKey {
    let mut key = SessionKey([0; 16]);
    key.0[..8].copy_from_slice(&number.to_be_bytes());
    key
}

fn attributes(value: &[u8]) -> Attributes {
    [("a".into(), Bytes::copy_from_slice(value))].into()
}

fn write(number: u64, value: &[u8], principal: Option<&str>) -> Operation {
    Operation::Write(WriteSession {
        namespace: "default".into(),
        key: key(number),
        change: AttributeChange::Replace(attributes(value)),
        if_version: None,
        principal: principal.map(Into::into),
        timeouts: Timeouts::default(),
        fence: None,
        release: false,
    })
}

fn keep(namespace: &str, events: u32) -> Operation {
    let change = PolicyChange { events_max: Some(events), ..PolicyChange::default() };
    Operation::PutNamespace { name: namespace.into(), change: Box::new(change), create: None }
}

impl Rig {
    /// The index at which it was applied.
    async fn apply(&self, command: Command) -> u64 {
        let mut results = self.backend.submit(vec![command]).await.unwrap();
        results.next().await.unwrap().unwrap().index
    }

    async fn operate(&self, operation: Operation) -> u64 {
        self.apply(Command::Operate { request: None, operation }).await
    }

    async fn create_in(&self, namespace: &str, number: u64, principal: &str) -> u64 {
        let (namespace, principal) = (namespace.into(), principal.into());
        let (key, attributes, timeouts) = (key(number), attributes(b"first"), Timeouts::default());
        let create = CreateSession { namespace, key, attributes, principal, timeouts };
        self.operate(Operation::Create(create)).await
    }

    async fn create(&self, number: u64, principal: &str) -> u64 {
        self.create_in("default", number, principal).await
    }

    async fn write(&self, number: u64, value: &[u8], principal: Option<&str>) -> u64 {
        self.operate(write(number, value, principal)).await
    }

    /// Nobody gets to look in between.
    async fn at_once(&self, operations: Vec<Operation>) {
        let commands = operations.into_iter().map(|operation| Command::Operate { request: None, operation });
        let results = self.backend.submit(commands.collect()).await.unwrap();
        results.for_each(|result| async { drop(result.unwrap()) }).await;
    }

    async fn delete(&self, number: u64) -> u64 {
        self.operate(Operation::Delete { namespace: "default".into(), key: key(number) }).await
    }

    async fn keep(&self, namespace: &str, events: u32) -> u64 {
        self.operate(keep(namespace, events)).await
    }

    async fn remove_namespace(&self, namespace: &str) -> u64 {
        self.operate(Operation::DeleteNamespace { name: namespace.into() }).await
    }

    fn watch(&self, request: &v1::WatchRequest) -> Result<WatchStream, Status> {
        self.watches.watch(&self.backend, request).map_err(crate::services::Failure::into_status)
    }

    /// A watch whose first message has come, and where it begins.
    async fn begun(&self, request: &v1::WatchRequest) -> (WatchStream, v1::Cursor) {
        let mut watch = self.watch(request).map_err(|status| status.to_string()).unwrap();
        let first = next(&mut watch).await.unwrap();
        assert_eq!(first.events, []);
        (watch, first.cursor.unwrap())
    }

    async fn index(&self) -> u64 {
        self.backend.with_applied(|_, index| index)
    }
}

async fn next(watch: &mut WatchStream) -> Result<v1::WatchResponse, Status> {
    let message = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
    message.expect("a message within a minute").expect("the stream ended without an error")
}

/// As many events, and the cursor of the last message.
async fn events(watch: &mut WatchStream, count: usize) -> (Vec<v1::Event>, v1::Cursor) {
    let (mut events, mut cursor) = (Vec::new(), None);
    while events.len() < count {
        let message = next(watch).await.unwrap();
        events.extend(message.events);
        cursor = message.cursor;
    }
    assert_eq!(events.len(), count);
    (events, cursor.unwrap())
}

async fn assert_quiet(watch: &mut WatchStream) {
    assert!(tokio::time::timeout(MOMENT, watch.next()).await.is_err(), "nothing is to come");
}

fn at(index: u64) -> v1::Cursor {
    v1::Cursor { position: Some(v1::Position { cluster: CLUSTER, index }), ordinal: None }
}

fn after(cursor: v1::Cursor) -> v1::WatchRequest {
    v1::WatchRequest { after: Some(cursor), ..v1::WatchRequest::default() }
}

fn all() -> v1::WatchRequest {
    v1::WatchRequest::default()
}

fn in_namespace(namespace: &str) -> v1::WatchRequest {
    v1::WatchRequest { namespace: namespace.to_owned(), ..v1::WatchRequest::default() }
}

/// Code, reason and facts of why a watch ends or does not begin.
fn why<T>(result: Result<T, Status>) -> (Code, String, BTreeMap<String, String>) {
    let status = result.err().expect("an error");
    let info = status.get_details_error_info().expect("a reason");
    (status.code(), info.reason, info.metadata.into_iter().collect())
}

async fn end(watch: &mut WatchStream) -> (Code, String, BTreeMap<String, String>) {
    loop {
        if let Err(status) = next(watch).await {
            assert!(watch.next().await.is_none(), "an error is the last");
            return why(Err::<(), _>(status));
        }
    }
}

fn is(ended: &(Code, String, BTreeMap<String, String>), code: Code, reason: &str) {
    assert_eq!((ended.0, ended.1.as_str()), (code, reason));
}

#[tokio::test(start_paused = true)]
async fn it_begins_at_once_and_tells_what_happens_from_then_on() {
    let rig = rig().await;
    rig.create(1, "ann").await;
    let (mut watch, begin) = rig.begun(&all()).await;
    assert_eq!(begin, at(rig.index().await));
    assert_quiet(&mut watch).await;

    let created = rig.create(2, "").await;
    let updated = rig.write(2, b"last", Some("bob")).await;
    let new_key = key(3);
    let renamed = RegenerateSession { namespace: "default".into(), key: key(2), new_key, fence: None };
    let renamed = rig.operate(Operation::Regenerate(renamed)).await;
    let deleted = rig.delete(3).await;
    rig.operate(Operation::Touch { namespace: "default".into(), key: key(1) }).await;
    let (told, cursor) = events(&mut watch, 4).await;
    let cursor_of = |index| {
        Some(v1::Cursor { position: Some(v1::Position { cluster: CLUSTER, index }), ordinal: Some(0) })
    };
    let event = |kind: v1::EventKind, index, number| v1::Event {
        kind: kind.into(),
        cursor: cursor_of(index),
        handle: key(number).handle(),
        at_ms: 3_600_000,
        ..v1::Event::default()
    };
    let expected = [
        v1::Event { version: 1, ..event(v1::EventKind::Created, created, 2) },
        v1::Event {
            version: 2,
            principal: "bob".to_owned(),
            previous_principal: Some(String::new()),
            ..event(v1::EventKind::Updated, updated, 2)
        },
        v1::Event {
            version: 3,
            principal: "bob".to_owned(),
            new_handle: key(3).handle(),
            ..event(v1::EventKind::Renamed, renamed, 2)
        },
        v1::Event {
            version: 3,
            principal: "bob".to_owned(),
            reason: v1::EndReason::Logout.into(),
            attributes: BTreeMap::from([("a".to_owned(), Bytes::from_static(b"last"))]),
            ..event(v1::EventKind::Deleted, deleted, 3)
        },
    ];
    assert_eq!(told, expected);
    assert!(cursor.position.unwrap().index >= deleted);
    assert_quiet(&mut watch).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_wanted_is_told() {
    let rig = rig().await;
    rig.keep("shop", 1_000).await;
    let of = |principal: &str| v1::WatchRequest { principal: Some(principal.to_owned()), ..all() };
    let kinds = vec![v1::EventKind::Created.into(), v1::EventKind::Deleted.into()];
    let (mut of_ann, _) = rig.begun(&of("ann")).await;
    let (mut of_nobody, _) = rig.begun(&of("")).await;
    let (mut ends, _) = rig.begun(&v1::WatchRequest { kinds, without_attributes: true, ..all() }).await;
    let (mut shop, _) = rig.begun(&in_namespace("shop")).await;
    rig.create(1, "ann").await;
    rig.create(2, "bob").await;
    rig.write(1, b"mine", None).await;
    // She hears that she has signed in and out.
    rig.write(2, b"hers", Some("ann")).await;
    rig.write(2, b"nobody's", Some("")).await;
    rig.write(2, b"his", Some("bob")).await;
    rig.delete(1).await;
    rig.delete(2).await;
    rig.create_in("shop", 9, "ann").await;
    let versions =
        |events: &[v1::Event]| events.iter().map(|event| (event.kind, event.version)).collect::<Vec<_>>();
    let (created, updated, deleted) = (1, 2, 4);
    let (told, _) = events(&mut of_ann, 5).await;
    assert_eq!(versions(&told), [(created, 1), (updated, 2), (updated, 2), (updated, 3), (deleted, 2)]);
    let (told, _) = events(&mut of_nobody, 2).await;
    assert_eq!(versions(&told), [(updated, 3), (updated, 4)]);
    let (told, _) = events(&mut ends, 4).await;
    assert_eq!(versions(&told), [(created, 1), (created, 1), (deleted, 2), (deleted, 4)]);
    assert!(told.iter().all(|event| event.attributes.is_empty()));
    let (told, _) = events(&mut shop, 1).await;
    assert_eq!(told[0].handle, key(9).handle());
    for watch in [&mut of_ann, &mut of_nobody, &mut ends, &mut shop] {
        assert_quiet(watch).await;
    }
}

#[tokio::test(start_paused = true)]
async fn from_any_cursor_it_goes_on_without_a_gap() {
    let rig = rig().await;
    let (mut watch, begin) = rig.begun(&all()).await;
    for number in 0..40 {
        rig.create(number, "ann").await;
    }
    // One entry with many events.
    let revoke = RevokePrincipal { namespace: "default".into(), principal: "ann".into(), except: None };
    rig.operate(Operation::Revoke(revoke)).await;
    rig.apply(Command::Reap { keys: (0..40).map(key).collect() }).await;
    let (told, end) = events(&mut watch, 80).await;
    assert_eq!(told[79].reason, i32::from(v1::EndReason::Revoked));
    let ordinals: Vec<_> = told[40..].iter().map(|event| event.cursor.unwrap().ordinal.unwrap()).collect();
    assert_eq!(ordinals, (0..40).collect::<Vec<_>>());
    for (number, event) in told.iter().enumerate() {
        let (mut resumed, began) = rig.begun(&after(event.cursor.unwrap())).await;
        assert_eq!(Some(began), event.cursor);
        if number < 79 {
            assert_eq!(events(&mut resumed, 79 - number).await.0, told[number + 1..]);
        }
        assert_quiet(&mut resumed).await;
    }
    let (mut resumed, _) = rig.begun(&after(begin)).await;
    assert_eq!(events(&mut resumed, 80).await.0, told);
    let (mut resumed, _) = rig.begun(&after(end)).await;
    assert_quiet(&mut resumed).await;
}

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
async fn a_node_that_has_not_come_so_far_waits_until_it_has() {
    let rig = rig().await;
    let now = rig.index().await;
    // Nothing of this is known yet: not even the namespace.
    let request = v1::WatchRequest { after: Some(at(now + 2)), ..in_namespace("shop") };
    let (mut watch, begin) = rig.begun(&request).await;
    assert_eq!(begin, at(now + 2));
    // It is told that the watch lives.
    for _ in 0..2 {
        let progress = next(&mut watch).await.unwrap();
        assert_eq!((progress.events.len(), progress.cursor), (0, Some(at(now + 2))));
    }
    rig.keep("shop", 1_000).await;
    rig.create_in("shop", 1, "before").await;
    let (quiet, behind) = (watch, rig.create_in("shop", 2, "behind").await);
    let mut watch = quiet;
    let (told, _) = events(&mut watch, 1).await;
    assert_eq!(
        (told[0].principal.as_str(), told[0].cursor.unwrap().position.unwrap().index),
        ("behind", behind)
    );

    let request = v1::WatchRequest { after: Some(at(behind + 1)), ..in_namespace("nowhere") };
    let (mut watch, _) = rig.begun(&request).await;
    rig.create(1, "").await;
    is(&end(&mut watch).await, Code::NotFound, "UNKNOWN_NAMESPACE");
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
async fn a_watcher_hears_its_cursor_though_nothing_concerns_it() {
    let rig = rig().await;
    let (mut watch, begin) =
        rig.begun(&v1::WatchRequest { principal: Some("ann".to_owned()), ..all() }).await;
    let began = tokio::time::Instant::now();
    let mut last = begin;
    for number in 0..4 {
        for _ in 0..300 {
            rig.create(number, "bob").await;
            rig.write(number, b"value", None).await;
        }
        let message = next(&mut watch).await.unwrap();
        assert_eq!(message.events, []);
        assert!(message.cursor.unwrap().position.unwrap().index > last.position.unwrap().index);
        last = message.cursor.unwrap();
        assert_eq!(last, at(rig.index().await));
    }
    let passed = began.elapsed();
    assert!(passed >= 4 * PROGRESS_INTERVAL && passed < 5 * PROGRESS_INTERVAL, "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_are_bounded() {
    let rig = rig().await;
    let (mut watch, _) = rig.begun(&all()).await;
    rig.create(1, "").await;
    for _ in 0..1_000 {
        rig.write(1, b"value", None).await;
    }
    let mut count = 0;
    while count < 1_001 {
        let message = next(&mut watch).await.unwrap();
        assert!((1..=EVENTS_MAX).contains(&message.events.len()));
        count += message.events.len();
        let last = message.events.last().unwrap();
        assert!(
            message.cursor.unwrap().position.unwrap().index >= last.cursor.unwrap().position.unwrap().index
        );
    }
    // The last attributes count.
    for number in 10..40 {
        rig.create(number, "").await;
        rig.write(number, &vec![7; 100_000], None).await;
    }
    rig.create(40, "").await;
    rig.write(40, &vec![7; 1_048_000], None).await;
    for number in 10..=40 {
        rig.delete(number).await;
    }
    let (mut ended, mut largest) = (0, 0);
    while ended < 31 {
        let message = next(&mut watch).await.unwrap();
        let bytes: usize =
            message.events.iter().flat_map(|event| event.attributes.values()).map(Bytes::len).sum();
        assert!(bytes <= 256 << 10 || message.events.len() == 1, "{bytes}");
        largest = largest.max(bytes);
        ended +=
            message.events.iter().filter(|event| event.kind == i32::from(v1::EventKind::Deleted)).count();
    }
    assert_eq!(largest, 1_048_000);
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
