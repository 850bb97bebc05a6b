//! Each operation, alone.

use bytes::Bytes;
use quorate_state::{AttributeChange, Command, Limits, Operation, Outcome, Refusal, State, Timeouts};

use crate::base::{
    SMALL, START, Store, attributes, create, delete, key, member, patch, refused, regenerate, timeouts,
    touch, write, written,
};

#[test]
fn create_keeps_what_it_is_given_and_fills_in_the_rest() {
    let mut store = Store::new();
    let mut given = create(1);
    given.principal = "ann".into();
    given.timeouts.absolute_ms = Some(3_600_000);
    assert_eq!(store.run(Operation::Create(given)), written(1));
    let session = store.get(1).unwrap();
    assert_eq!((session.version, session.created.0, session.last_touch.0), (1, START, START));
    assert_eq!(session.timeouts, timeouts(20 * 60_000, 3_600_000));
    assert_eq!((session.granule_ms, session.namespace), (60_000, 1));
    assert_eq!(*session.principal, *"ann");
    assert_eq!(store.attributes(1), attributes(&[("a", "1"), ("b", "2")]));
    assert_eq!((store.state.live_sessions(), store.state.records()), (1, 1));
}

#[test]
fn create_never_overwrites() {
    let mut store = Store::new();
    store.create(1);
    let before = store.state.digest();
    assert_eq!(store.create(1), refused(Refusal::AlreadyExists));
    assert_eq!(store.state.digest(), before);
}

#[test]
fn unknown_namespace_is_refused_by_every_operation() {
    let mut store = Store::new();
    store.create(1);
    let before = store.state.digest();
    let namespace = || "nowhere".into();
    let (mut create, mut write) = (create(2), write(1, AttributeChange::Keep));
    create.namespace = namespace();
    write.namespace = namespace();
    let mut renamed = regenerate(1, 2);
    if let Operation::Regenerate(regenerate) = &mut renamed {
        regenerate.namespace = namespace();
    }
    let operations = [
        Operation::Create(create),
        Operation::Write(write),
        Operation::Touch { namespace: namespace(), key: key(1) },
        Operation::Delete { namespace: namespace(), key: key(1) },
        renamed,
    ];
    for operation in operations {
        assert_eq!(store.run(operation), refused(Refusal::UnknownNamespace));
    }
    assert_eq!(store.state.digest(), before);
}

#[test]
fn a_session_is_not_reached_through_another_namespace() {
    let mut store = Store::new();
    store.create(1);
    let mut other = write(1, AttributeChange::Keep);
    other.namespace = SMALL.into();
    assert_eq!(store.run(Operation::Write(other)), refused(Refusal::NotFound));
    let delete = Operation::Delete { namespace: SMALL.into(), key: key(1) };
    assert_eq!(store.run(delete), refused(Refusal::NotFound));
    assert!(store.get(1).is_ok());
}

#[test]
fn timeouts_out_of_range_are_refused_with_the_range() {
    let mut store = Store::new();
    store.create(1);
    let max_ms = 366 * 24 * 3_600_000;
    let refusal = |given_ms| refused(Refusal::TimeoutOutOfRange { given_ms, min_ms: 1_000, max_ms });
    for given in [0, 999, max_ms + 1, u64::MAX] {
        for wanted in [timeouts(given, None), timeouts(None, given), timeouts(5_000, given)] {
            let mut create = create(2);
            create.timeouts = wanted;
            assert_eq!(store.run(Operation::Create(create)), refusal(given));
            let mut write = write(1, AttributeChange::Keep);
            write.timeouts = wanted;
            assert_eq!(store.run(Operation::Write(write)), refusal(given));
        }
    }
    let mut longest = create(2);
    longest.timeouts = timeouts(1_000, max_ms);
    assert_eq!(store.run(Operation::Create(longest)), written(1));
    assert_eq!(store.get(1).unwrap().version, 1);
}

#[test]
fn size_limits_hold_to_the_byte() {
    let mut store = Store::new();
    let mut small = create(1);
    small.namespace = SMALL.into();
    small.attributes = attributes(&[("name", "12345678901234567890")]);
    assert_eq!(store.run(Operation::Create(small.clone())), written(1));
    small.key = key(2);
    small.attributes = attributes(&[("name", "123456789012345678901")]);
    let too_large = refused(Refusal::SessionTooLarge { bytes: 25, max: 24 });
    assert_eq!(store.run(Operation::Create(small.clone())), too_large);
    small.attributes = attributes(&[("a", ""), ("b", ""), ("c", ""), ("d", "")]);
    let too_many = refused(Refusal::TooManyAttributes { count: 4, max: 3 });
    assert_eq!(store.run(Operation::Create(small)), too_many);

    let mut change = |change| {
        let mut write = write(1, change);
        write.namespace = SMALL.into();
        store.run(Operation::Write(write))
    };
    assert_eq!(change(patch(&[("x", "")], &[])), too_large);
    assert_eq!(change(AttributeChange::Replace(attributes(&[("x", &"y".repeat(24))]))), too_large);
    // What goes makes room, and is counted once however often it is named.
    assert_eq!(change(patch(&[("name", "1"), ("x", &"y".repeat(18))], &["name", "name"])), written(2));
    assert_eq!(change(patch(&[("z", "")], &["x", "x", "never-was"])), written(3));
    assert_eq!(change(patch(&[("p", ""), ("q", "")], &[])), too_many);
    assert_eq!(change(patch(&[("p", "")], &[])), written(4));
}

#[test]
fn the_largest_session_of_the_default_namespace_fits() {
    let mut store = Store::new();
    let mut large = create(1);
    large.attributes = attributes(&[]);
    large.attributes.insert("n".into(), Bytes::from(vec![7; (1 << 20) - 1]));
    assert_eq!(store.run(Operation::Create(large)), written(1));
    let refusal = Refusal::SessionTooLarge { bytes: (1 << 20) + 1, max: 1 << 20 };
    assert_eq!(store.write(1, patch(&[("m", "")], &[])), refused(refusal));
}

#[test]
fn write_replaces_or_patches() {
    let mut store = Store::new();
    store.create(1);
    assert_eq!(store.write(1, patch(&[("c", "3"), ("a", "9")], &["b", "no-such"])), written(2));
    assert_eq!(store.attributes(1), attributes(&[("a", "9"), ("c", "3")]));
    assert_eq!(store.write(1, patch(&[("c", "4")], &["c"])), written(3));
    assert_eq!(store.attributes(1), attributes(&[("a", "9"), ("c", "4")]));
    assert_eq!(store.write(1, AttributeChange::Replace(attributes(&[("z", "0")]))), written(4));
    assert_eq!(store.attributes(1), attributes(&[("z", "0")]));
    assert_eq!(store.write(1, AttributeChange::Replace(attributes(&[]))), written(5));
    assert!(store.attributes(1).is_empty());
}

#[test]
fn write_sets_principal_and_timeouts() {
    let mut store = Store::new();
    store.create(1);
    store.pass(2_000);
    let mut sign_in = write(1, AttributeChange::Keep);
    sign_in.principal = Some("ann".into());
    assert_eq!(store.run(Operation::Write(sign_in)), written(2));
    let mut longer = write(1, AttributeChange::Keep);
    longer.timeouts = timeouts(100_000, None);
    assert_eq!(store.run(Operation::Write(longer)), written(3));
    let session = store.get(1).unwrap();
    assert_eq!((&*session.principal, session.timeouts), ("ann", timeouts(100_000, None)));
    assert_eq!((session.granule_ms, session.last_touch.0), (5_000, START + 2_000));
    let mut sign_out = write(1, AttributeChange::Keep);
    sign_out.principal = Some("".into());
    assert_eq!(store.run(Operation::Write(sign_out)), written(4));
    assert_eq!(*store.get(1).unwrap().principal, *"");
}

#[test]
fn a_write_of_nothing_is_a_touch() {
    let mut store = Store::new();
    store.create(1);
    store.pass(2_000);
    assert_eq!(store.write(1, AttributeChange::Keep), written(1));
    assert_eq!(store.get(1).unwrap().last_touch.0, START + 2_000);
}

#[test]
fn refusals_of_a_write_come_in_order() {
    let mut store = Store::new();
    let mut bad =
        write(1, AttributeChange::Replace((0..300).map(|n| (n.to_string().into(), Bytes::new())).collect()));
    bad.if_version = Some(7);
    bad.timeouts = Timeouts { idle_ms: Some(1), absolute_ms: None };
    assert_eq!(store.run(Operation::Write(bad.clone())), refused(Refusal::NotFound));
    store.create(1);
    let before = store.state.digest();
    assert_eq!(store.run(Operation::Write(bad.clone())), refused(Refusal::VersionConflict { current: 1 }));
    bad.if_version = Some(1);
    let timeout = store.run(Operation::Write(bad.clone()));
    assert!(matches!(timeout, Outcome::Refused(Refusal::TimeoutOutOfRange { .. })), "{timeout:?}");
    bad.timeouts = Timeouts::default();
    let refusal = Refusal::TooManyAttributes { count: 300, max: 256 };
    assert_eq!(store.run(Operation::Write(bad)), refused(refusal));
    assert_eq!(store.state.digest(), before);
}

#[test]
fn if_version_lets_one_of_two_writers_win() {
    let mut store = Store::new();
    store.create(1);
    let mut first = write(1, patch(&[("a", "x")], &[]));
    first.if_version = Some(1);
    assert_eq!(store.run(Operation::Write(first.clone())), written(2));
    assert_eq!(store.run(Operation::Write(first)), refused(Refusal::VersionConflict { current: 2 }));
}

#[test]
fn touch_renews_and_tells_what_remains() {
    let mut store = Store::new();
    let mut given = create(1);
    given.timeouts = timeouts(30_000, 40_000);
    store.run(Operation::Create(given));
    assert_eq!(store.run(touch(1)), Outcome::Touched { remaining_ms: Some(30_000) });
    store.pass(15_000);
    assert_eq!(store.run(touch(1)), Outcome::Touched { remaining_ms: Some(25_000) });
    let session = store.get(1).unwrap();
    assert_eq!((session.last_touch.0, session.version), (START + 15_000, 1));
    assert_eq!(store.run(touch(2)), refused(Refusal::NotFound));
}

#[test]
fn delete_is_final_and_refuses_the_id_for_a_while() {
    let mut store = Store::new();
    store.create(1);
    assert_eq!(store.run(delete(1)), Outcome::Done);
    assert_eq!((store.state.live_sessions(), store.state.records()), (0, 1));
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
    assert_eq!(store.run(delete(1)), refused(Refusal::NotFound));
    assert_eq!(store.run(touch(1)), refused(Refusal::NotFound));
    assert_eq!(store.write(1, patch(&[("a", "late")], &[])), refused(Refusal::NotFound));
    assert_eq!(store.create(1), refused(Refusal::RecentlyEnded));
    store.pass(59_999);
    assert_eq!(store.create(1), refused(Refusal::RecentlyEnded));
    store.pass(1);
    assert_eq!(store.create(1), written(1));
    assert_eq!(store.run(delete(2)), refused(Refusal::NotFound));
}

#[test]
fn regenerate_moves_all_and_leaves_a_mark() {
    let mut store = Store::new();
    store.create(1);
    store.pass(3_000);
    let old = store.get(1).unwrap().clone();
    assert_eq!(store.run(regenerate(1, 2)), written(2));
    let new = store.get(2).unwrap();
    assert_eq!((new.version, new.last_touch.0, new.created), (2, START + 3_000, old.created));
    assert_eq!((&new.attributes, new.timeouts), (&old.attributes, old.timeouts));
    assert_eq!(store.get(1).unwrap_err(), Refusal::Renamed);
    for operation in
        [touch(1), delete(1), regenerate(1, 3), Operation::Write(write(1, AttributeChange::Keep))]
    {
        assert_eq!(store.run(operation), refused(Refusal::Renamed));
    }
    assert_eq!(store.create(1), refused(Refusal::RecentlyEnded));
    assert_eq!(store.state.live_sessions(), 1);
    store.pass(Limits::RENAMED_MS);
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
    assert_eq!(store.create(1), written(1));
}

#[test]
fn regenerate_needs_a_free_key() {
    let mut store = Store::new();
    store.create(1);
    store.create(2);
    store.create(3);
    store.run(delete(3));
    assert_eq!(store.run(regenerate(1, 1)), refused(Refusal::AlreadyExists));
    assert_eq!(store.run(regenerate(1, 2)), refused(Refusal::AlreadyExists));
    assert_eq!(store.run(regenerate(1, 3)), refused(Refusal::RecentlyEnded));
    assert_eq!(store.run(regenerate(4, 4)), refused(Refusal::NotFound));
    assert_eq!(store.get(1).unwrap().version, 1);
}

#[test]
fn announce_refuses_another_data_directory() {
    let mut store = Store::new();
    let mut announce = |member| store.apply(Command::Announce { node: 3, member });
    assert_eq!(announce(member(7)), Outcome::Done);
    let mut moved = member(7);
    moved.client_address = "10.0.0.3:7101".into();
    assert_eq!(announce(moved.clone()), Outcome::Done);
    assert_eq!(announce(member(8)), refused(Refusal::IncarnationMismatch { recorded: 7 }));
    assert_eq!(store.state.members().get(&3), Some(&moved));
    assert_eq!(store.state.members().len(), 1);
}

#[test]
fn the_apply_version_never_falls() {
    let mut store = Store::new();
    assert_eq!(store.state.apply_version(), 2);
    assert_eq!(store.apply(Command::RaiseApplyVersion { version: 2 }), Outcome::Done);
    let lower = store.apply(Command::RaiseApplyVersion { version: 1 });
    assert_eq!(lower, refused(Refusal::ApplyVersionLower { current: 2 }));
    assert!(State::supports(&Command::RaiseApplyVersion { version: 2 }));
    assert!(!State::supports(&Command::RaiseApplyVersion { version: 3 }));
    assert!(State::supports(&Command::Tick { wall_ms: 0 }));
}
