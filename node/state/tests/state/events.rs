//! What watchers are told, and what is kept of it.

use bytes::Bytes;
use quorate_state::{
    Command, Cursor, EndReason, Event, Happening, Limits, Operation, PolicyChange, SessionKey,
};

use crate::base::{Store, create, delete, key, patch, regenerate, restored, touch, write};

fn events(store: &Store) -> Vec<Event> {
    store.state.events(1, Cursor::default()).unwrap().cloned().collect()
}

fn keep(store: &mut Store, events_max: u32, events_bytes_max: u64) {
    let change = PolicyChange {
        events_max: Some(events_max),
        events_bytes_max: Some(events_bytes_max),
        ..PolicyChange::default()
    };
    store.run(Operation::PutNamespace { name: "default".into(), change: change.into(), create: None });
}

#[test]
fn each_change_is_an_event_and_a_touch_is_none() {
    let mut store = Store::new();
    store.create(1);
    let mut sign_in = write(1, patch(&[("c", "3")], &[]));
    sign_in.principal = Some("ann".into());
    store.run(Operation::Write(sign_in));
    store.run(touch(1));
    store.run(Operation::Lock(crate::base::lock(1, 0)));
    store.run(Operation::Unlock(crate::base::waiter(1, 1)));
    store.run(regenerate(1, 2));
    store.run(delete(2));
    let events = events(&store);
    let kinds: Vec<_> = events.iter().map(|event| format!("{:?}", event.what)).collect();
    let renamed = format!("Renamed({})", key(2));
    assert_eq!(kinds, ["Created", "Updated", &*renamed, "Ended(Logout, 3 attributes)"]);
    let told: Vec<_> = events.iter().map(|event| (event.key, event.version, &*event.principal)).collect();
    assert_eq!(told, [(key(1), 1, ""), (key(1), 2, "ann"), (key(1), 3, "ann"), (key(2), 3, "ann")]);
    let Happening::Updated { previous_principal } = &events[1].what else { panic!("an update") };
    assert_eq!(previous_principal.as_deref(), Some(""));
    assert!(events.is_sorted_by(|one, next| one.cursor < next.cursor));
}

#[test]
fn the_end_of_a_session_carries_its_last_attributes() {
    let mut store = Store::new();
    for (number, idle, absolute) in [(1, 5_000, None), (2, 60_000, Some(5_000))] {
        let mut given = create(number);
        given.timeouts = crate::base::timeouts(idle, absolute);
        store.run(Operation::Create(given));
    }
    store.write(1, patch(&[("a", "last")], &["b"]));
    store.pass(7_000);
    let keys = store.state.reapable(10);
    store.apply(Command::Reap { keys });
    let ended: Vec<_> = events(&store).into_iter().filter(|event| event.ended().is_some()).collect();
    let mut reasons: Vec<_> = ended.iter().map(|event| (event.key, event.ended().unwrap())).collect();
    reasons.sort_by_key(|(key, _)| *key);
    assert_eq!(reasons, [(key(1), EndReason::Idle), (key(2), EndReason::Absolute)]);
    assert_eq!(ended[0].cursor.index, ended[1].cursor.index, "one entry caused both");
    assert_eq!((ended[0].cursor.ordinal, ended[1].cursor.ordinal), (0, 1));
    let Happening::Ended { attributes, .. } = &ended[0].what else { panic!("an end") };
    assert_eq!(attributes["a"], "last".as_bytes());
}

#[test]
fn events_behind_a_cursor_come_in_order_and_across_a_restore() {
    let mut store = Store::new();
    for number in 0..200 {
        store.create(number);
    }
    let all = events(&store);
    assert_eq!(all.len(), 200);
    for (at, event) in all.iter().enumerate() {
        let rest: Vec<_> = store.state.events(1, event.cursor).unwrap().cloned().collect();
        assert_eq!(rest, all[at + 1..]);
        let same =
            store.state.events(1, Cursor { index: event.cursor.index - 1, ordinal: u32::MAX }).unwrap();
        assert_eq!(same.count(), 200 - at);
    }
    assert_eq!(store.state.events(1, Cursor::behind(u64::MAX)).unwrap().count(), 0);
    store.state = store.state.restored(true);
    assert_eq!(events(&store), all);
    store.create(201);
    assert_eq!(events(&store).len(), 201);
}

#[test]
fn what_is_kept_is_bounded_in_number_and_what_is_lost_is_told() {
    let mut store = Store::new();
    keep(&mut store, 100, 1 << 20);
    for number in 0..=255 {
        store.create(number);
    }
    let (count, bytes) = store.state.events_kept(1);
    assert!((88..=100).contains(&count) && bytes > 0, "{count} events of {bytes} bytes");
    let lost = store.state.events(1, Cursor::default()).map(Iterator::count).unwrap_err();
    let from_oldest = Cursor { index: lost.oldest.index - 1, ordinal: u32::MAX };
    let kept: Vec<_> = store.state.events(1, from_oldest).unwrap().collect();
    assert_eq!((kept.len() as u64, kept[0].cursor), (count, lost.oldest));
    // Kept nothing at all: whoever is not behind has lost something.
    keep(&mut store, 0, 0);
    assert_eq!(store.state.events_kept(1), (0, 0));
    store.run(delete(1));
    assert!(store.state.events(1, from_oldest).is_err());
    assert!(store.state.events(1, Cursor::behind(store.state.index)).is_ok());
    assert_eq!(restored(&store.state.freeze(), true).digest(), store.state.digest());
}

#[test]
fn what_is_kept_is_bounded_in_bytes() {
    let mut store = Store::new();
    keep(&mut store, 100_000, 100_000);
    for number in 0..100 {
        let mut given = create(number);
        given.attributes.insert("large".into(), Bytes::from(vec![7; 9_000]));
        store.run(Operation::Create(given));
        store.run(delete(number));
        let (_, bytes) = store.state.events_kept(1);
        assert!(bytes <= 100_000 + 10_000, "{bytes}");
    }
    // The newest event stays, however large.
    keep(&mut store, 10, 1_000);
    let (count, _) = store.state.events_kept(1);
    assert!((1..=64).contains(&count), "{count}");
}

#[test]
fn all_namespaces_together_are_bounded_and_the_largest_loses_first() {
    let mut store = Store::new();
    let max = Limits::EVENTS_BYTES_TOTAL_MAX;
    keep(&mut store, 1_000_000, max);
    let change = PolicyChange { events_bytes_max: Some(max), ..PolicyChange::default() };
    store.run(Operation::PutNamespace { name: "shop".into(), change: change.into(), create: None });
    let quiet = store.state.namespace("shop").unwrap().0;
    let (value, mut number) = (Bytes::from(vec![7; 1 << 20 >> 1]), 0_u128);
    let mut churn = |store: &mut Store, namespace: &str| {
        number += 1;
        let mut given = create(0);
        (given.namespace, given.key) = (namespace.into(), SessionKey(number.to_be_bytes()));
        given.attributes.insert("large".into(), value.clone());
        let delete = Operation::Delete { namespace: namespace.into(), key: given.key };
        store.run(Operation::Create(given));
        store.run(delete);
    };
    churn(&mut store, "shop");
    for _ in 0..600 {
        churn(&mut store, "default");
    }
    let (kept, bytes) = (store.state.events_kept(quiet), store.state.events_kept(1).1);
    assert_eq!(kept.0, 2, "the quiet one keeps what it has");
    assert!(bytes + kept.1 <= max && bytes > max / 2, "{bytes}");
}

#[test]
fn events_of_one_entry_are_numbered_also_where_the_first_are_lost() {
    let mut store = Store::new();
    keep(&mut store, 1, 1 << 20);
    for number in 0..200 {
        let mut short = create(number);
        short.timeouts.absolute_ms = Some(1_000);
        store.run(Operation::Create(short));
    }
    store.pass(1_000);
    let keys = store.state.reapable(1_000);
    store.apply(Command::Reap { keys });
    let lost = store.state.events(1, Cursor::default()).map(Iterator::count).unwrap_err();
    let before = Cursor { index: lost.oldest.index, ordinal: lost.oldest.ordinal - 1 };
    let kept: Vec<_> = store.state.events(1, before).unwrap().map(|event| event.cursor.ordinal).collect();
    assert_eq!(kept.last(), Some(&199));
    assert!(kept.is_sorted());
}

/// Writes that tell watchers something, of a session that there is.
fn tell(store: &mut Store, namespace: &str, events: u32) {
    let mut change = write(1, patch(&[], &[]));
    change.namespace = namespace.into();
    for _ in 0..events {
        store.run(Operation::Write(change.clone()));
    }
}

/// Pages of memory given back, and a pointer for each block of 64 events: far less than hashing what was dropped.
const SLACK: std::time::Duration = std::time::Duration::from_micros(500);

/// The least of many rounds, so that other work on the machine does not count.
#[expect(clippy::disallowed_types, reason = "compares work; the state sees no clock of the machine")]
fn cost(mut round: impl FnMut() -> std::time::Instant) -> std::time::Duration {
    (0..20).map(|_| round().elapsed()).min().unwrap()
}

#[expect(clippy::disallowed_types, reason = "as above")]
#[test]
fn what_the_end_of_a_session_costs_does_not_grow_with_its_attributes() {
    let mut store = Store::new();
    // So few are kept that each drops one.
    keep(&mut store, 1, 256 << 20);
    let mut number = 0_u8;
    let mut ending = |bytes: usize| {
        cost(|| {
            number += 1;
            let mut given = create(number);
            given.attributes.insert("large".into(), Bytes::from(vec![7; bytes]));
            store.run(Operation::Create(given));
            let began = std::time::Instant::now();
            store.run(delete(number));
            began
        })
    };
    let (small, large) = (ending(100), ending(1_000_000));
    assert!(large < small * 20 + SLACK, "{large:?} with a megabyte, {small:?} without");
}

#[expect(clippy::disallowed_types, reason = "as above")]
#[test]
fn what_deleting_a_namespace_costs_does_not_grow_with_its_events() {
    let mut store = Store::new();
    let mut deleting = |events: u32| {
        let mut least = std::time::Duration::MAX;
        for _ in 0..5 {
            let operation =
                Operation::PutNamespace { name: "shop".into(), change: Box::default(), create: None };
            store.run(operation);
            let mut given = create(1);
            given.namespace = "shop".into();
            store.run(Operation::Create(given));
            tell(&mut store, "shop", events);
            let began = std::time::Instant::now();
            store.run(Operation::DeleteNamespace { name: "shop".into() });
            least = least.min(began.elapsed());
            // A block has 64 at most, and the write-behind must hear of each.
            assert!(store.state.take_changes().events.len() >= events as usize / 64);
        }
        least
    };
    let (few, many) = (deleting(1), deleting(20_000));
    assert!(many < few * 20, "{many:?} with 20,000 events, {few:?} with one");
}

#[expect(clippy::disallowed_types, reason = "as above")]
#[test]
fn what_a_lower_limit_costs_hardly_grows_with_the_events_that_go() {
    let mut store = Store::new();
    store.create(1);
    let mut lowering = |events: u32| {
        let mut least = std::time::Duration::MAX;
        for _ in 0..5 {
            keep(&mut store, 1_000_000, 256 << 20);
            tell(&mut store, "default", events);
            let began = std::time::Instant::now();
            keep(&mut store, 1, 256 << 20);
            least = least.min(began.elapsed());
            assert!(store.state.events_kept(1).0 <= 64);
        }
        least
    };
    let (few, many) = (lowering(1), lowering(20_000));
    assert!(many < few * 20 + SLACK, "{many:?} with 20,000 events, {few:?} with one");
}
