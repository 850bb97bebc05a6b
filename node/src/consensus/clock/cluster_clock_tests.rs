use std::time::Duration;

use quorate_state::{ADVANCE_MS_MAX, Clocks, ClusterTime};

use super::scripted::Scripted;
use super::walls::TickedAt;
use super::{Anchor, ClusterClock, Gap, WallReading, Walls};

const START: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;

/// A node, and the clocks of its machine.
fn node(boottime_ms: u64, wall_ms: u64) -> (ClusterClock, Scripted) {
    let machine = Scripted::new(boottime_ms, wall_ms);
    (ClusterClock::new(Box::new(machine.clone())), machine)
}

/// As [`node`], anchored: the leader of term 1 has told it the time.
fn anchored(boottime_ms: u64, wall_ms: u64, cluster: u64) -> (ClusterClock, Scripted) {
    let (clock, machine) = node(boottime_ms, wall_ms);
    tell(&clock, 1, cluster);
    (clock, machine)
}

/// The leader of `term` says what time it is; its answer takes no time.
fn tell(clock: &ClusterClock, term: u64, cluster: u64) {
    clock.told(term, Anchor::new(ClusterTime(cluster), clock.boottime()), Duration::ZERO);
}

/// What a node says of its age, in milliseconds.
fn staleness_ms(clock: &ClusterClock) -> u64 {
    u64::try_from(clock.staleness().unwrap().as_millis()).unwrap()
}

/// A state's clocks at this cluster time, all of it served.
fn at(ms: u64) -> Clocks {
    Clocks::default().advanced_to(ClusterTime(ms))
}

fn estimate(clock: &ClusterClock) -> u64 {
    clock.estimate().unwrap().0
}

fn walls(clock: &ClusterClock, walls_ms: &[u64]) -> Walls {
    let boottime = clock.boottime();
    let readings: Vec<_> = walls_ms
        .iter()
        .map(|wall_ms| WallReading { wall_ms: *wall_ms, asked: boottime, answered: boottime })
        .collect();
    Walls::median(&readings, boottime).unwrap()
}

#[test]
fn a_new_cluster_starts_at_the_anchor_that_it_is_given() {
    let (clock, _) = node(5, START + HOUR);
    assert_eq!((clock.stamp(1, Clocks::default()), clock.gap(1, Clocks::default())), (None, Gap::Unanchored));
    assert_eq!(clock.now(1, Clocks::default()), Clocks::default());
    clock.adopt(Anchor::new(ClusterTime(START), Duration::from_millis(5)));
    assert_eq!(clock.stamp(1, Clocks::default()), Some(ClusterTime(START)), "however far it is from zero");
    assert_eq!(clock.now(1, Clocks::default()), at(START));
}

#[test]
fn a_wall_clock_that_is_set_changes_nothing() {
    let (clock, machine) = anchored(0, START, START);
    clock.stamp(1, at(START));
    clock.set_walls(walls(&clock, &[START, START, START]));
    for wall_ms in [START + HOUR, 0, START - HOUR, u64::MAX / 2] {
        machine.set_wall(wall_ms);
        machine.pass(1_000);
        clock.tick_wall_ms(ClusterTime(START), START);
        clock.stamp(1, at(START));
    }
    assert_eq!(clock.now(1, at(START)), at(START + 4_000));
}

#[test]
fn a_new_leader_goes_on_from_its_anchor_whatever_its_wall_clock_says() {
    for wall_ms in [START + HOUR, START - HOUR] {
        let (clock, machine) = anchored(7, wall_ms, START);
        machine.pass(1_000);
        clock.ticked(3, ClusterTime(START + 990), START + 990);
        machine.pass(250);
        let stamp = clock.stamp(4, at(START + 990)).unwrap();
        assert_eq!(stamp, ClusterTime(START + 1_250));
        assert_eq!(clock.gap(4, at(START + 990)), Gap::None, "at once: a failover waits for nothing");
        // And what it writes for the next restart is the last leader's wall clock, not its own.
        assert_eq!(clock.tick_wall_ms(ClusterTime(START + 990), START), START + 1_250);
    }
}

#[test]
fn a_replay_does_not_anchor() {
    let (clock, machine) = node(0, START);
    for second in 0..100 {
        clock.ticked(1, ClusterTime(START + second * 1_000), START);
        machine.pass(1);
    }
    assert_eq!((clock.estimate(), clock.staleness()), (None, None));
    assert_eq!(clock.gap(2, at(START + 99_000)), Gap::Unanchored);
    assert_eq!(clock.now(2, at(START + 99_000)), at(START + 99_000));
}

#[test]
fn a_node_that_was_stopped_is_as_anchored_as_before_and_knows_how_stale_it_is() {
    let (clock, machine) = anchored(0, START, START);
    clock.ticked(1, ClusterTime(START), START);
    assert_eq!(clock.staleness(), Some(Duration::ZERO));
    // SIGSTOP: its boot clock goes on.
    machine.pass(60_000);
    assert_eq!(clock.staleness(), Some(Duration::from_secs(60)), "before it has applied anything");
    // What had waited in its sockets; in that minute the leader's clock may have gone 75 ms further than its own.
    for second in 1..=20 {
        clock.ticked(1, ClusterTime(START + second * 1_000), START);
        assert_eq!(staleness_ms(&clock), 60_000 - second * 1_000 + 75, "old news is old");
    }
    clock.ticked(1, ClusterTime(START + 60_000), START);
    assert_eq!(staleness_ms(&clock), 75);
    machine.pass(1_500);
    assert_eq!(staleness_ms(&clock), 1_575, "it grows while no Tick comes");
}

/// All that was left of its anchor after the first old Tick was once so much lower that it took itself for fresh.
#[test]
fn an_hour_of_old_ticks_does_not_make_a_node_look_fresh() {
    let (clock, machine) = anchored(0, START, START);
    clock.ticked(1, ClusterTime(START), START);
    machine.pass(HOUR);
    for second in 1..=3_594 {
        clock.ticked(1, ClusterTime(START + second * 1_000), START);
    }
    assert_eq!(estimate(&clock), START + HOUR);
    // An hour cut off, and nobody to ask: 4.5 s are not known.
    assert_eq!(staleness_ms(&clock), 6_000 + 4_500);
    tell(&clock, 1, START + HOUR);
    assert_eq!(staleness_ms(&clock), 6_000);
}

#[test]
fn a_node_that_stays_ten_seconds_behind_knows_it_for_ever() {
    let (clock, machine) = anchored(0, START, START);
    clock.ticked(1, ClusterTime(START), START);
    machine.pass(10_000);
    for second in 1..=5_000 {
        machine.pass(1_000);
        clock.ticked(1, ClusterTime(START + second * 1_000), START);
        assert!(staleness_ms(&clock) >= 10_000);
        if second % 10 == 0 {
            tell(&clock, 1, START + 10_000 + second * 1_000);
            assert_eq!(staleness_ms(&clock), 10_000);
        }
    }
}

#[test]
fn between_two_answers_a_node_allows_for_the_drift() {
    // Its crystal is a thousandth slower than the leader's time: it runs behind, also where Ticks come late.
    let (clock, machine) = anchored(0, START, START);
    machine.pass(100_000);
    clock.ticked(1, ClusterTime(START + 97_100), START);
    assert!(staleness_ms(&clock) >= 100_100 - 97_100, "{}", staleness_ms(&clock));
}

#[test]
fn what_an_answer_took_counts_as_age() {
    let (clock, machine) = anchored(0, START, START);
    clock.ticked(1, ClusterTime(START), START);
    machine.pass(2_000);
    let took = Duration::from_millis(400);
    clock.told(1, Anchor::new(ClusterTime(START + 1_700), clock.boottime()), took);
    assert_eq!(estimate(&clock), START + 1_700, "time is never ahead of what was told");
    clock.ticked(1, ClusterTime(START + 1_600), START);
    assert_eq!(staleness_ms(&clock), 500);
}

#[test]
fn only_the_leader_that_made_a_tick_can_tell_its_age() {
    let (clock, machine) = anchored(0, START, START);
    assert!(clock.is_told());
    clock.ticked(1, ClusterTime(START), START);
    // The next leader's time is three seconds ahead, and this node has its Ticks late.
    machine.pass(5_000);
    clock.ticked(2, ClusterTime(START + 5_000), START);
    assert_eq!((staleness_ms(&clock), clock.is_told()), (5_000, false), "by the Tick before");
    tell(&clock, 2, START + 8_000);
    assert_eq!((staleness_ms(&clock), clock.is_told()), (3_000, true));
    // The one that was deposed goes on answering.
    tell(&clock, 1, START + 5_000);
    assert_eq!(estimate(&clock), START + 8_000);
}

#[test]
fn what_a_member_says_that_does_not_lead_dates_no_tick() {
    let (clock, machine) = node(5, START);
    clock.adopt(Anchor::new(ClusterTime(START), Duration::from_millis(5)));
    machine.pass(1_000);
    clock.ticked(1, ClusterTime(START + 1_000), START);
    assert_eq!((clock.staleness(), clock.is_told()), (None, false));
}

#[test]
fn a_tick_from_before_the_machines_boot_proves_nothing() {
    let (clock, _) = node(3_000, START);
    clock.ticked(1, ClusterTime(START - HOUR), START);
    tell(&clock, 1, START);
    assert_eq!(clock.staleness(), None);
}

#[test]
fn a_follower_that_is_told_the_time_does_not_run_ahead() {
    let (clock, machine) = anchored(0, START, START);
    for tenth in 1..=8_640_u64 {
        // Two hundred parts in a million too fast, for a day.
        machine.pass(10_002);
        assert!(estimate(&clock) <= START + tenth * 10_000 + 2);
        tell(&clock, 1, START + tenth * 10_000);
    }
}

#[test]
fn a_leader_tells_the_time_once_its_own_tick_is_applied() {
    let (clock, machine) = anchored(5_000, START, START);
    assert_eq!(clock.leads(), None);
    let stamp = clock.stamp(2, at(START)).unwrap();
    clock.ticked(1, ClusterTime(START + 20), START);
    assert_eq!(clock.leads(), None, "what the last leader stamped may still move its estimate");
    clock.ticked(2, stamp, START);
    assert_eq!(clock.leads(), Some(2));
    machine.pass(1_500);
    assert!((1_500..=1_600).contains(&staleness_ms(&clock)), "{}", staleness_ms(&clock));
    tell(&clock, 2, START);
    assert!(estimate(&clock) > START + 1_500, "nobody tells the leader");
    clock.rest();
    assert_eq!(clock.leads(), None);
}

#[test]
fn a_leader_that_was_stopped_does_not_stamp_old_time() {
    let (clock, machine) = anchored(0, START, START);
    clock.stamp(1, at(START));
    machine.pass(40_000);
    let now = clock.now(1, at(START));
    assert_eq!((now.cluster, now.served), (ClusterTime(START + 40_000), at(START).served), "an outage");
}

#[test]
fn a_leaders_own_ticks_do_not_slow_it_down() {
    let (clock, machine) = anchored(0, START, START);
    for _ in 0..1_000 {
        machine.pass(1_000);
        clock.tick_wall_ms(ClusterTime(START), START);
        let stamp = clock.stamp(7, at(START)).unwrap();
        machine.pass(30);
        clock.ticked(7, stamp, START);
    }
    assert_eq!(estimate(&clock), START + 1_030_000);
    // Nor do another leader's.
    machine.pass(1_000);
    clock.ticked(8, ClusterTime(START + 1_030_900), START);
    assert_eq!(estimate(&clock), START + 1_031_000);
}

#[test]
fn what_is_stamped_and_not_applied_yet_is_no_outage() {
    let (clock, machine) = anchored(0, START, START);
    clock.stamp(1, at(START));
    for _ in 0..4 {
        machine.pass(2_000);
        clock.stamp(1, at(START));
    }
    // Eight seconds without anything applied, but proposals every two.
    assert_eq!(clock.now(1, at(START)), at(START + 8_000));
}

#[test]
fn eight_silent_seconds_are_an_outage() {
    let (clock, machine) = anchored(0, START, START);
    clock.stamp(1, at(START));
    machine.pass(8_000);
    let now = clock.now(1, at(START));
    assert_eq!((now.cluster, now.served), (ClusterTime(START + 8_000), at(START).served));
}

#[test]
fn time_goes_on_from_what_was_applied_late() {
    let (clock, machine) = anchored(0, START, START);
    clock.now(2, at(START));
    // The last entries of an earlier leader, whose anchor was ahead of this one.
    clock.now(2, at(START + 700));
    machine.pass(40);
    assert_eq!(clock.now(2, at(START + 700)), at(START + 740));
}

#[test]
fn beyond_a_stamps_reach_it_waits_for_a_jump() {
    let (clock, machine) = anchored(0, START, START);
    clock.stamp(1, at(START));
    machine.pass(ADVANCE_MS_MAX);
    assert_eq!(clock.gap(2, at(START)), Gap::None);
    machine.pass(HOUR - ADVANCE_MS_MAX);
    let mut settled = clock.watch_settled();
    assert_eq!((clock.stamp(2, at(START)), clock.gap(2, at(START))), (None, Gap::Behind { by_ms: HOUR }));
    assert_eq!(clock.standing(2, at(START)), ClusterTime(START));
    assert!(!settled.has_changed().unwrap());
    let jumped = at(START).jumped(HOUR);
    clock.jumped(HOUR, jumped.cluster);
    assert!(settled.borrow_and_update().eq(&()) && clock.gap(2, jumped) == Gap::None);
    machine.pass(1_000);
    assert_eq!(clock.stamp(2, jumped), Some(ClusterTime(START + HOUR + 1_000)));
    assert_eq!(clock.now(2, jumped).served, at(START + 1_000).served, "the hour was not served");
}

#[test]
fn a_jump_takes_the_anchors_of_all_along() {
    let (clock, machine) = anchored(0, START, START);
    clock.ticked(1, ClusterTime(START), START + 5);
    machine.pass(10);
    clock.jumped(HOUR, ClusterTime(START + HOUR));
    assert_eq!(estimate(&clock), START + HOUR);
    assert_eq!(staleness_ms(&clock), 10, "a jump makes nothing older, and nothing newer");
    let ticked = clock.last_tick(ClusterTime(START + HOUR), START + HOUR + 5);
    assert_eq!(ticked, TickedAt { cluster: ClusterTime(START + HOUR), wall_ms: START + HOUR + 5 });
}

#[test]
fn an_anchor_is_only_raised_by_others() {
    let (clock, machine) = anchored(0, START, START);
    clock.adopt(Anchor::new(ClusterTime(START - HOUR), Duration::ZERO));
    machine.pass(10);
    assert_eq!(estimate(&clock), START + 10);
    clock.adopt(Anchor::new(ClusterTime(START + 50), Duration::from_millis(10)));
    assert_eq!(estimate(&clock), START + 50);
}

#[test]
fn a_leader_slews_to_the_median_while_it_leads() {
    let (clock, machine) = anchored(0, START, START);
    let mut applied = at(START);
    clock.set_walls(walls(&clock, &[START + HOUR]));
    assert_eq!(clock.tick_wall_ms(ClusterTime(START), 0), START, "who does not lead needs none");
    assert_eq!(clock.now(1, applied), applied);
    clock.set_walls(walls(&clock, &[START + HOUR, START + HOUR + 5, START]));
    for _ in 0..1_000 {
        clock.tick_wall_ms(applied.cluster, START);
        applied = applied.advanced_to(clock.stamp(1, applied).unwrap());
        clock.ticked(1, applied.cluster, START);
        machine.pass(1_000);
    }
    assert_eq!(estimate(&clock), START + 1_001_000);
    clock.rest();
    machine.pass(1_000_000);
    assert_eq!(estimate(&clock), START + 2_001_000, "evenly, once it does not");
}

#[test]
fn between_two_clocks_it_slews_to_neither_and_writes_the_later_one() {
    let (clock, machine) = anchored(0, START - HOUR, START);
    clock.now(1, at(START));
    clock.set_walls(walls(&clock, &[START - HOUR, START + HOUR]));
    clock.tick_wall_ms(ClusterTime(START), START);
    machine.pass(1_000_000);
    assert_eq!(clock.tick_wall_ms(ClusterTime(START), START), START + HOUR + 1_000_000);
    assert_eq!(estimate(&clock), START + 1_000_000);
}

#[test]
fn before_the_first_tick_the_wall_is_where_cluster_time_is() {
    let (clock, machine) = anchored(0, START + HOUR, START);
    machine.pass(20);
    assert_eq!(clock.tick_wall_ms(ClusterTime(START), 0), START + 20);
    // Loaded with a state: up to two seconds after its last Tick.
    assert_eq!(clock.tick_wall_ms(ClusterTime(START), START + 77), START + 77 + 2_020);
}
