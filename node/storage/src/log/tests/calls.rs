//! Callbacks: in order, exactly once, many behind one sync; and what happens once the log is closed.

use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};

use parking_lot::Mutex;

use super::base::{Node, PATIENCE, all, append, done, purge, record, records};
use crate::{LogId, Threads, Vote};

#[test]
fn callbacks_come_in_the_order_of_the_calls_exactly_once() {
    for threads in [Threads::Dedicated, Threads::Inline] {
        let mut node = Node::new(threads);
        let log = node.open();
        let called = Arc::<Mutex<Vec<u64>>>::default();
        let note = |number: u64| {
            let called = Arc::clone(&called);
            Box::new(move |result: std::io::Result<()>| {
                result.unwrap();
                called.lock().push(number);
            })
        };
        for number in 0..300 {
            match number % 10 {
                7 => log.save_vote(Vote { term: number, node: 1, committed: false }, note(number)),
                8 => log.purge(log.read(number / 2, number / 2 + 1, 0).unwrap()[0].id, note(number)),
                9 => {
                    // Truncations have no callback, but their place in the order.
                    let last = log.last().unwrap();
                    let kept = log.read(last.index - 1, last.index, 0).unwrap()[0].id;
                    log.truncate_after(Some(kept)).unwrap();
                    log.append(vec![record(number, last.index, 30, 0)], note(number));
                }
                _ => {
                    let next = log.last().map_or(0, |id| id.index + 1);
                    log.append(records(number, next..next + 1), note(number));
                }
            }
        }
        let expected = all(&log);
        let last = log.last();
        log.close();
        assert_eq!(*called.lock(), (0..300).collect::<Vec<_>>());
        let log = node.open();
        assert_eq!((all(&log), log.last()), (expected, last));
    }
}

#[test]
fn what_is_queued_during_a_sync_shares_the_next() {
    let mut node = Node::new(Threads::Dedicated);
    let log = node.open();
    let (begun, has_begun) = sync_channel(0);
    let (go, may_go) = sync_channel::<()>(0);
    log.append(
        records(1, 0..1),
        Box::new(move |result| {
            result.unwrap();
            begun.send(()).unwrap();
            may_go.recv().unwrap();
        }),
    );
    // The writer is held up in a callback, as it would be in a sync.
    has_begun.recv_timeout(PATIENCE).unwrap();
    let directory = node.dir.path().join("log");
    let before = node.disk.syncs_in(&directory);
    let (sender, finished) = channel();
    for index in 1..=50 {
        let sender = sender.clone();
        let done = Box::new(move |result| sender.send((index, result)).unwrap());
        log.append(vec![record(1, index, 10, 0)], done);
    }
    assert_eq!(log.synced().map(|id| id.index), Some(0), "nothing is synced before its sync");
    assert_eq!(all(&log).len(), 51, "but all is readable");
    go.send(()).unwrap();
    for index in 1..=50 {
        let (of, result) = finished.recv_timeout(PATIENCE).unwrap();
        result.unwrap();
        assert_eq!(of, index);
    }
    assert_eq!(node.disk.syncs_in(&directory) - before, 1);
    assert_eq!(log.synced().map(|id| id.index), Some(50));
}

#[test]
fn a_callback_may_call_the_log() {
    for threads in [Threads::Dedicated, Threads::Inline] {
        let mut node = Node::new(threads);
        let log = node.open();
        let (again, (done, result)) = (log.clone(), done());
        log.append(
            records(1, 0..1),
            Box::new(move |first| {
                first.unwrap();
                again.append(records(1, 1..2), done);
            }),
        );
        result.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(all(&log), records(1, 0..2));
    }
}

#[test]
fn a_hole_is_refused_and_nothing_is_appended() {
    let mut node = Node::new(Threads::Dedicated);
    let log = node.open();
    append(&log, records(1, 0..3));
    for wrong in [records(1, 4..6), records(1, 2..4), vec![record(1, 3, 5, 0), record(1, 5, 5, 0)]] {
        let (done, result) = done();
        log.append(wrong, done);
        let error = result.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
    assert_eq!(all(&log), records(1, 0..3));
    purge(&log, LogId { term: 1, node: 1, index: 10 });
    let (done, result) = done();
    log.append(records(1, 10..11), done);
    assert!(result.recv_timeout(PATIENCE).unwrap().is_err());
    append(&log, records(1, 11..12));
    assert!(log.truncate_after(Some(LogId { term: 1, node: 1, index: 9 })).is_err());
}

#[test]
fn a_closed_log_refuses_and_a_dropped_one_has_written_all() {
    for threads in [Threads::Dedicated, Threads::Inline] {
        let mut node = Node::new(threads);
        let log = node.open();
        let (first, first_result) = done();
        log.append(records(1, 0..4), first);
        drop(log);
        first_result.recv_timeout(PATIENCE).unwrap().unwrap();
        let log = node.open();
        assert_eq!(all(&log), records(1, 0..4));
        let clone = log.clone();
        log.close();
        let (done, result) = done();
        clone.append(records(1, 4..5), done);
        assert!(result.recv_timeout(PATIENCE).unwrap().is_err());
        assert!(clone.truncate_after(None).is_err());
        assert!(clone.read(0, 9, u64::MAX).is_err(), "its files are closed");
        // A handle that is left over does not stand in the way.
        drop(clone);
        assert_eq!(all(&node.open()), records(1, 0..4));
    }
}

#[test]
fn the_last_handle_may_go_in_a_callback() {
    let mut node = Node::new(Threads::Dedicated);
    let log = node.open();
    let (again, (done, result)) = (log.clone(), done());
    let (go, may_go) = sync_channel::<()>(0);
    log.append(
        records(1, 0..2),
        Box::new(move |outcome| {
            may_go.recv().unwrap();
            drop(again);
            done(outcome);
        }),
    );
    drop(log);
    go.send(()).unwrap();
    result.recv_timeout(PATIENCE).unwrap().unwrap();
}
