//! Reading: from memory and from disk, while the log changes, and never another log's entries.

use std::sync::atomic::{AtomicBool, Ordering};

use super::base::{Node, all, append, purge, record, records};
use crate::Threads;
use crate::log::tail::Tail;

#[test]
fn ranges_and_limits() {
    let mut node = Node::new(Threads::Inline);
    let log = node.open();
    // The cache holds the last few of these alone.
    let expected: Vec<_> = (0..100).map(|index| record(1, index, 100, 0)).collect();
    for record in &expected {
        append(&log, vec![record.clone()]);
    }
    for (from, to, bytes_max) in [
        (0, 100, u64::MAX),
        (10, 20, u64::MAX),
        (10, 20, 550),
        (0, 1, 0),
        (50, 50, 9),
        (60, 10, 9),
        (95, 300, u64::MAX),
        (70, 99, 100),
        (0, 100, 9_050),
    ] {
        let count = usize::try_from(bytes_max / 100).unwrap().max(1);
        let there = expected.iter().filter(|record| (from..to).contains(&record.id.index));
        let there: Vec<_> = there.take(count).cloned().collect();
        assert_eq!(log.read(from, to, bytes_max).unwrap(), there, "[{from}, {to}) {bytes_max}");
    }
    assert_eq!(log.read(100, 200, 9).unwrap(), []);
}

#[test]
fn two_logs_of_one_process_are_told_apart() {
    // raft-engine remembers the last block per thread, by its place in a file alone.
    let (mut first, mut second) = (Node::new(Threads::Inline), Node::new(Threads::Inline));
    let (log, other) = (first.open(), second.open());
    for index in 0..40 {
        append(&log, vec![record(1, index, 200, 1)]);
        append(&other, vec![record(1, index, 200, 2)]);
    }
    for index in 0..20 {
        assert_eq!(log.read(index, index + 1, 0).unwrap(), [record(1, index, 200, 1)]);
        assert_eq!(other.read(index, index + 1, 0).unwrap(), [record(1, index, 200, 2)]);
    }
}

#[test]
fn readers_see_a_consistent_log_while_it_is_purged_and_overwritten() {
    let mut node = Node::new(Threads::Dedicated);
    let log = node.open();
    append(&log, records(1, 0..200));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let first = log.first_index().unwrap_or(0);
                        let found = log.read(first, first + 60, u64::MAX).unwrap();
                        // Terms never fall: no mixture of before and after an overwrite.
                        assert!(found.windows(2).all(|pair| pair[0].id.index + 1 == pair[1].id.index
                            && pair[0].id.term <= pair[1].id.term));
                        for record in &found {
                            assert_eq!(
                                *record,
                                records(record.id.term, record.id.index..record.id.index + 1)[0]
                            );
                        }
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for term in 2..60 {
            let first = log.first_index().unwrap();
            let kept = log.read(first + 30, first + 31, 0).unwrap()[0].id;
            log.truncate_after(Some(kept)).unwrap();
            append(&log, records(term, kept.index + 1..first + 203));
            purge(&log, log.read(first + 2, first + 3, 0).unwrap()[0].id);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
    assert_eq!(*node.failures.lock(), [""; 0]);
}

#[test]
fn the_cache_keeps_what_is_not_synced_and_is_bounded_else() {
    let mut tail = Tail::default();
    let more: Vec<_> = (0..100).map(|index| record(1, index, 1_000, 0)).collect();
    tail.append(&more).unwrap();
    assert!(tail.cached_bytes() > 100_000, "nothing is synced: all of it is needed");
    tail.set_synced(more[49].id, 10_000);
    assert_eq!(tail.plan(50, 51, 0).unwrap().cached, more[50..51]);
    assert_eq!(tail.plan(49, 50, 0).unwrap().cached, []);
    tail.set_synced(more[99].id, 10_000);
    assert!((5_000..=10_000).contains(&tail.cached_bytes()), "{}", tail.cached_bytes());
    assert_eq!(tail.synced, Some(more[99].id));
    // A sync of what was truncated meanwhile does not count.
    tail.truncate_after(Some(more[97].id)).unwrap();
    tail.append(&[record(2, 98, 9, 0)]).unwrap();
    tail.set_synced(more[98].id, 10_000);
    assert_eq!(tail.synced, Some(more[97].id));
}

#[test]
fn a_read_finds_what_was_written_before_the_last_start() {
    let mut node = Node::new(Threads::Inline);
    let log = node.open();
    append(&log, records(1, 0..100));
    log.close();
    let log = node.open();
    append(&log, records(1, 100..120));
    assert_eq!(all(&log), records(1, 0..120));
    assert_eq!(log.read(95, 105, u64::MAX).unwrap(), records(1, 95..105));
}
