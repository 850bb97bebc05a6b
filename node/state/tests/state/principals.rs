//! The index of principals: revocation, limits.

use quorate_state::{
    AttributeChange, Command, EndReason, Happening, Limits, Operation, Outcome, Overflow, PolicyChange,
    Refusal, SessionKey,
};

use crate::base::{Store, create, delete, key, refused, regenerate, restored, revoke, write, written};

fn sign_in(store: &mut Store, number: u8, principal: &str) -> Outcome {
    let mut given = create(number);
    given.principal = principal.into();
    store.run(Operation::Create(given))
}

fn change_principal(store: &mut Store, number: u8, principal: &str) -> Outcome {
    let mut change = write(number, AttributeChange::Keep);
    change.principal = Some(principal.into());
    store.run(Operation::Write(change))
}

fn sessions_of(store: &Store, principal: &str) -> Vec<SessionKey> {
    let page = store.state.list("default", Some(principal), "", None, 1_000, store.state.clocks()).unwrap();
    page.sessions.iter().map(|listed| listed.key).collect()
}

fn limit(store: &mut Store, max: u32, overflow: Overflow) {
    let change = PolicyChange {
        principal_sessions_max: Some(Some(max)),
        principal_overflow: Some(overflow),
        ..PolicyChange::default()
    };
    let operation = Operation::PutNamespace { name: "default".into(), change: change.into(), create: None };
    assert_eq!(store.run(operation), Outcome::NamespacePut { created: false });
}

#[test]
fn the_index_changes_with_the_session_in_one_entry() {
    let mut store = Store::new();
    sign_in(&mut store, 3, "ann");
    sign_in(&mut store, 1, "ann");
    sign_in(&mut store, 2, "bob");
    assert_eq!(sessions_of(&store, "ann"), [key(3), key(1)], "the first to sign in comes first");
    change_principal(&mut store, 3, "bob");
    assert_eq!(
        (sessions_of(&store, "ann"), sessions_of(&store, "bob")),
        (vec![key(1)], vec![key(2), key(3)])
    );
    change_principal(&mut store, 2, "");
    store.run(regenerate(3, 4));
    assert_eq!(sessions_of(&store, "bob"), [key(4)]);
    store.run(delete(4));
    assert!(sessions_of(&store, "bob").is_empty() && sessions_of(&store, "").is_empty());
}

#[test]
fn revoke_ends_all_sessions_of_a_principal_in_one_entry() {
    let mut store = Store::new();
    for number in 1..=9 {
        sign_in(&mut store, number, if number % 3 == 0 { "bob" } else { "ann" });
    }
    assert_eq!(store.run(revoke("ann", None)), Outcome::Revoked { sessions: 6 });
    for number in 1..=9 {
        assert_eq!(store.get(number).is_ok(), number % 3 == 0, "{number}");
    }
    assert!(sessions_of(&store, "ann").is_empty());
    assert_eq!(store.run(revoke("ann", None)), Outcome::Revoked { sessions: 0 });
    // Not reaped yet, and gone all the same: also after a restore.
    store.state = store.state.restored(true);
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
    assert_eq!(sign_in(&mut store, 10, "ann"), written(1), "who signs in again is not revoked");
    assert_eq!(sessions_of(&store, "ann"), [key(10)]);
    let keys = store.state.reapable(100);
    assert_eq!(keys.len(), 6);
    store.apply(Command::Reap { keys });
    assert!(store.state.freeze().header().revoked.is_empty(), "nothing is left of it");
    assert_eq!(store.state.records(), 10, "six of them tombstones");
    assert!(store.get(10).is_ok());
}

#[test]
fn revoke_spares_the_one_it_is_told_to() {
    let mut store = Store::new();
    for number in 1..=4 {
        sign_in(&mut store, number, "ann");
    }
    sign_in(&mut store, 5, "bob");
    assert_eq!(store.run(revoke("ann", Some(5))), refused(Refusal::NotOfPrincipal));
    assert_eq!(store.run(revoke("ann", Some(6))), refused(Refusal::NotFound));
    assert_eq!(store.run(revoke("ann", Some(2))), Outcome::Revoked { sessions: 3 });
    assert_eq!(sessions_of(&store, "ann"), [key(2)]);
    // It stays spared under a new id, and through a restore.
    store.run(regenerate(2, 7));
    store.state = store.state.restored(false);
    assert_eq!(sessions_of(&store, "ann"), [key(7)]);
    // One that was revoked before cannot be the one to keep.
    assert_eq!(store.run(revoke("ann", Some(1))), refused(Refusal::NotFound));
    assert_eq!(store.run(revoke("ann", None)), Outcome::Revoked { sessions: 1 });
    assert!(sessions_of(&store, "ann").is_empty());
}

#[test]
fn ten_thousand_sessions_are_revoked_at_once_and_reaped_behind_it() {
    const SESSIONS: u16 = 10_000;
    let mut store = Store::new();
    for number in 0..SESSIONS {
        let mut given = create(0);
        given.key = SessionKey(u128::from(number).to_be_bytes());
        given.principal = "ann".into();
        store.run(Operation::Create(given));
    }
    assert_eq!(store.run(revoke("ann", None)), Outcome::Revoked { sessions: SESSIONS.into() });
    assert!(sessions_of(&store, "ann").is_empty());
    let mut reaps = 0;
    loop {
        let keys = store.state.reapable(Limits::REAP_MAX);
        if keys.is_empty() {
            break;
        }
        store.apply(Command::Reap { keys });
        reaps += 1;
    }
    assert_eq!((reaps, store.state.records()), (10, SESSIONS.into()), "tombstones");
    let (_, namespace, usage) = store.state.namespaces().find(|(name, ..)| *name == "default").unwrap();
    assert_eq!((namespace.counters.deleted, usage.sessions, usage.bytes), (SESSIONS.into(), 0, 0));
    assert_eq!(restored(&store.state.freeze(), true).digest(), store.state.digest());
}

#[test]
fn a_principal_beyond_its_limit_is_refused() {
    let mut store = Store::new();
    limit(&mut store, 2, Overflow::Refuse);
    sign_in(&mut store, 1, "ann");
    sign_in(&mut store, 2, "ann");
    let refusal = refused(Refusal::TooManySessionsOfPrincipal { max: 2 });
    assert_eq!(sign_in(&mut store, 3, "ann"), refusal);
    store.create(3);
    assert_eq!(change_principal(&mut store, 3, "ann"), refusal);
    assert_eq!(change_principal(&mut store, 2, "ann"), written(2), "it is one of them already");
    assert_eq!(sign_in(&mut store, 4, "bob"), written(1));
    store.run(delete(1));
    assert_eq!(change_principal(&mut store, 3, "ann"), written(2));
}

#[test]
fn or_its_oldest_session_is_ended_and_watchers_are_told() {
    let mut store = Store::new();
    limit(&mut store, 2, Overflow::EndOldest);
    for number in [5, 1, 3] {
        assert_eq!(sign_in(&mut store, number, "ann"), written(1));
    }
    assert_eq!(sessions_of(&store, "ann"), [key(1), key(3)]);
    assert_eq!(store.get(5).unwrap_err(), Refusal::NotFound);
    let events: Vec<_> = store.state.events(1, quorate_state::Cursor::default()).unwrap().collect();
    let ended = events.iter().find(|event| event.ended().is_some()).unwrap();
    assert_eq!((ended.key, ended.ended()), (key(5), Some(EndReason::PrincipalLimit)));
    let Happening::Ended { attributes, .. } = &ended.what else { panic!("an end") };
    assert_eq!(attributes["a"], "1".as_bytes());
    // A lower limit ends as many as it takes.
    limit(&mut store, 1, Overflow::EndOldest);
    sign_in(&mut store, 4, "ann");
    assert_eq!(sessions_of(&store, "ann"), [key(4)]);
}

#[test]
fn expired_and_revoked_sessions_count_for_no_limit() {
    let mut store = Store::new();
    limit(&mut store, 1, Overflow::Refuse);
    let mut short = create(1);
    short.principal = "ann".into();
    short.timeouts.absolute_ms = Some(1_000);
    store.run(Operation::Create(short));
    store.stamp += 1_000;
    assert_eq!(sign_in(&mut store, 2, "ann"), written(1), "what has expired counts no more");
    store.run(revoke("ann", None));
    assert_eq!(sign_in(&mut store, 3, "ann"), written(1));
    assert!(matches!(sign_in(&mut store, 4, "ann"), Outcome::Refused(_)));
}

#[test]
fn revocations_under_way_are_bounded() {
    let mut store = Store::new();
    for number in 0..Limits::REVOCATIONS_MAX + 1 {
        let mut given = create(0);
        given.key = SessionKey((number as u128).to_be_bytes());
        given.principal = number.to_string().into();
        store.run(Operation::Create(given));
    }
    for number in 0..Limits::REVOCATIONS_MAX {
        assert_eq!(store.run(revoke(&number.to_string(), None)), Outcome::Revoked { sessions: 1 });
    }
    let last = Limits::REVOCATIONS_MAX.to_string();
    for _ in 0..100 {
        let refusal = Refusal::TooManyRevocations { max: Limits::REVOCATIONS_MAX as u64 };
        assert_eq!(store.run(revoke(&last, None)), refused(refusal));
    }
    assert_eq!(store.run(revoke("nobody", None)), Outcome::Revoked { sessions: 0 });
    let keys = store.state.reapable(1);
    store.apply(Command::Reap { keys });
    assert_eq!(store.run(revoke(&last, None)), Outcome::Revoked { sessions: 1 });
}

/// A protocol that upserts may send the Create of before once more, however late.
#[test]
fn a_revoked_id_is_refused_to_create_at_once_and_once_it_is_reaped() {
    let mut store = Store::new();
    for number in 1..=4 {
        sign_in(&mut store, number, "ann");
    }
    store.create(9);
    store.run(revoke("ann", None));
    let recently = refused(Refusal::RecentlyEnded);
    assert_eq!(sign_in(&mut store, 1, "ann"), recently);
    assert_eq!(store.run(regenerate(9, 2)), recently);
    let keys = store.state.reapable(100);
    assert_eq!(keys, [key(3), key(4)]);
    store.apply(Command::Reap { keys });
    store.state = store.state.restored(true);
    for number in 1..=4 {
        assert_eq!(sign_in(&mut store, number, "ann"), recently, "{number}");
        assert_eq!(store.get(number).unwrap_err(), Refusal::NotFound);
    }
    store.pass(60_000);
    assert_eq!(sign_in(&mut store, 1, "ann"), written(1));
}

#[test]
fn what_is_reaped_at_once_is_bounded_in_bytes() {
    const MIB: usize = 1 << 20;
    let mut store = Store::new();
    for number in 1..=10 {
        let mut given = create(number);
        given.principal = "ann".into();
        given.attributes.insert("large".into(), vec![7; MIB - 100].into());
        store.run(Operation::Create(given));
    }
    store.run(revoke("ann", None));
    for left in [10, 5] {
        let keys = store.state.reapable(100);
        assert_eq!((keys.len(), store.state.reapable(3).len()), (5, 3), "of {left}");
        store.apply(Command::Reap { keys });
    }
    assert!(store.state.reapable(100).is_empty());
}

#[test]
fn ending_the_oldest_makes_room_in_a_full_namespace() {
    let quotas = |store: &mut Store, sessions, bytes| {
        let change = PolicyChange {
            sessions_max: Some(Some(sessions)),
            bytes_max: Some(Some(bytes)),
            ..PolicyChange::default()
        };
        store.run(Operation::PutNamespace { name: "default".into(), change: change.into(), create: None });
    };
    let mut store = Store::new();
    limit(&mut store, 2, Overflow::EndOldest);
    // Four bytes each.
    quotas(&mut store, 3, 12);
    for number in [1, 2] {
        sign_in(&mut store, number, "ann");
    }
    store.create(3);
    assert_eq!(sign_in(&mut store, 4, "ann"), written(1));
    assert_eq!(sessions_of(&store, "ann"), [key(2), key(4)]);
    let mut grows = write(3, AttributeChange::Replace(crate::base::attributes(&[("a", "1234567")])));
    grows.principal = Some("ann".into());
    assert_eq!(store.run(Operation::Write(grows)), written(2), "what is ended makes room for bytes too");
    assert_eq!(sessions_of(&store, "ann"), [key(4), key(3)]);
    // Nobody is ended for a session that there is no room for.
    quotas(&mut store, 1, 100);
    assert_eq!(sign_in(&mut store, 5, "ann"), refused(Refusal::NamespaceFull { max: 1 }));
    assert_eq!(sessions_of(&store, "ann"), [key(4), key(3)]);
}
