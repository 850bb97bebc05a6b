use Operation::{Break, Create, Delete, Get, Lock, Regenerate, Renew, Touch, Unlock};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::linearizable::history::{History, Record};
use crate::linearizable::operation::{Key, Operation};
use crate::linearizable::outcome::{Outcome, Seen};

const ENOUGH: usize = 1_000_000;

/// A call with these times, in milliseconds. Operations are numbered as they are listed, from 1.
type Call = (u64, u64, Operation, Outcome);

fn history(calls: &[Call]) -> History {
    let ms = Duration::from_millis;
    let records = (1..).zip(calls).map(|(number, (call, back, operation, outcome))| Record {
        number,
        client: 1,
        call: ms(*call),
        back: ms(*back),
        operation: *operation,
        outcome: *outcome,
    });
    History { records: records.collect(), absolute_timeout: None }
}

fn judge(calls: &[Call]) -> Verdict {
    check(&history(calls).entries(), ENOUGH)
}

#[track_caller]
fn legal(calls: &[Call]) {
    let verdict = judge(calls);
    assert!(matches!(verdict, Verdict::Legal { .. }), "{verdict:?}\n{}", history(calls));
}

#[track_caller]
fn illegal(calls: &[Call]) {
    let verdict = judge(calls);
    assert!(matches!(verdict, Verdict::Illegal(_)), "{verdict:?}\n{}", history(calls));
}

fn write(if_version: Option<u64>) -> Operation {
    Operation::Write { key: 0, if_version, holder: None, release: false }
}

fn fenced(holder: Number, release: bool) -> Operation {
    Operation::Write { key: 0, if_version: None, holder: Some(holder), release }
}

fn found(version: u64, value: Number) -> Outcome {
    Outcome::Found(Seen { version, value, holder: None })
}

fn locked(version: u64, value: Number, holder: Number) -> Outcome {
    Outcome::Found(Seen { version, value, holder: Some(holder) })
}

const GET: Operation = Get { key: 0 };
const LOCK: Operation = Lock { key: 0 };
const GONE: Outcome = Outcome::Missing { renamed: false };
const RENAMED: Outcome = Outcome::Missing { renamed: true };
/// It is there from 10 ms on.
const CREATED: Call = (0, 10, Create, Outcome::Written(1));

#[test]
fn a_history_in_order_is_legal() {
    legal(&[
        (0, 1, GET, GONE),
        (2, 3, Create, Outcome::Written(1)),
        (4, 5, Create, Outcome::Taken { ended: false }),
        (6, 7, GET, found(1, 2)),
        (8, 9, write(None), Outcome::Written(2)),
        (10, 11, write(Some(1)), Outcome::Conflict(2)),
        (12, 13, Touch { key: 0 }, Outcome::Done),
        (14, 15, LOCK, Outcome::Locked(7)),
        (16, 17, write(None), Outcome::InTheWay),
        (18, 19, Renew { key: 0, holder: 8 }, Outcome::Done),
        (20, 21, fenced(8, false), Outcome::Written(3)),
        (22, 23, Regenerate { from: 0, to: 1, holder: Some(8) }, Outcome::Written(4)),
        (24, 25, GET, RENAMED),
        (26, 27, Get { key: 1 }, locked(4, 11, 8)),
        (28, 29, Unlock { key: 1, holder: 8 }, Outcome::Done),
        (30, 31, Unlock { key: 1, holder: 8 }, Outcome::NotHolder),
        (32, 33, Break { key: 1 }, Outcome::NotLocked),
        (34, 35, Delete { key: 1 }, Outcome::Done),
        (36, 37, Get { key: 1 }, GONE),
        (38, 39, Create, Outcome::Taken { ended: true }),
    ]);
    legal(&[]);
}

#[test]
fn calls_at_the_same_time_may_take_effect_in_any_order() {
    legal(&[
        CREATED,
        (20, 90, write(None), Outcome::Written(3)),
        (20, 90, write(None), Outcome::Written(2)),
        (30, 40, GET, found(2, 3)),
        (50, 60, GET, found(3, 2)),
    ]);
}

#[test]
fn a_stale_read_after_an_acknowledged_write_is_illegal() {
    let stale = [CREATED, (20, 30, write(None), Outcome::Written(2)), (31, 40, GET, found(1, 1))];
    illegal(&stale);
    let Verdict::Illegal(dead) = judge(&stale) else { panic!("just seen") };
    assert_eq!((dead.placed, dead.stuck), (vec![1, 2], vec![3]));
    // Begun before the write was acknowledged, it may come before it.
    legal(&[CREATED, (20, 30, write(None), Outcome::Written(2)), (29, 40, GET, found(1, 1))]);
}

#[test]
fn a_read_that_goes_back_is_illegal() {
    illegal(&[
        CREATED,
        (20, 90, write(None), Outcome::Written(2)),
        (30, 40, GET, found(2, 2)),
        (50, 60, GET, found(1, 1)),
    ]);
}

#[test]
fn a_lost_write_is_illegal() {
    illegal(&[
        CREATED,
        (20, 30, write(None), Outcome::Written(2)),
        (40, 50, write(None), Outcome::Written(2)),
        (60, 70, GET, found(2, 3)),
    ]);
}

#[test]
fn a_write_that_is_done_twice_is_illegal() {
    illegal(&[CREATED, (20, 30, write(None), Outcome::Written(2)), (40, 50, GET, found(3, 2))]);
    // A retry of a write on a condition that meets a conflict with itself.
    illegal(&[
        CREATED,
        (20, 60, write(Some(1)), Outcome::Conflict(2)),
        (30, 40, GET, found(2, 2)),
        (70, 80, GET, found(2, 2)),
    ]);
    // Two writers who both win.
    illegal(&[
        CREATED,
        (20, 60, write(Some(1)), Outcome::Written(2)),
        (20, 60, write(Some(1)), Outcome::Written(2)),
    ]);
}

#[test]
fn a_session_revived_after_its_deletion_is_illegal() {
    let deleted: Call = (20, 30, Delete { key: 0 }, Outcome::Done);
    illegal(&[CREATED, deleted, (40, 50, GET, found(1, 1))]);
    illegal(&[CREATED, deleted, (40, 50, write(None), Outcome::Written(2))]);
    illegal(&[CREATED, deleted, (40, 50, Create, Outcome::Written(1))]);
    // By a write of which nobody knows what became.
    illegal(&[CREATED, (12, 15, write(None), Outcome::Unknown), deleted, (40, 50, GET, found(2, 2))]);
    // An outage that looks like a logout.
    illegal(&[CREATED, (20, 30, GET, GONE), (40, 50, GET, found(1, 1))]);
}

#[test]
fn two_lock_holders_are_illegal() {
    let (first, second): (Call, Call) =
        ((20, 30, LOCK, Outcome::Locked(1)), (40, 50, LOCK, Outcome::Locked(2)));
    illegal(&[CREATED, first, second]);
    illegal(&[CREATED, (20, 60, LOCK, Outcome::Locked(1)), (20, 60, LOCK, Outcome::Locked(2))]);
    legal(&[CREATED, first, (32, 38, Unlock { key: 0, holder: 2 }, Outcome::Done), second]);
    legal(&[CREATED, first, (32, 38, Break { key: 0 }, Outcome::Unknown), second]);
    // A token that falls.
    illegal(&[
        CREATED,
        (20, 30, LOCK, Outcome::Locked(2)),
        (32, 38, Unlock { key: 0, holder: 2 }, Outcome::Done),
        (40, 50, LOCK, Outcome::Locked(1)),
    ]);
}

#[test]
fn a_write_under_a_lock_that_was_lost_is_illegal() {
    let taken: Call = (20, 30, LOCK, Outcome::Locked(1));
    let broken: Call = (40, 50, Break { key: 0 }, Outcome::Done);
    illegal(&[CREATED, taken, broken, (60, 70, fenced(2, false), Outcome::Written(2))]);
    legal(&[CREATED, taken, broken, (60, 70, fenced(2, false), Outcome::NotHolder)]);
    illegal(&[CREATED, taken, (60, 70, write(None), Outcome::Written(2))]);
    legal(&[
        CREATED,
        taken,
        (40, 50, fenced(2, true), Outcome::Written(2)),
        (60, 70, write(None), Outcome::Written(3)),
    ]);
    illegal(&[
        CREATED,
        taken,
        (40, 50, fenced(2, true), Outcome::Written(2)),
        (60, 70, GET, locked(2, 3, 2)),
    ]);
}

#[test]
fn an_unknown_write_may_come_late_or_never_but_stays_once_seen() {
    let unknown: Call = (20, 30, write(None), Outcome::Unknown);
    let (with, without) = (found(2, 2), found(1, 1));
    legal(&[CREATED, unknown, (40, 50, GET, without), (60, 70, GET, without)]);
    legal(&[CREATED, unknown, (40, 50, GET, with), (60, 70, GET, with)]);
    legal(&[CREATED, unknown, (40, 50, GET, without), (60, 70, GET, with)]);
    illegal(&[CREATED, unknown, (40, 50, GET, with), (60, 70, GET, without)]);
    // Seen, gone, and seen again.
    illegal(&[CREATED, unknown, (40, 50, GET, with), (60, 70, GET, without), (80, 90, GET, with)]);
    // Before it was asked for.
    illegal(&[CREATED, (12, 15, GET, with), unknown]);
    // Only if its condition held.
    illegal(&[CREATED, (20, 30, write(Some(7)), Outcome::Unknown), (40, 50, GET, with)]);
}

#[test]
fn unknown_outcomes_of_everything_are_tried() {
    legal(&[(0, 9, Create, Outcome::Unknown), (10, 20, GET, found(1, 1))]);
    legal(&[(0, 9, Create, Outcome::Unknown), (10, 20, GET, GONE)]);
    legal(&[CREATED, (12, 15, LOCK, Outcome::Unknown), (20, 30, GET, locked(1, 1, 2))]);
    legal(&[
        CREATED,
        (12, 15, Regenerate { from: 0, to: 1, holder: None }, Outcome::Unknown),
        (20, 30, GET, found(1, 1)),
        (40, 50, Get { key: 1 }, found(2, 1)),
        (60, 70, GET, RENAMED),
    ]);
    illegal(&[
        CREATED,
        (12, 15, Regenerate { from: 0, to: 1, holder: None }, Outcome::Unknown),
        (40, 50, Get { key: 1 }, found(2, 1)),
        (60, 70, GET, found(2, 1)),
    ]);
    legal(&[CREATED, (12, 15, Delete { key: 0 }, Outcome::Unknown), (20, 30, GET, GONE)]);
}

/// A lock is answered by how it stands then: what was taken may be lost by the time of the answer.
#[test]
fn a_lock_whose_caller_has_gone_may_be_given_back_once() {
    let gone: Call = (12, 15, LOCK, Outcome::Unknown);
    let (held, free) = ((20, 30, GET, locked(1, 1, 2)), (40, 50, GET, found(1, 1)));
    legal(&[CREATED, gone, held, free, (60, 70, write(None), Outcome::Written(2))]);
    legal(&[CREATED, gone, free, (60, 70, LOCK, Outcome::Locked(9))]);
    illegal(&[CREATED, gone, held, free, (60, 70, GET, locked(1, 1, 2))]);
    // One that was answered is its caller's to give back.
    illegal(&[CREATED, (12, 15, LOCK, Outcome::Locked(7)), held, free]);
}

#[test]
fn a_lock_may_be_taken_and_lost_before_its_refusal_but_no_later() {
    let broken: Call = (30, 40, Break { key: 0 }, Outcome::Done);
    legal(&[CREATED, (20, 50, LOCK, Outcome::NotHolder), broken, (60, 70, GET, found(1, 1))]);
    illegal(&[CREATED, (20, 50, LOCK, Outcome::NotHolder), (60, 70, GET, found(1, 1))]);
    let deleted: Call = (30, 40, Delete { key: 0 }, Outcome::Done);
    legal(&[CREATED, (20, 50, LOCK, GONE), (22, 25, GET, locked(1, 1, 2)), deleted]);
    legal(&[CREATED, (20, 50, LOCK, GONE), (22, 25, GET, found(1, 1)), deleted]);
    illegal(&[CREATED, (12, 15, LOCK, Outcome::InTheWay), (20, 30, GET, locked(1, 1, 2))]);
    illegal(&[CREATED, (12, 15, LOCK, GONE), (20, 30, GET, locked(1, 1, 2)), (40, 50, GET, GONE)]);
}

#[test]
fn a_session_expires_once_its_time_has_passed_and_for_good() {
    let expiring = |calls: &[Call]| {
        let history = History { absolute_timeout: Some(Duration::from_secs(1)), ..history(calls) };
        check(&history.entries(), ENOUGH)
    };
    let is_legal = |calls: &[Call]| matches!(expiring(calls), Verdict::Legal { .. });
    assert!(is_legal(&[CREATED, (1_100, 1_110, GET, GONE), (1_200, 1_210, GET, GONE)]));
    assert!(is_legal(&[CREATED, (1_100, 1_110, GET, found(1, 1)), (1_200, 1_210, GET, GONE)]));
    assert!(!is_legal(&[CREATED, (900, 910, GET, GONE)]), "too early");
    assert!(!is_legal(&[CREATED, (1_100, 1_110, GET, GONE), (1_200, 1_210, GET, found(1, 1))]), "revived");
    // It leaves no mark, and what is created after it has a time of its own.
    let again: Call = (1_200, 1_210, Create, Outcome::Written(1));
    assert!(is_legal(&[CREATED, again, (1_300, 1_310, GET, found(1, 2))]));
    assert!(!is_legal(&[CREATED, again, (1_300, 1_310, GET, GONE)]));
    illegal(&[CREATED, (1_100, 1_110, GET, GONE)]);
}

#[test]
fn what_takes_too_long_is_undecided_and_not_illegal() {
    // Twenty writes of which nobody knows what became, and a read that fits none of them.
    let mut calls = vec![CREATED];
    calls.extend((0..20).map(|_| (20, 30, write(None), Outcome::Unknown)));
    calls.push((40, 50, GET, found(99, 99)));
    let verdict = check(&history(&calls).entries(), 10_000);
    assert_eq!(verdict, Verdict::Undecided { looked_at: 10_000 });
}

#[test]
fn contention_is_an_overlap_with_a_change() {
    let calls =
        [CREATED, (20, 30, GET, found(1, 1)), (25, 35, GET, found(1, 1)), (40, 50, LOCK, Outcome::Unknown)];
    assert_eq!(history(&calls).contended(), 0);
    let calls = [CREATED, (20, 30, GET, found(1, 1)), (25, 35, write(None), Outcome::Unknown)];
    assert_eq!(history(&calls).contended(), 2);
    assert_eq!(history(&calls).span(), Duration::from_millis(35));
}

fn any_operation(random: &mut StdRng, renames: &mut Key) -> Operation {
    let key = random.random_range(0..=*renames);
    let holder = random.random_range(1..25);
    let maybe_holder = random.random_bool(0.3).then_some(holder);
    match random.random_range(0..14) {
        0 => Create,
        1..4 => Get { key },
        4..7 => {
            let if_version = random.random_bool(0.5).then(|| random.random_range(1..6));
            Operation::Write { key, if_version, holder: maybe_holder, release: maybe_holder.is_some() }
        }
        7..10 => Lock { key },
        10 => Unlock { key, holder },
        11 => Break { key },
        12 => Delete { key },
        _ => {
            *renames += 1;
            Regenerate { from: key, to: *renames, holder: maybe_holder }
        }
    }
}

/// Runs operations one after the other, each at a moment of its own, and records them as calls that began and ended up to
/// 40 ms around it; some of the answers get lost.
fn recorded(seed: u64) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut state, mut renames): (State, Key) = (State::default(), 0);
    let mut records = Vec::new();
    for number in 1..30 {
        let moment = u64::from(number) * 10 + 100;
        let operation = if number == 1 { Create } else { any_operation(&mut random, &mut renames) };
        let (answer, _) = state.apply(&operation, number);
        let outcome = if answer == Outcome::Locked(0) { Outcome::Locked(number.into()) } else { answer };
        state = state.step(&operation, number, outcome).unwrap();
        let lost = !operation.only_looks() && random.random_bool(0.1);
        let [before, after] = [(); 2].map(|()| random.random_range(0..40));
        let outcome = if lost { Outcome::Unknown } else { outcome };
        let (call, back) = (Duration::from_millis(moment - before), Duration::from_millis(moment + after));
        records.push(Record { number, client: 1, call, back, operation, outcome });
    }
    History { records, absolute_timeout: None }
}

/// Whatever is done in some order is found legal, however the calls overlap and whichever answers get lost.
#[test]
fn what_one_session_did_is_legal() {
    for seed in 0..500 {
        let history = recorded(seed);
        let verdict = check(&history.entries(), ENOUGH);
        assert!(matches!(verdict, Verdict::Legal { .. }), "seed {seed}: {verdict:?}\n{history}");
    }
}

/// One read among many that saw a version which nothing ever wrote.
#[test]
fn a_recording_that_was_corrupted_is_illegal() {
    let mut corrupted = 0;
    for seed in 0..500 {
        let mut history = recorded(seed);
        let read = history.records.iter_mut().rev().find_map(|record| match &mut record.outcome {
            Outcome::Found(seen) => Some(seen),
            _ => None,
        });
        let Some(seen) = read else { continue };
        seen.version += 30;
        corrupted += 1;
        let verdict = check(&history.entries(), ENOUGH);
        assert!(matches!(verdict, Verdict::Illegal(_)), "seed {seed}: {verdict:?}\n{history}");
    }
    assert!(corrupted > 100, "{corrupted}");
}
