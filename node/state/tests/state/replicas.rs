//! Replicas: the same entries give the same state, whatever way each of them took.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_state::{
    ClientId, EventBlockId, Outcome, Proposal, Restore, Slot, State, encode_client, encode_events,
    encode_record,
};

use crate::base::{Replica, restored};
use crate::script::{Player, Step, steps, wide_steps};

/// All proposals of a script, in order. (What is reaped depends on the state, so one is needed to make them.)
fn proposals(start: (Player, Vec<Proposal>, Replica), steps: &[Step]) -> Vec<Proposal> {
    let (mut player, mut all, mut state) = start;
    for proposal in all.clone() {
        state.apply(proposal);
    }
    for step in steps {
        let played = player.play(step, &state);
        for proposal in played.clone() {
            state.apply(proposal);
        }
        all.extend(played);
    }
    all
}

fn apply_all(state: &mut Replica, proposals: &[Proposal]) -> Vec<Outcome> {
    proposals.iter().map(|proposal| state.apply(proposal.clone())).collect()
}

/// What a write-behind keeps: bytes by slot and by client.
#[derive(Default)]
struct Kept {
    header: Vec<u8>,
    records: BTreeMap<Slot, Vec<u8>>,
    clients: BTreeMap<ClientId, Vec<u8>>,
    events: BTreeMap<EventBlockId, Vec<u8>>,
}

impl Kept {
    fn write(&mut self, state: &mut State) {
        let changes = state.take_changes();
        let frozen = state.freeze();
        assert!(changes.slots.is_sorted_by(|a, b| a < b) && changes.clients.is_sorted_by(|a, b| a < b));
        self.header = frozen.header().encode();
        for slot in changes.slots {
            match frozen.record(slot) {
                Some((key, record)) => self.records.insert(slot, encode_record(key, record)),
                None => self.records.remove(&slot),
            };
        }
        for id in changes.clients {
            match frozen.client(id) {
                Some(client) => self.clients.insert(id, encode_client(id, client)),
                None => self.clients.remove(&id),
            };
        }
        for id in changes.events {
            match frozen.event_block(id) {
                Some(block) => self.events.insert(id, encode_events(id, block)),
                None => self.events.remove(&id),
            };
        }
    }

    fn restore(&self) -> State {
        let mut restore = Restore::new(&self.header).unwrap();
        for (slot, bytes) in &self.records {
            restore.insert_at(*slot, bytes).unwrap();
        }
        for bytes in self.clients.values() {
            restore.client(bytes).unwrap();
        }
        for bytes in self.events.values() {
            restore.events(bytes).unwrap();
        }
        restore.finish().unwrap()
    }
}

/// All that can be asked of two replicas at the same position.
fn assert_equal(one: &State, other: &State) {
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.freeze().header(), other.freeze().header());
    assert_eq!(one.records(), other.records());
    let records = |state: &State| -> BTreeMap<_, _> {
        state.freeze().records().map(|(_, key, record)| (key, record.clone())).collect()
    };
    assert_eq!(records(one), records(other));
    // An entry may reach more deadlines than it sorts out: what is left over is local, and gone from a restored replica.
    let sorted_out = |state: &State| state.next_due().is_none_or(|due| due > state.clocks().cluster);
    if sorted_out(one) && sorted_out(other) {
        let due = |state: &State| state.reapable(1_000).into_iter().collect::<BTreeSet<_>>();
        assert_eq!((due(one), one.live_sessions()), (due(other), other.live_sessions()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_entries_give_the_same_state(steps in steps(60)) {
        let proposals = proposals(Player::start(), &steps);
        // One replica reads what the other is handed.
        let decoded: Vec<_> = proposals.iter().map(|it| Proposal::decode(&it.encode()).unwrap()).collect();
        prop_assert_eq!(&decoded, &proposals);
        let (_, _, mut one) = Player::start();
        let (_, _, mut other) = Player::start();
        for (given, read) in proposals.iter().zip(decoded) {
            prop_assert_eq!(one.apply(given.clone()), other.apply(read));
            prop_assert_eq!(one.digest(), other.digest());
        }
        assert_equal(&one, &other);
    }

    #[test]
    fn a_restored_replica_goes_on_as_the_others(steps in steps(60), at in any::<prop::sample::Index>(), slots: bool) {
        goes_on_restored(&proposals(Player::start(), &steps), at, slots);
    }

    #[test]
    fn what_changed_is_all_that_changed(steps in steps(60), every in 1_usize..20, again in 0_usize..4) {
        changes_are_all(&proposals(Player::start(), &steps), every, again);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_replica_of_many_chunks_goes_on_as_the_others(
        steps in wide_steps(200),
        at in any::<prop::sample::Index>(),
        slots: bool,
    ) {
        goes_on_restored(&proposals(Player::start_wide(), &steps), at, slots);
    }

    #[test]
    fn what_changed_of_many_chunks_is_all_that_changed(
        steps in wide_steps(200),
        every in 30_usize..90,
        again in 6_usize..24,
    ) {
        changes_are_all(&proposals(Player::start_wide(), &steps), every, again);
    }
}

/// A replica is restored after some of the entries, and takes the rest as the one it was restored from.
fn goes_on_restored(proposals: &[Proposal], at: prop::sample::Index, slots: bool) {
    let (before, after) = proposals.split_at(at.index(proposals.len()));
    let (_, _, mut one) = Player::start();
    apply_all(&mut one, before);
    // Restoring checks the digest kept up by the entries against one computed from scratch.
    let mut other = one.restored(slots);
    assert_equal(&one, &other);
    assert!(other.take_changes().is_empty());
    assert_eq!(apply_all(&mut one, after), apply_all(&mut other, after));
    assert_equal(&one, &other);
    assert_equal(&one, &restored(&one.freeze(), slots));
}

/// What changed is written every so many entries, and must be all there is to a replica; once it is restored from it.
fn changes_are_all(proposals: &[Proposal], every: usize, again: usize) {
    let (_, _, mut state) = Player::start();
    let mut kept = Kept::default();
    for (number, some) in proposals.chunks(every).enumerate() {
        apply_all(&mut state, some);
        kept.write(&mut state);
        assert_equal(&state, &kept.restore());
        if number == again {
            // A node restarts: what is kept must fit the slots that the restored state goes on with.
            state.state = kept.restore();
        }
    }
    assert!(state.take_changes().is_empty());
}
