//! Clocks, deadlines and reaping.

use quorate_state::{
    ADVANCE_MS_MAX, AttributeChange, Clocks, ClusterTime, Command, Limits, Operation, Outcome, Proposal,
    Refusal, ServedTime, State,
};

use crate::base::{START, Store, create, delete, key, refused, regenerate, timeouts, touch, write, written};

fn clocks(cluster: u64, served: u64) -> Clocks {
    Clocks { cluster: ClusterTime(cluster), served: ServedTime(served) }
}

fn store_with(idle_ms: Option<u64>, absolute_ms: Option<u64>) -> Store {
    let mut store = Store::new();
    let mut given = create(1);
    given.timeouts = timeouts(idle_ms, absolute_ms);
    assert_eq!(store.run(Operation::Create(given)), written(1));
    store
}

#[test]
fn clocks_start_at_the_first_stamp_and_never_go_back() {
    let started = Clocks::default().advanced_to(ClusterTime(START));
    assert_eq!(started, clocks(START, START));
    assert_eq!(started.advanced_to(ClusterTime(START - 5)), started);
    assert_eq!(started.advanced_to(ClusterTime(START + 5_000)), clocks(START + 5_000, START + 5_000));
}

#[test]
fn an_outage_is_not_served_and_a_jump_is_cut_short() {
    let started = clocks(START, START);
    assert_eq!(started.advanced_to(ClusterTime(START + 5_001)), clocks(START + 5_001, START));
    assert_eq!(started.advanced_to(ClusterTime(u64::MAX)), clocks(START + ADVANCE_MS_MAX, START));
    let last = clocks(u64::MAX - 1, 5);
    assert_eq!(last.advanced_to(ClusterTime(u64::MAX)), clocks(u64::MAX, 6));
}

#[test]
fn idle_expiry_is_not_early_and_not_late() {
    // 30 s idle, and a granule of 1.5 s.
    let mut store = store_with(Some(30_000), None);
    store.pass(31_499);
    assert!(store.get(1).is_ok());
    assert_eq!(store.run(touch(1)), Outcome::Touched { remaining_ms: Some(30_000) });
    store.pass(31_499);
    assert_eq!(store.get(1).unwrap().remaining_ms(store.state.clocks()), Some(0));
    store.pass(1);
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
    assert_eq!(store.run(touch(1)), refused(Refusal::NotFound));
    assert_eq!(store.state.live_sessions(), 0);
}

#[test]
fn absolute_expiry_comes_however_busy() {
    let mut store = store_with(Some(30_000), Some(60_000));
    for _ in 0..59 {
        store.pass(1_000);
        assert!(matches!(store.run(touch(1)), Outcome::Touched { .. }));
    }
    store.pass(999);
    assert!(store.get(1).is_ok());
    store.pass(1);
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
}

#[test]
fn an_outage_costs_no_idle_time_but_absolute_time() {
    let mut store = store_with(Some(10_000), Some(100_000));
    store.stamp += 60_000;
    store.tick();
    assert_eq!(store.get(1).unwrap().remaining_ms(store.state.clocks()), Some(10_000));
    store.stamp += 39_999;
    store.tick();
    assert!(store.get(1).is_ok());
    store.stamp += 1;
    store.tick();
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
}

#[test]
fn a_reader_ahead_of_the_state_sees_the_expiry() {
    let store = store_with(Some(10_000), None);
    let ahead = |ms| {
        store.state.lookup("default", &key(1), clocks(START + ms, START + ms)).map(|session| session.version)
    };
    assert_eq!(ahead(10_999), Ok(1));
    assert_eq!(ahead(11_000), Err(Refusal::NotFound));
}

#[test]
fn the_entry_that_brings_the_deadline_finds_it_expired() {
    let mut store = store_with(Some(3_000), None);
    store.stamp += 4_000;
    assert_eq!(store.run(touch(1)), refused(Refusal::NotFound));
}

#[test]
fn an_expired_session_is_in_nobodys_way() {
    let mut store = store_with(Some(3_000), None);
    store.create(2);
    store.pass(5_000);
    assert_eq!((store.state.records(), store.state.live_sessions()), (2, 1));
    assert_eq!(store.run(regenerate(2, 1)), written(2));
    assert_eq!((store.state.records(), store.state.live_sessions()), (2, 1));
    assert!(store.state.reapable(10).is_empty(), "what was expired has been replaced");
}

#[test]
fn a_session_without_timeouts_needs_no_touch() {
    let mut store = store_with(Some(2_000), None);
    let session = store.get(1).unwrap().clone();
    assert!(!session.needs_touch(clocks(START + 500, START + 500)));
    assert!(session.needs_touch(clocks(START + 501, START + 501)));
    let mut endless = session;
    endless.idle_ms = None;
    endless.timeouts = timeouts(None, None);
    assert!(!endless.needs_touch(clocks(u64::MAX, u64::MAX)));
    assert!(!endless.is_expired(clocks(u64::MAX, u64::MAX)));
    assert_eq!(endless.remaining_ms(clocks(START, START)), None);
    // A timeout that no clock reaches must not overflow.
    endless.idle_ms = Some(u64::MAX);
    endless.timeouts = timeouts(u64::MAX, u64::MAX);
    assert_eq!(endless.remaining_ms(clocks(START, START)), Some(u64::MAX - START));
    store.tick();
}

#[test]
fn reap_takes_what_is_due_and_nothing_else() {
    let mut store = store_with(Some(2_000), None);
    store.create(2);
    store.create(3);
    store.run(delete(3));
    store.pass(3_000);
    assert_eq!(store.state.reapable(10), [key(1)]);
    let keys = vec![key(1), key(2), key(3), key(4)];
    assert_eq!(store.apply(Command::Reap { keys: keys.clone() }), Outcome::Done);
    assert_eq!((store.state.records(), store.state.live_sessions()), (2, 1));
    assert!(store.state.reapable(10).is_empty());
    store.pass(60_000);
    assert_eq!(store.state.reapable(10), [key(3)]);
    assert_eq!(store.state.reapable(0), []);
    store.apply(Command::Reap { keys });
    assert_eq!(store.state.records(), 1);
    assert!(store.get(2).is_ok());
}

#[test]
fn one_reap_looks_at_so_many_keys_and_no_more() {
    let mut store = store_with(Some(2_000), None);
    store.pass(3_000);
    let mut keys = vec![key(9); Limits::REAP_MAX];
    keys.push(key(1));
    store.apply(Command::Reap { keys });
    assert_eq!(store.state.records(), 1);
}

#[test]
fn next_due_is_never_late() {
    let mut store = Store::new();
    assert_eq!(store.state.next_due(), None);
    store.create(1);
    let due = START + 20 * 60_000 + 60_000;
    assert_eq!(store.state.next_due(), Some(ClusterTime(due)));
    let mut shorter = write(1, AttributeChange::Keep);
    shorter.timeouts = timeouts(10_000, None);
    store.run(Operation::Write(shorter));
    assert_eq!(store.state.next_due(), Some(ClusterTime(START + 11_000)));
    store.pass(10_000);
    store.run(touch(1));
    assert_eq!(store.state.next_due(), Some(ClusterTime(START + 11_000)), "a touch does not move it");
    store.pass(1_000);
    assert_eq!(store.state.next_due(), Some(ClusterTime(START + 21_000)), "but reaching it does");
    store.run(delete(1));
    assert_eq!(store.state.next_due(), Some(ClusterTime(START + 71_000)));
    store.pass(60_000);
    assert_eq!(store.state.next_due(), None);
    assert_eq!(store.state.reapable(10), [key(1)]);
}

#[test]
fn a_time_jump_is_an_outage_however_short_or_long() {
    let mut store = store_with(Some(10_000), Some(100_000));
    store.apply(Command::Tick { wall_ms: 5_000_000 });
    for by_ms in [1_000, 98_999] {
        assert_eq!(store.apply(Command::TimeJump { by_ms }), Outcome::Done);
        store.stamp += by_ms;
        assert_eq!(store.state.clocks(), clocks(store.stamp, START));
    }
    // Longer than a stamp may advance, and not served: the idle timeout is where it was.
    assert_eq!(store.get(1).unwrap().remaining_ms(store.state.clocks()), Some(1));
    assert_eq!(store.state.last_tick_wall_ms(), 5_099_999, "the next leader must not count it again");
    assert_eq!(store.apply(Command::TimeJump { by_ms: 1 }), Outcome::Done);
    assert_eq!(store.get(1).unwrap_err(), Refusal::NotFound);
    assert_eq!(store.state.reapable(10), [key(1)], "at once, not with the next entry");
}

#[test]
fn a_time_jump_beyond_the_end_of_time_ends_there() {
    let mut store = store_with(Some(10_000), Some(100_000));
    store.apply(Command::OpenClient { client: 7 });
    store.apply(Command::TimeJump { by_ms: u64::MAX });
    store.apply(Command::TimeJump { by_ms: 1 });
    assert_eq!(store.state.clocks(), clocks(u64::MAX, START));
    assert_eq!(store.state.last_tick_wall_ms(), u64::MAX);
    assert_eq!((store.get(1).unwrap_err(), store.state.clients()), (Refusal::NotFound, 0));
    // It all still works: what is made then has no absolute deadline that comes.
    assert_eq!(store.create(2), written(1));
    assert_eq!(store.run(delete(2)), Outcome::Done);
    assert_eq!(store.create(3), written(1));
    store.stamp = u64::MAX;
    store.tick();
    assert!(store.get(3).is_ok());
}

#[test]
fn a_time_jump_is_written_as_ever() {
    let proposal = Proposal { stamp: ClusterTime(START), command: Command::TimeJump { by_ms: 3_600_000 } };
    assert_eq!(hex::encode(proposal.encode()), "0280d095ffbc310980dddb01");
    assert_eq!(Proposal::decode(&proposal.encode()).unwrap(), proposal);
    assert!(State::supports(&proposal.command));
}

#[test]
fn a_mass_expiry_is_sorted_out_a_few_hundred_at_a_time() {
    let mut store = Store::new();
    for number in 0..10_000_u128 {
        let mut given = create(0);
        given.key.0 = number.to_le_bytes();
        given.timeouts = timeouts(2_000, None);
        store.run(Operation::Create(given));
    }
    store.stamp += 3_000;
    store.tick();
    assert_eq!(store.state.reapable(20_000).len(), 512);
    // All are gone at once, sorted out or not.
    let last = quorate_state::SessionKey(9_999_u128.to_le_bytes());
    assert_eq!(store.state.lookup("default", &last, store.state.clocks()), Err(Refusal::NotFound));
    store.run(touch(9));
    assert_eq!(store.state.reapable(20_000).len(), 512 + 4, "a client's entry does little of it");
    for _ in 0..19 {
        store.tick();
    }
    assert_eq!((store.state.reapable(20_000).len(), store.state.live_sessions()), (10_000, 0));
    for _ in 0..10 {
        let keys = store.state.reapable(Limits::REAP_MAX);
        store.apply(Command::Reap { keys });
    }
    assert_eq!((store.state.records(), store.state.next_due()), (0, None));
}
