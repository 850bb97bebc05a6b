//! Namespaces: policies, quotas, counters, deletion.

use std::hint::black_box;
#[expect(clippy::disallowed_types, reason = "compares work; the state sees no clock of the machine")]
use std::time::{Duration, Instant};

use quorate_state::{
    Command, CreateSession, Cursor, Limits, Operation, Outcome, PolicyChange, Refusal, SessionKey, Timeouts,
    Usage,
};

use crate::base::{Store, attributes, create, key, patch, refused, write, written};

fn put(store: &mut Store, name: &str, change: PolicyChange) -> Outcome {
    store.run(Operation::PutNamespace { name: name.into(), change: change.into(), create: None })
}

fn delete(store: &mut Store, name: &str) -> Outcome {
    store.run(Operation::DeleteNamespace { name: name.into() })
}

fn create_in(store: &mut Store, namespace: &str, number: u8) -> Outcome {
    let mut given = create(number);
    given.namespace = namespace.into();
    store.run(Operation::Create(given))
}

fn usage(store: &Store, name: &str) -> Usage {
    store.state.namespaces().find(|(known, ..)| *known == name).unwrap().2
}

#[test]
fn a_namespace_fills_in_what_a_session_leaves_out() {
    let mut store = Store::new();
    let change = PolicyChange {
        default_idle_ms: Some(Some(40_000)),
        default_absolute_ms: Some(Some(90_000)),
        idle_ms_max: Some(50_000),
        granule_ms: Some(Some(3_000)),
        ..PolicyChange::default()
    };
    assert_eq!(put(&mut store, "shop", change), Outcome::NamespacePut { created: true });
    create_in(&mut store, "shop", 1);
    let session = store.state.lookup("shop", &key(1), store.state.clocks()).unwrap();
    assert_eq!(session.timeouts, Timeouts { idle_ms: Some(40_000), absolute_ms: Some(90_000) });
    assert_eq!(session.granule_ms, 3_000);
    let mut long = create(2);
    long.namespace = "shop".into();
    long.timeouts.idle_ms = Some(50_001);
    assert!(matches!(
        store.run(Operation::Create(long)),
        Outcome::Refused(Refusal::TimeoutOutOfRange { .. })
    ));
    // A change of the policy leaves what was promised.
    let change = PolicyChange { default_idle_ms: Some(Some(1_000)), ..PolicyChange::default() };
    assert_eq!(put(&mut store, "shop", change), Outcome::NamespacePut { created: false });
    let session = store.state.lookup("shop", &key(1), store.state.clocks()).unwrap();
    assert_eq!(session.idle_ms, Some(40_000));
}

#[test]
fn a_policy_out_of_range_changes_nothing() {
    let mut store = Store::new();
    let before = store.state.digest();
    for change in [
        PolicyChange { default_idle_ms: Some(Some(999)), ..PolicyChange::default() },
        PolicyChange { session_bytes_max: Some((1 << 20) + 1), ..PolicyChange::default() },
        PolicyChange { principal_sessions_max: Some(Some(1_001)), ..PolicyChange::default() },
        PolicyChange { idle_ms_max: Some(1_000), ..PolicyChange::default() },
        PolicyChange { tombstone_ms: Some(600_001), ..PolicyChange::default() },
    ] {
        let outcome = put(&mut store, "default", change);
        assert!(matches!(outcome, Outcome::Refused(Refusal::PolicyOutOfRange { .. })), "{outcome:?}");
    }
    assert_eq!(store.state.digest(), before);
}

#[test]
fn quotas_hold_for_sessions_and_bytes() {
    let mut store = Store::new();
    let change =
        PolicyChange { sessions_max: Some(Some(2)), bytes_max: Some(Some(10)), ..PolicyChange::default() };
    put(&mut store, "shop", change);
    // Two attributes of two bytes each.
    assert_eq!(create_in(&mut store, "shop", 1), written(1));
    assert_eq!(create_in(&mut store, "shop", 2), written(1));
    assert_eq!(usage(&store, "shop"), Usage { sessions: 2, bytes: 8 });
    assert_eq!(create_in(&mut store, "shop", 3), refused(Refusal::NamespaceFull { max: 2 }));
    let mut grow = |number, value: &str| {
        let mut grown = write(number, patch(&[("a", value)], &[]));
        grown.namespace = "shop".into();
        store.run(Operation::Write(grown))
    };
    assert_eq!(grow(1, "123"), written(2));
    assert_eq!(grow(2, "12"), refused(Refusal::NamespaceBytesExceeded { bytes: 11, max: 10 }));
    assert_eq!(grow(1, ""), written(3), "what shrinks is always welcome");
    assert_eq!(grow(2, "12"), written(2));
}

#[test]
fn what_has_expired_takes_no_room() {
    let mut store = Store::new();
    let change = PolicyChange { sessions_max: Some(Some(3)), ..PolicyChange::default() };
    put(&mut store, "shop", change);
    for number in 1..=3 {
        let mut short = create(number);
        short.namespace = "shop".into();
        short.timeouts.absolute_ms = Some(1_000);
        store.run(Operation::Create(short));
    }
    store.stamp += 1_000;
    assert_eq!(create_in(&mut store, "shop", 4), written(1));
    assert_eq!(usage(&store, "shop").sessions, 1);
}

#[test]
fn a_session_without_principal_expires_sooner_until_somebody_signs_in() {
    let mut store = Store::new();
    let change = PolicyChange { anonymous_idle_ms: Some(Some(5_000)), ..PolicyChange::default() };
    put(&mut store, "default", change);
    store.create(1);
    store.create(2);
    assert_eq!(store.get(1).unwrap().idle_ms, Some(5_000));
    store.pass(4_000);
    let mut sign_in = write(1, patch(&[], &[]));
    sign_in.principal = Some("ann".into());
    store.run(Operation::Write(sign_in));
    assert_eq!(store.get(1).unwrap().idle_ms, Some(20 * 60_000), "its own timeout holds now");
    store.pass(5_000);
    assert_eq!(store.get(2).unwrap_err(), Refusal::NotFound);
    store.pass(10 * 60_000);
    let mut sign_out = write(1, patch(&[], &[]));
    sign_out.principal = Some("".into());
    store.run(Operation::Write(sign_out));
    store.pass(5_999);
    assert!(store.get(1).is_ok());
    store.pass(1);
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
}

#[test]
fn a_deleted_namespace_is_gone_at_once_and_reaped_in_bounded_steps() {
    const SESSIONS: u16 = 2_500;
    let mut store = Store::new();
    put(&mut store, "shop", PolicyChange::default());
    store.create(1);
    for number in 0..SESSIONS {
        let mut given = create(0);
        given.namespace = "shop".into();
        given.key = SessionKey((u128::from(number) << 64).to_be_bytes());
        store.run(Operation::Create(given));
    }
    let gone = SessionKey([0; 16]);
    assert_eq!(delete(&mut store, "shop"), Outcome::Done);
    assert_eq!(store.state.lookup("shop", &gone, store.state.clocks()), Err(Refusal::UnknownNamespace));
    assert_eq!(delete(&mut store, "shop"), refused(Refusal::UnknownNamespace));
    // Made anew it is empty, and its sessions are its own.
    put(&mut store, "shop", PolicyChange::default());
    assert_eq!(store.state.lookup("shop", &gone, store.state.clocks()), Err(Refusal::NotFound));
    let page = store.state.list("shop", None, "", None, 10, store.state.clocks()).unwrap();
    assert!(page.sessions.is_empty() && page.next.is_none());
    let mut again = create(0);
    (again.namespace, again.key) = ("shop".into(), gone);
    assert_eq!(store.run(Operation::Create(again)), written(1));
    store.state = store.state.restored(true);
    let mut reaps = 0;
    loop {
        let keys = store.state.reapable(Limits::REAP_MAX);
        if keys.is_empty() {
            break;
        }
        store.apply(Command::Reap { keys });
        reaps += 1;
    }
    assert_eq!((reaps, store.state.records()), (3, 2));
    assert_eq!(usage(&store, "shop"), Usage { sessions: 1, bytes: 4 });
    assert!(store.get(1).is_ok());
}

#[test]
fn the_default_namespace_stays() {
    let mut store = Store::new();
    assert_eq!(delete(&mut store, "default"), refused(Refusal::NamespaceRequired));
}

#[test]
fn namespaces_are_bounded_and_their_numbers_are_never_used_twice() {
    let mut store = Store::new();
    let mut known = store.state.namespaces().count();
    while known < Limits::NAMESPACES_MAX {
        put(&mut store, &format!("n{known}"), PolicyChange::default());
        known += 1;
    }
    for _ in 0..100 {
        let full = Refusal::TooManyNamespaces { max: Limits::NAMESPACES_MAX as u64 };
        assert_eq!(put(&mut store, "one-more", PolicyChange::default()), refused(full));
    }
    let number = |store: &Store, name| store.state.namespace(name).unwrap().0;
    let before = number(&store, "n5");
    delete(&mut store, "n5");
    store.state = store.state.restored(true);
    put(&mut store, "n5", PolicyChange::default());
    assert!(number(&store, "n5") > before + 1_000);
}

#[test]
fn counters_count_what_happened() {
    let mut store = Store::new();
    for number in 1..=4 {
        store.create(number);
    }
    store.run(crate::base::delete(1));
    let mut short = create(5);
    short.timeouts.absolute_ms = Some(1_000);
    short.attributes = attributes(&[("long", "12345")]);
    store.run(Operation::Create(short));
    assert_eq!(usage(&store, "default"), Usage { sessions: 4, bytes: 21 });
    store.pass(1_000);
    let keys = store.state.reapable(10);
    store.apply(Command::Reap { keys });
    store.run(Operation::Lock(crate::base::lock(2, 0)));
    store.run(Operation::Lock(crate::base::lock(2, 9)));
    let (_, namespace, usage) = store.state.namespaces().next().unwrap();
    let counters = namespace.counters;
    assert_eq!((counters.created, counters.expired, counters.deleted, counters.lock_waits), (5, 1, 1, 1));
    assert_eq!(usage, Usage { sessions: 3, bytes: 12 });
    assert_eq!(store.state.events(1, Cursor::default()).unwrap().count(), 7);
}

/// What the counters cost: read, and changed by a session's creation and end. The least of many rounds, so that other work
/// on the machine does not count.
#[expect(clippy::disallowed_types, reason = "compares work; the state sees no clock of the machine")]
fn cost_of_counters(store: &mut Store, next: &mut u128) -> Duration {
    let mut round = || {
        let began = Instant::now();
        for _ in 0..20 {
            let new = SessionKey(next.to_be_bytes());
            *next += 1;
            black_box(usage(store, "shop"));
            store.run(Operation::Create(CreateSession { key: new, ..shop_session() }));
            store.run(Operation::Delete { namespace: "shop".into(), key: new });
        }
        began.elapsed()
    };
    (0..50).map(|_| round()).min().unwrap()
}

fn shop_session() -> CreateSession {
    CreateSession { namespace: "shop".into(), ..create(1) }
}

#[test]
fn what_counters_cost_does_not_grow_with_their_namespace() {
    let mut store = Store::new();
    put(&mut store, "shop", PolicyChange::default());
    let mut next = 0;
    let empty = cost_of_counters(&mut store, &mut next);
    for number in 0..50_000_u128 {
        let key = SessionKey((u128::MAX - number).to_be_bytes());
        store.run(Operation::Create(CreateSession { key, ..shop_session() }));
    }
    let full = cost_of_counters(&mut store, &mut next);
    assert_eq!(usage(&store, "shop").sessions, 50_000);
    // Counting them would cost thousands of times as much; a tree that is deeper costs a little.
    assert!(full < empty * 20, "{full:?} with 50,000 sessions, {empty:?} without");
}

#[test]
fn one_create_in_a_full_namespace_looks_at_sixteen_sessions() {
    let mut store = Store::new();
    let change = PolicyChange { sessions_max: Some(Some(40)), ..PolicyChange::default() };
    put(&mut store, "shop", change);
    for number in 1..=40 {
        let mut short = create(number);
        short.namespace = "shop".into();
        short.timeouts.absolute_ms = Some(1_000);
        store.run(Operation::Create(short));
    }
    store.stamp += 1_000;
    assert_eq!(create_in(&mut store, "shop", 41), written(1));
    assert_eq!(usage(&store, "shop").sessions, 40 - 16 + 1);
}

#[test]
fn the_longest_timeouts_bind_a_session_that_names_none() {
    let mut store = Store::new();
    let change = PolicyChange {
        default_idle_ms: Some(None),
        idle_ms_max: Some(50_000),
        absolute_ms_max: Some(90_000),
        ..PolicyChange::default()
    };
    put(&mut store, "shop", change);
    create_in(&mut store, "shop", 1);
    let timeouts = |store: &Store, name, number| {
        let session = store.state.lookup(name, &key(number), store.state.clocks()).unwrap();
        (session.timeouts, session.idle_ms)
    };
    let longest = Timeouts { idle_ms: Some(50_000), absolute_ms: Some(90_000) };
    assert_eq!(timeouts(&store, "shop", 1), (longest, Some(50_000)));
    // Where the policy bounds nothing, a session may live for ever.
    let change = PolicyChange { default_idle_ms: Some(None), ..PolicyChange::default() };
    put(&mut store, "default", change);
    store.create(2);
    assert_eq!(timeouts(&store, "default", 2), (Timeouts::default(), None));
}
