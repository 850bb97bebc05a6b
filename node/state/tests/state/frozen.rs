//! Views that do not change while the state goes on.

use proptest::prelude::*;
use quorate_state::{
    ClientId, EventBlockId, Frozen, Operation, Proposal, Slot, encode_client, encode_events, encode_record,
};

use crate::base::{Replica, Store, create, delete, key, patch, restored};
use crate::script::{Player, Step, steps, wide_steps};

/// All that a view shows, as bytes.
type Shown = (Vec<u8>, Vec<(Slot, Vec<u8>)>, Vec<(ClientId, Vec<u8>)>, Vec<(EventBlockId, Vec<u8>)>);

fn shown(frozen: &Frozen) -> Shown {
    let records = frozen.records().map(|(slot, key, record)| (slot, encode_record(key, record)));
    let clients = frozen.clients().map(|(id, client)| (id, encode_client(id, client)));
    let events = frozen.event_blocks().map(|(id, block)| (id, encode_events(id, block)));
    (frozen.header().encode(), records.collect(), clients.collect(), events.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_view_does_not_change(steps in steps(60)) {
        views_do_not_change(Player::start(), &steps, 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_view_of_many_chunks_does_not_change(steps in wide_steps(120)) {
        views_do_not_change(Player::start_wide(), &steps, 20);
    }
}

/// Plays a script, and takes a view every so many steps.
fn views_do_not_change(start: (Player, Vec<Proposal>, Replica), steps: &[Step], every: usize) {
    let (mut player, opening, mut state) = start;
    for proposal in opening {
        state.apply(proposal);
    }
    let mut views: Vec<(Frozen, Shown)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        for proposal in player.play(step, &state) {
            state.apply(proposal);
        }
        if number % every == 0 {
            let frozen = state.freeze();
            assert_eq!(frozen.digest(), state.digest());
            let bytes = shown(&frozen);
            views.push((frozen, bytes));
        }
    }
    for (frozen, bytes) in views {
        assert!(shown(&frozen.clone()) == bytes, "a view changed");
        assert_eq!(restored(&frozen, true).digest(), frozen.digest());
    }
}

#[test]
fn a_view_can_be_read_on_another_thread_and_by_slot() {
    fn is_shareable<T: Send + Sync + Clone + 'static>(_: &T) {}
    let mut store = Store::new();
    for number in 0..200 {
        store.create(number);
    }
    store.run(delete(7));
    let frozen = store.state.freeze();
    is_shareable(&frozen);
    assert_eq!((frozen.len(), frozen.is_empty()), (200, false));
    for (slot, key, record) in frozen.records() {
        assert_eq!(frozen.record(slot), Some((key, record)));
        assert!(slot < frozen.slots_end());
    }
    assert!(frozen.record(200).is_none() && frozen.record(u64::MAX).is_none());
    assert!(frozen.client(1).is_none());
}

#[test]
fn freed_slots_are_used_again() {
    let mut store = Store::new();
    for round in 0..20 {
        for number in 0..100 {
            let mut given = create(number);
            given.timeouts.absolute_ms = Some(1_000);
            store.run(Operation::Create(given));
        }
        store.pass(1_000);
        let keys = store.state.reapable(1_000);
        assert_eq!(keys.len(), 100, "round {round}");
        store.apply(quorate_state::Command::Reap { keys });
        assert!(store.state.freeze().is_empty());
    }
    store.create(1);
    let frozen = store.state.freeze();
    assert!(frozen.records().all(|(slot, at, _)| slot < 100 && at == key(1)));
}

#[test]
fn a_touch_shares_the_attributes_and_a_patch_does_not_write_into_a_view() {
    let mut store = Store::new();
    store.create(1);
    let before = store.get(1).unwrap().attributes.clone();
    store.pass(1_000);
    store.run(crate::base::touch(1));
    assert!(std::sync::Arc::ptr_eq(&before, &store.get(1).unwrap().attributes));
    store.write(1, patch(&[("a", "new")], &[]));
    assert_eq!(before["a"], "1".as_bytes());
}
