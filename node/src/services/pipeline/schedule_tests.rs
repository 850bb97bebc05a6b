use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

fn key(number: u8) -> SessionKey {
    SessionKey([number; 16])
}

fn one(number: u8) -> Keys {
    Keys::one(key(number))
}

fn two(first: u8, second: u8) -> Keys {
    Keys::two(key(first), key(second))
}

fn ready(schedule: &mut Schedule) -> Vec<Number> {
    std::iter::from_fn(|| schedule.next_ready()).collect()
}

#[test]
fn mutations_of_a_session_follow_each_other_without_waiting() {
    let mut schedule = Schedule::default();
    for number in 0..3 {
        schedule.push(number, one(1), Class::Mutation);
    }
    assert_eq!(ready(&mut schedule), [0, 1, 2]);
}

#[test]
fn a_read_waits_for_mutations_and_holds_up_what_follows() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(1), Class::Mutation);
    schedule.push(1, one(1), Class::Read);
    schedule.push(2, one(1), Class::Mutation);
    schedule.push(3, one(2), Class::Read);
    assert_eq!(ready(&mut schedule), [0, 3]);
    schedule.finish(0);
    assert_eq!(ready(&mut schedule), [1]);
    schedule.finish(1);
    assert_eq!(ready(&mut schedule), [2]);
}

/// They go into the log by ways of their own, and one may be held up.
#[test]
fn what_gives_a_lock_back_goes_neither_before_nor_beside_other_mutations() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(1), Class::Mutation);
    schedule.push(1, one(1), Class::Unthrottled);
    schedule.push(2, one(1), Class::Unthrottled);
    schedule.push(3, one(1), Class::Mutation);
    assert_eq!(ready(&mut schedule), [0]);
    schedule.finish(0);
    assert_eq!(ready(&mut schedule), [1, 2]);
    schedule.finish(1);
    schedule.finish(2);
    assert_eq!(ready(&mut schedule), [3]);
}

#[test]
fn an_operation_on_many_sessions_keeps_its_place_in_each() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(2), Class::Read);
    schedule.push(1, Keys::many(&[key(1), key(2), key(3), key(1)]), Class::Mutation);
    schedule.push(2, one(3), Class::Read);
    schedule.push(3, one(4), Class::Mutation);
    assert_eq!(ready(&mut schedule), [0, 3]);
    schedule.finish(0);
    assert_eq!(ready(&mut schedule), [1]);
    schedule.finish(1);
    assert_eq!(ready(&mut schedule), [2]);
    schedule.finish(2);
    schedule.finish(3);
    assert!(schedule.lanes.is_empty() && schedule.tickets.is_empty());
}

#[test]
fn reads_of_a_session_run_together() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(1), Class::Read);
    schedule.push(1, one(1), Class::Read);
    schedule.push(2, one(1), Class::Mutation);
    schedule.push(3, one(1), Class::Read);
    assert_eq!(ready(&mut schedule), [0, 1]);
    schedule.finish(0);
    assert!(ready(&mut schedule).is_empty());
    schedule.finish(1);
    assert_eq!(ready(&mut schedule), [2]);
}

#[test]
fn what_runs_alone_shares_with_nothing() {
    let mut schedule = Schedule::default();
    for number in 0..3 {
        schedule.push(number, one(1), Class::Alone);
    }
    for number in 0..3 {
        assert_eq!(ready(&mut schedule), [number]);
        schedule.finish(number);
    }
    assert!(schedule.lanes.is_empty() && schedule.tickets.is_empty());
}

#[test]
fn an_operation_on_two_sessions_keeps_its_place_in_both() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(2), Class::Read);
    schedule.push(1, two(1, 2), Class::Mutation);
    schedule.push(2, one(1), Class::Mutation);
    assert_eq!(ready(&mut schedule), [0], "2 must not be submitted before 1");
    schedule.finish(0);
    assert_eq!(ready(&mut schedule), [1, 2]);
}

#[test]
fn what_is_about_no_session_never_waits() {
    let mut schedule = Schedule::default();
    schedule.push(0, Keys::None, Class::Alone);
    schedule.push(1, Keys::None, Class::Alone);
    assert_eq!(ready(&mut schedule), [0, 1]);
    assert!(schedule.requeue(0));
    assert_eq!(ready(&mut schedule), [0]);
}

#[test]
fn one_that_gives_up_lets_the_next_go() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(1), Class::Mutation);
    schedule.push(1, one(1), Class::Read);
    schedule.push(2, one(1), Class::Mutation);
    assert_eq!(ready(&mut schedule), [0]);
    schedule.finish(1);
    assert_eq!(ready(&mut schedule), [2]);
}

#[test]
fn unserved_mutations_run_again_in_their_order() {
    let mut schedule = Schedule::default();
    for number in 0..3 {
        schedule.push(number, one(1), Class::Mutation);
    }
    assert_eq!(ready(&mut schedule), [0, 1, 2]);
    assert!(schedule.requeue(0) && schedule.requeue(2) && schedule.requeue(1));
    for number in 0..3 {
        assert_eq!(ready(&mut schedule), [number]);
        schedule.finish(number);
    }
}

#[test]
fn an_overtaken_mutation_is_not_run_again() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(1), Class::Mutation);
    schedule.push(1, one(1), Class::Mutation);
    assert_eq!(ready(&mut schedule), [0, 1]);
    schedule.finish(1);
    assert!(!schedule.requeue(0));
    schedule.finish(0);
    assert!(schedule.lanes.is_empty() && schedule.tickets.is_empty());
}

/// Refused while a later one was on its way: it was requeued, but by the time its turn comes the later one has been
/// applied.
#[test]
fn a_requeued_mutation_that_was_overtaken_since_is_told_apart() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(1), Class::Mutation);
    schedule.push(1, one(1), Class::Mutation);
    assert_eq!(ready(&mut schedule), [0, 1]);
    assert!(schedule.requeue(0) && !schedule.is_overtaken(0));
    schedule.finish(1);
    assert_eq!(ready(&mut schedule), [0]);
    assert!(schedule.is_overtaken(0) && !schedule.requeue(0));
    schedule.finish(0);
    assert!(schedule.lanes.is_empty() && schedule.tickets.is_empty());
}

/// The one behind a waiting one that gave up may run, and gives up before anybody started it: its lane must not stay
/// taken.
#[test]
fn one_that_gives_up_when_it_may_run_leaves_its_lane() {
    let mut schedule = Schedule::default();
    schedule.push(0, one(1), Class::Read);
    schedule.push(1, one(1), Class::Mutation);
    schedule.push(2, one(1), Class::Read);
    assert_eq!(ready(&mut schedule), [0]);
    schedule.finish(1);
    schedule.finish(2);
    schedule.finish(0);
    assert!(schedule.lanes.is_empty() && schedule.tickets.is_empty());
}

/// Random traffic: everything runs, nothing leaks, and at no time does an operation run together with, or before, one
/// that it must follow.
#[test]
fn random_traffic_keeps_the_order_and_ends() {
    for seed in 0..500 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut schedule = Schedule::default();
        let mut all: BTreeMap<Number, (Keys, Class)> = BTreeMap::new();
        let mut running: Vec<Number> = Vec::new();
        let mut done: BTreeSet<Number> = BTreeSet::new();
        let mut requeued: BTreeSet<Number> = BTreeSet::new();
        let mut gave_up: BTreeSet<Number> = BTreeSet::new();
        let mut next = 0;
        while done.len() + gave_up.len() < 60 {
            if next < 60 && random.random_bool(0.5) {
                let classes = [Class::Read, Class::Mutation, Class::Unthrottled, Class::Alone];
                let class = classes[random.random_range(0..4)];
                let first = random.random_range(0..3);
                let keys = match random.random_range(0..10) {
                    0 => Keys::many(&[key(1), key(first), key(0), key(1)]),
                    1 | 2 => two(first, random.random_range(0..3)),
                    _ => one(first),
                };
                schedule.push(next, keys.clone(), class);
                all.insert(next, (keys, class));
                next += 1;
            }
            while let Some(number) = schedule.next_ready() {
                if schedule.is_overtaken(number) {
                    assert!(
                        requeued.contains(&number),
                        "seed {seed}: {number} was overtaken on its first turn"
                    );
                    schedule.finish(number);
                    done.insert(number);
                    continue;
                }
                check(&all, &running, (&done, &gave_up), number, seed);
                running.push(number);
            }
            // All that may run runs by now: the others wait.
            let left = |number: &Number| done.contains(number) || gave_up.contains(number);
            let waiting: Vec<_> =
                all.keys().copied().filter(|number| !running.contains(number) && !left(number)).collect();
            if !waiting.is_empty() && random.random_bool(0.1) {
                let number = waiting[random.random_range(0..waiting.len())];
                schedule.finish(number);
                gave_up.insert(number);
            } else if !running.is_empty() && random.random_bool(0.6) {
                let number = running.swap_remove(random.random_range(0..running.len()));
                if random.random_bool(0.1) && schedule.requeue(number) {
                    all.entry(number).and_modify(|entry| entry.1 = Class::Alone);
                    requeued.insert(number);
                } else {
                    schedule.finish(number);
                    done.insert(number);
                }
            }
        }
        assert!(schedule.lanes.is_empty() && schedule.tickets.is_empty(), "seed {seed}");
    }
}

/// Whatever came before `number` on one of its sessions has ended, or runs in the same class of company; nothing that
/// came after it has ended.
fn check(
    all: &BTreeMap<Number, (Keys, Class)>,
    running: &[Number],
    (done, gave_up): (&BTreeSet<Number>, &BTreeSet<Number>),
    number: Number,
    seed: u64,
) {
    let (keys, class) = &all[&number];
    for (later, (others, _)) in all.range(number + 1..) {
        let shared = keys.each().any(|key| others.each().any(|other| other == key));
        assert!(!shared || !done.contains(later), "seed {seed}: {number} runs after {later} has ended");
    }
    for (earlier, (others, other)) in all.range(..number) {
        if keys.each().all(|key| others.each().all(|other| other != key))
            || done.contains(earlier)
            || gave_up.contains(earlier)
        {
            continue;
        }
        let together = running.contains(earlier) && class == other && *class != Class::Alone;
        assert!(together, "seed {seed}: {number} ran before {earlier}");
    }
}
