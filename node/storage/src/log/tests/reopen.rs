//! Reopening after each kind of call, closed in order or killed.

use tempfile::TempDir;

use super::base::{Node, all, append, open_on, options, purge, record, records, save_vote};
use crate::disk::{Loss, SimulatedDisk};
use crate::log::planted::Bug;
use crate::{LogId, LogRecord, RaftLog, Threads};

const BEYOND: LogId = LogId { term: 4, node: 1, index: 1_000 };

/// As a kill at this moment leaves the log; nothing is closed.
fn killed(node: &Node, loss: Loss) -> (TempDir, RaftLog) {
    let copy = TempDir::new().unwrap();
    node.disk.image(loss).write(node.dir.path(), copy.path()).unwrap();
    std::fs::copy(node.dir.path().join("identity"), copy.path().join("identity")).unwrap();
    let disk = SimulatedDisk::new().disk();
    let (log, _) = open_on(disk, copy.path(), options(Threads::Inline).0, Bug::None).unwrap();
    (copy, log)
}

/// Does `change`; then the log must show `expected`, now, after a kill, after a power cut and after a close.
fn reopened(change: impl Fn(&RaftLog), expected: &[LogRecord], purged: Option<LogId>, vote: Option<u64>) {
    for threads in [Threads::Dedicated, Threads::Inline] {
        let mut node = Node::new(threads);
        let log = node.open();
        append(&log, records(1, 0..40));
        change(&log);
        let check = |log: &RaftLog| {
            assert_eq!(all(log), expected);
            assert_eq!(log.last_purged(), purged);
            assert_eq!(log.vote().map(|vote| vote.term), vote);
            assert_eq!(log.last(), expected.last().map(|record| record.id).or(purged));
        };
        check(&log);
        for loss in [Loss::Nothing, Loss::Everything] {
            check(&killed(&node, loss).1);
        }
        log.close();
        let log = node.open();
        check(&log);
        log.close();
        check(&node.open());
    }
}

#[test]
fn after_an_append() {
    reopened(|log| append(log, records(1, 40..60)), &records(1, 0..60), None, None);
}

#[test]
fn after_a_vote() {
    reopened(|log| save_vote(log, 9), &records(1, 0..40), None, Some(9));
}

#[test]
fn after_a_truncation_and_an_overwrite() {
    let expected = [records(1, 0..20), records(2, 20..23)].concat();
    reopened(
        |log| {
            log.truncate_after(Some(records(1, 19..20)[0].id)).unwrap();
            append(log, records(2, 20..23));
        },
        &expected,
        None,
        None,
    );
}

#[test]
fn after_an_overwrite_by_an_older_term() {
    // A leader of term 9 left uncommitted entries; the new one's log goes on with entries of term 2 there.
    let expected = [records(1, 0..40), records(2, 40..41)].concat();
    reopened(
        |log| {
            append(log, records(9, 40..60));
            log.truncate_after(Some(records(1, 39..40)[0].id)).unwrap();
            append(log, records(2, 40..41));
        },
        &expected,
        None,
        None,
    );
}

#[test]
fn after_everything_was_truncated_and_written_anew() {
    reopened(
        |log| {
            log.truncate_after(None).unwrap();
            append(log, records(3, 0..2));
        },
        &records(3, 0..2),
        None,
        None,
    );
}

#[test]
fn after_a_purge() {
    let upto = records(1, 24..25)[0].id;
    reopened(|log| purge(log, upto), &records(1, 25..40), Some(upto), None);
}

#[test]
fn after_a_purge_of_all() {
    let upto = records(1, 39..40)[0].id;
    reopened(|log| purge(log, upto), &[], Some(upto), None);
}

#[test]
fn after_a_purge_beyond_the_end() {
    reopened(|log| purge(log, BEYOND), &[], Some(BEYOND), None);
}

#[test]
fn after_a_purge_beyond_the_end_and_an_append() {
    reopened(
        |log| {
            purge(log, BEYOND);
            append(log, records(4, 1_001..1_030));
        },
        &records(4, 1_001..1_030),
        Some(BEYOND),
        None,
    );
}

#[test]
fn after_many_jumps() {
    reopened(
        |log| {
            for round in 1..20 {
                let upto = LogId { index: round * 100, ..BEYOND };
                purge(log, upto);
                append(log, records(4, round * 100 + 1..round * 100 + 9));
            }
        },
        &records(4, 1_901..1_909),
        Some(LogId { index: 1_900, ..BEYOND }),
        None,
    );
}

#[test]
fn after_a_snapshot_whose_install_was_cut_off() {
    // The session store stands at an entry of term 5; the log still has a tail of term 3 there, which was truncated in
    // memory alone.
    let applied = LogId { term: 5, node: 1, index: 45 };
    reopened(
        |log| {
            append(log, records(3, 40..60));
            assert!(log.agree_with(applied).unwrap());
        },
        &[],
        Some(applied),
        None,
    );
    let at_its_beginning = LogId { index: 0, ..applied };
    reopened(|log| assert!(log.agree_with(at_its_beginning).unwrap()), &[], Some(at_its_beginning), None);
}

#[test]
fn after_agreeing_with_what_was_applied() {
    let log_holds = records(1, 25..26)[0].id;
    let beyond_it = LogId { term: 5, node: 1, index: 70 };
    reopened(
        |log| {
            assert!(!log.agree_with(log_holds).unwrap());
            // openraft closes such a hole itself.
            assert!(!log.agree_with(beyond_it).unwrap());
        },
        &records(1, 0..40),
        None,
        None,
    );
}

#[test]
fn files_of_purged_entries_are_used_again() {
    for threads in [Threads::Dedicated, Threads::Inline] {
        let mut node = Node::new(threads);
        let log = node.open();
        for round in 0..120_u64 {
            let more: Vec<_> = (0..10).map(|at| record(1, round * 10 + at, 300, 0)).collect();
            append(&log, more);
            if round > 0 {
                purge(&log, record(1, round * 10 - 1, 0, 0).id);
            }
        }
        // 360 KB went through; with nothing reclaimed the files would span all of it.
        let deadline = std::time::Instant::now() + super::base::PATIENCE;
        while log.bytes() >= 100_000 {
            assert!(std::time::Instant::now() < deadline, "{} bytes", log.bytes());
            std::thread::yield_now();
        }
        log.close();
        let log = node.open();
        assert_eq!(all(&log).len(), 10);
        assert_eq!(*node.failures.lock(), [""; 0]);
    }
}

#[test]
fn the_floor_follows_the_log_unasked() {
    let mut node = Node::new(Threads::Dedicated);
    let (options, _) = options(Threads::Dedicated);
    let (log, floor) = open_on(node.disk.disk(), node.dir.path(), options, Bug::None).unwrap();
    append(&log, records(1, 0..7));
    let deadline = std::time::Instant::now() + super::base::PATIENCE;
    while floor.state().synced != log.last() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    // Lowered in the same order: an overwrite never stands below it.
    log.truncate_after(Some(records(1, 2..3)[0].id)).unwrap();
    save_vote(&log, 3);
    assert!(floor.state().synced.is_some_and(|synced| synced.index <= 2));
    log.close();
    node.open();
}

#[test]
fn a_start_syncs_what_it_finds() {
    // A killed process may leave entries written but not synced; this one counts on them.
    let mut node = Node::new(Threads::Inline);
    let log = node.open();
    append(&log, (0..40).map(|index| record(1, index, 300, 0)).collect());
    append(&log, (40..80).map(|index| record(1, index, 300, 0)).collect());
    log.close();
    let disk = SimulatedDisk::new();
    let (log, _) = open_on(disk.disk(), node.dir.path(), options(Threads::Inline).0, Bug::None).unwrap();
    assert!(disk.syncs_in(&node.dir.path().join("log")) >= 2, "both files of the log");
    assert!(disk.syncs_in(&node.dir.path().join("floor")) >= 1);
    drop(log);
}
