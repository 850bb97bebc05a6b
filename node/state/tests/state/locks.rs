//! The lock: leases, fences, the line.

use quorate_state::{
    AttributeChange, Command, Limits, LockSession, Operation, Outcome, Refusal, RegenerateSession, Turn,
    WriteSession,
};

use crate::base::{Store, create, delete, key, lock, patch, refused, revoke, waiter, write, written};

fn locked(fence: u64) -> Outcome {
    Outcome::Locked { fence, remaining_ms: 10_000 }
}

fn queued(fence: u64) -> Outcome {
    Outcome::Queued { fence }
}

fn take(store: &mut Store, wait_ms: u64) -> Outcome {
    store.run(Operation::Lock(lock(1, wait_ms)))
}

fn renew(fence: u64) -> Operation {
    Operation::Lock(LockSession { fence: Some(fence), ..lock(1, 0) })
}

fn claim(store: &mut Store, fence: u64) -> Outcome {
    store.apply(Command::ClaimLock(waiter(1, fence)))
}

fn unlock(store: &mut Store, fence: u64) -> Outcome {
    store.run(Operation::Unlock(waiter(1, fence)))
}

fn fenced(fence: u64, release: bool) -> WriteSession {
    WriteSession { fence: Some(fence), release, ..write(1, patch(&[("a", "x")], &[])) }
}

fn turn(store: &Store, fence: u64) -> Turn {
    store.get(1).unwrap().turn_at(fence, store.state.clocks().cluster)
}

/// A store with session 1, locked by fence 1.
fn store() -> Store {
    let mut store = Store::new();
    store.create(1);
    assert_eq!(take(&mut store, 0), locked(1));
    store
}

#[test]
fn a_held_lock_is_refused_with_its_age_and_what_remains() {
    let mut store = store();
    store.pass(3_000);
    let held = Refusal::Locked { age_ms: 3_000, remaining_ms: 7_000 };
    assert_eq!(take(&mut store, 0), refused(held.clone()));
    assert_eq!(store.write(1, patch(&[("a", "x")], &[])), refused(held.clone()));
    let moved = RegenerateSession { namespace: "default".into(), key: key(1), new_key: key(2), fence: None };
    assert_eq!(store.run(Operation::Regenerate(moved)), refused(held));
    let holder = store.get(1).unwrap().lock.clone().unwrap().holder;
    assert_eq!((&*holder.owner, holder.fence), ("here", 1));
}

#[test]
fn the_holder_writes_with_its_token_and_nobody_with_another() {
    let mut store = store();
    assert_eq!(store.run(Operation::Write(fenced(1, false))), written(2));
    for stale in [0, 2, u64::MAX] {
        assert_eq!(store.run(Operation::Write(fenced(stale, false))), refused(Refusal::StaleFence));
    }
    // A token is no use where nobody holds the lock.
    store.create(2);
    let other = WriteSession { key: key(2), ..fenced(1, false) };
    assert_eq!(store.run(Operation::Write(other)), refused(Refusal::StaleFence));
}

#[test]
fn a_lapsed_lease_frees_the_lock_and_its_late_holder_is_refused() {
    let mut store = store();
    store.pass(9_999);
    assert!(matches!(take(&mut store, 0), Outcome::Refused(Refusal::Locked { remaining_ms: 1, .. })));
    store.pass(1);
    // Nobody has taken it: it is lost all the same.
    assert_eq!(store.run(Operation::Write(fenced(1, false))), refused(Refusal::StaleFence));
    assert_eq!(store.run(renew(1)), refused(Refusal::StaleFence));
    assert_eq!(unlock(&mut store, 1), refused(Refusal::StaleFence));
    assert_eq!(store.write(1, patch(&[("a", "free")], &[])), written(2));
    assert_eq!(take(&mut store, 0), locked(2));
    assert_eq!(store.run(Operation::Write(fenced(1, false))), refused(Refusal::StaleFence));
    assert_eq!(store.run(Operation::Write(fenced(2, false))), written(3));
}

#[test]
fn locking_again_with_the_token_renews_the_lease() {
    let mut store = store();
    for _ in 0..5 {
        store.pass(8_000);
        assert_eq!(store.run(renew(1)), locked(1));
    }
    let longer = LockSession { fence: Some(1), lease_ms: 60_000, ..lock(1, 0) };
    assert_eq!(store.run(Operation::Lock(longer)), Outcome::Locked { fence: 1, remaining_ms: 60_000 });
    store.pass(59_999);
    assert_eq!(turn(&store, 1), Turn::Held { remaining_ms: 1 });
}

#[test]
fn fences_only_grow_over_sessions_and_restores() {
    let mut store = store();
    store.create(2);
    assert_eq!(store.run(Operation::Lock(lock(2, 0))), locked(2));
    assert_eq!(unlock(&mut store, 1), Outcome::Done);
    store.state = store.state.restored(true);
    assert_eq!(take(&mut store, 0), locked(3));
    store.run(delete(1));
    store.pass(60_000);
    store.create(1);
    assert_eq!(take(&mut store, 0), locked(4));
}

#[test]
fn waiters_are_served_first_come_first_served() {
    let mut store = store();
    let fences: Vec<u64> = (2..6).collect();
    for fence in &fences {
        assert_eq!(take(&mut store, 60_000), queued(*fence));
    }
    // A restored replica knows the same line.
    store.state = store.state.restored(false);
    let mut holder = 1;
    for fence in fences {
        assert_eq!(turn(&store, fence), Turn::Waiting);
        assert_eq!(claim(&mut store, fence), queued(fence), "not its turn yet");
        assert_eq!(unlock(&mut store, holder), Outcome::Done);
        assert_eq!(store.state.take_woken(), [fence]);
        assert_eq!(turn(&store, fence), Turn::Granted);
        // Who comes now stands behind those who wait.
        assert!(matches!(take(&mut store, 0), Outcome::Refused(Refusal::Locked { .. })));
        assert_eq!(claim(&mut store, fence), locked(fence));
        assert_eq!(claim(&mut store, fence), locked(fence), "asked again, it answers the same");
        holder = fence;
    }
    assert_eq!(unlock(&mut store, holder), Outcome::Done);
    assert!(store.get(1).unwrap().lock.is_none());
    assert_eq!(claim(&mut store, holder), refused(Refusal::WaitOver));
}

#[test]
fn a_grant_that_is_not_claimed_passes_on() {
    let mut store = store();
    assert_eq!((take(&mut store, 60_000), take(&mut store, 60_000)), (queued(2), queued(3)));
    unlock(&mut store, 1);
    assert_eq!(store.state.take_woken(), [2]);
    assert_eq!(store.run(Operation::Write(fenced(2, false))), refused(Refusal::StaleFence), "not claimed");
    store.pass(Limits::CLAIM_MS - 1);
    assert!(store.state.lapsed_locks(store.state.clocks().cluster, 10).is_empty());
    store.pass(1);
    assert_eq!(store.state.lapsed_locks(store.state.clocks().cluster, 10), [key(1)]);
    store.apply(Command::SettleLocks { keys: vec![key(1)] });
    assert_eq!(store.state.take_woken(), [3]);
    assert_eq!((turn(&store, 2), turn(&store, 3)), (Turn::Over, Turn::Granted));
    assert_eq!(claim(&mut store, 2), refused(Refusal::WaitOver));
    assert_eq!(claim(&mut store, 3), locked(3));
}

#[test]
fn a_lapsed_lock_goes_to_the_next_in_line() {
    let mut store = store();
    assert_eq!(store.state.next_lock_lapse(), None, "nobody waits");
    take(&mut store, 60_000);
    let lapses = store.state.next_lock_lapse().unwrap();
    assert_eq!(lapses.0, store.stamp + 10_000);
    store.pass(10_000);
    store.apply(Command::SettleLocks { keys: vec![key(1), key(9)] });
    assert_eq!(store.state.take_woken(), [2]);
    assert_eq!(claim(&mut store, 2), locked(2));
    assert_eq!(store.state.next_lock_lapse(), None);
}

#[test]
fn who_has_waited_long_enough_or_leaves_is_dropped() {
    let mut store = store();
    take(&mut store, 2_000);
    take(&mut store, 60_000);
    take(&mut store, 60_000);
    store.apply(Command::LeaveLine(waiter(1, 3)));
    store.pass(3_000);
    unlock(&mut store, 1);
    assert_eq!(store.state.take_woken(), [3, 4]);
    // One that leaves after its turn has come passes the lock on.
    store.apply(Command::LeaveLine(waiter(1, 4)));
    assert!(store.get(1).unwrap().lock.is_none());
    // The holder does not leave by that.
    assert_eq!(take(&mut store, 0), locked(5));
    store.apply(Command::LeaveLine(waiter(1, 5)));
    assert_eq!(turn(&store, 5), Turn::Held { remaining_ms: 10_000 });
}

#[test]
fn a_write_can_give_the_lock_back_in_the_same_entry() {
    let mut store = store();
    take(&mut store, 60_000);
    assert_eq!(store.run(Operation::Write(fenced(1, true))), written(2));
    assert_eq!(store.state.take_woken(), [2]);
    assert_eq!(claim(&mut store, 2), locked(2));
    // A refused one keeps it.
    let conflict = WriteSession { if_version: Some(9), ..fenced(2, true) };
    assert!(matches!(store.run(Operation::Write(conflict)), Outcome::Refused(_)));
    assert_eq!(turn(&store, 2), Turn::Held { remaining_ms: 10_000 });
    let only = WriteSession { change: AttributeChange::Keep, ..fenced(2, true) };
    assert_eq!(store.run(Operation::Write(only)), written(2), "nothing but the lock has changed");
    assert!(store.get(1).unwrap().lock.is_none());
}

#[test]
fn delete_and_revoke_win_over_a_lock_and_send_the_line_away() {
    let mut store = Store::new();
    let mut ann = create(1);
    ann.principal = "ann".into();
    store.run(Operation::Create(ann));
    take(&mut store, 0);
    take(&mut store, 60_000);
    assert_eq!(store.run(revoke("ann", None)), Outcome::Revoked { sessions: 1 });
    assert_eq!(unlock(&mut store, 1), refused(Refusal::NotFound));
    assert_eq!(claim(&mut store, 2), refused(Refusal::NotFound));
    let keys = store.state.reapable(10);
    store.apply(Command::Reap { keys });
    assert_eq!(store.state.take_woken(), [2]);

    store.pass(60_000);
    store.create(1);
    assert_eq!((take(&mut store, 0), take(&mut store, 60_000)), (locked(3), queued(4)));
    assert_eq!(store.run(delete(1)), Outcome::Done);
    assert_eq!(store.state.take_woken(), [4]);
    assert_eq!(store.run(Operation::Write(fenced(3, false))), refused(Refusal::NotFound));
}

#[test]
fn regenerate_takes_the_holder_along_and_sends_the_line_away() {
    let mut store = store();
    take(&mut store, 60_000);
    let mut moved =
        RegenerateSession { namespace: "default".into(), key: key(1), new_key: key(2), fence: Some(7) };
    assert_eq!(store.run(Operation::Regenerate(moved.clone())), refused(Refusal::StaleFence));
    moved.fence = Some(1);
    assert_eq!(store.run(Operation::Regenerate(moved)), written(2));
    assert_eq!(store.state.take_woken(), [2]);
    assert_eq!(claim(&mut store, 2), refused(Refusal::Renamed));
    let there = WriteSession { key: key(2), ..fenced(1, false) };
    assert_eq!(store.run(Operation::Write(there)), written(3));
    assert!(store.get(2).unwrap().lock.as_ref().unwrap().waiting.is_empty());
}

#[test]
fn an_administrator_breaks_a_lock() {
    let mut store = store();
    take(&mut store, 60_000);
    let break_lock = || Operation::BreakLock { namespace: "default".into(), key: key(1) };
    assert_eq!(store.run(break_lock()), Outcome::Done);
    assert_eq!(store.state.take_woken(), [2]);
    assert_eq!(store.run(Operation::Write(fenced(1, false))), refused(Refusal::StaleFence));
    assert_eq!(store.run(break_lock()), Outcome::Done);
    assert_eq!(store.state.take_woken(), [] as [u64; 0]);
    assert_eq!(claim(&mut store, 2), locked(2), "whose turn has come keeps it");
    assert_eq!(store.run(break_lock()), Outcome::Done);
    assert_eq!(store.run(break_lock()), refused(Refusal::NotLocked));
}

/// It has gone on to the next in line already, who has done nothing for which the lock would have to be broken.
#[test]
fn breaking_a_lapsed_lock_takes_the_turn_from_nobody() {
    let mut store = store();
    (2..4).for_each(|fence| assert_eq!(take(&mut store, 60_000), queued(fence)));
    store.pass(10_000);
    let broken = Operation::BreakLock { namespace: "default".into(), key: key(1) };
    assert_eq!(store.run(broken), Outcome::Done);
    assert_eq!(store.state.take_woken(), [2]);
    assert_eq!((turn(&store, 2), turn(&store, 3)), (Turn::Granted, Turn::Waiting));
}

/// A call that was sent again may have begun to listen under this token.
#[test]
fn who_waits_under_a_token_that_leaves_is_told() {
    let mut store = store();
    assert_eq!(take(&mut store, 60_000), queued(2));
    store.apply(Command::LeaveLine(waiter(1, 2)));
    assert_eq!(store.state.take_woken(), [2]);
    assert_eq!(turn(&store, 2), Turn::Over);
}

/// Also where a lapsed lock was settled to see that: what is refused changes nothing.
#[test]
fn a_refused_operation_leaves_a_lapsed_lock_as_it_was() {
    let mut store = store();
    assert_eq!(take(&mut store, 60_000), queued(2));
    store.pass(10_000);
    let before = store.get(1).unwrap().lock.clone();
    assert!(matches!(take(&mut store, 0), Outcome::Refused(Refusal::Locked { .. })));
    assert_eq!(unlock(&mut store, 1), refused(Refusal::StaleFence));
    assert_eq!(claim(&mut store, 9), refused(Refusal::WaitOver));
    assert_eq!(store.run(renew(1)), refused(Refusal::StaleFence));
    assert_eq!(store.run(Operation::Write(fenced(1, true))), refused(Refusal::StaleFence));
    assert_eq!(store.get(1).unwrap().lock, before);
    assert_eq!(store.state.take_woken(), [] as [u64; 0]);
}

#[test]
fn a_retry_of_a_waiting_lock_keeps_its_place() {
    let mut store = store();
    store.apply(Command::OpenClient { client: 7 });
    let first = Operation::Lock(lock(1, 60_000));
    assert_eq!(store.request((7, 1, 1), first.clone()), queued(2));
    assert_eq!(store.request((7, 2, 1), first.clone()), queued(3));
    assert_eq!(store.request((7, 1, 1), first), queued(2));
    assert_eq!(store.get(1).unwrap().lock.as_ref().unwrap().waiting.len(), 2);
}

#[test]
fn the_line_is_bounded() {
    let mut store = store();
    for _ in 0..Limits::WAITERS_MAX {
        assert!(matches!(take(&mut store, 5_000), Outcome::Queued { .. }));
    }
    let full = refused(Refusal::TooManyWaiters { max: Limits::WAITERS_MAX as u64 });
    for _ in 0..100 {
        assert_eq!(take(&mut store, 5_000), full);
    }
    // Those who have waited long enough are in nobody's way.
    store.pass(5_000);
    assert!(matches!(take(&mut store, 5_000), Outcome::Queued { .. }));
    assert_eq!(store.get(1).unwrap().lock.as_ref().unwrap().waiting.len(), 1);
}

/// What one touch costs: the least of many rounds, so that other work on the machine does not count.
#[expect(clippy::disallowed_types, reason = "compares work; the state sees no clock of the machine")]
fn cost_of_a_touch(store: &mut Store) -> std::time::Duration {
    let mut round = || {
        let began = std::time::Instant::now();
        store.run(crate::base::touch(1));
        began.elapsed()
    };
    (0..100).map(|_| round()).min().unwrap()
}

#[test]
fn what_a_touch_costs_does_not_grow_with_the_line() {
    let mut store = store();
    let free = cost_of_a_touch(&mut store);
    for _ in 0..1_000 {
        take(&mut store, 60_000);
    }
    let waited_for = cost_of_a_touch(&mut store);
    assert!(waited_for < free * 20, "{waited_for:?} with a line, {free:?} without");
}
