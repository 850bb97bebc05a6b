//! A disk that fails: absorbed, or nothing more succeeds and the process is told to stop.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::base::{Node, PATIENCE, append, done, open_on, records};
use super::crash::User;
use crate::disk::{Loss, SimulatedDisk};
use crate::log::planted::Bug;
use crate::{LogOptions, Threads, Vote};

/// Lets the disk fail from step `step` on, under a random user; false if that step was never reached.
fn fails_from(step: u64, threads: Threads, kind: io::ErrorKind) -> bool {
    let mut node = Node::new(threads);
    node.open().close();
    let begin = node.disk.steps();
    node.disk.fail_from(begin + step, kind);
    let mut user = User::new(step);
    if let Ok(log) = node.open_with(Bug::None) {
        for _ in 0..30 {
            user.step(&log);
        }
        log.close();
    }
    let reached = node.disk.steps() > begin + step;
    let promise = user.promise.lock().clone();
    for loss in [Loss::Everything, Loss::Nothing, Loss::Some(step)] {
        let copy = TempDir::new().unwrap();
        node.disk.image(loss).write(node.dir.path(), copy.path()).unwrap();
        std::fs::copy(node.dir.path().join("identity"), copy.path().join("identity")).unwrap();
        promise.check(copy.path()).unwrap_or_else(|broken| panic!("step {step}, {loss:?}: {broken}"));
    }
    reached
}

#[test]
fn from_any_step_on_nothing_succeeds_that_is_not_durable() {
    let mut step = 0;
    while fails_from(step, Threads::Inline, io::ErrorKind::StorageFull) {
        step += 1;
    }
    assert!(step > 60, "{step}");
}

#[test]
fn with_threads_too() {
    for step in 10..40 {
        fails_from(step, Threads::Dedicated, io::ErrorKind::Other);
    }
}

#[test]
fn no_callback_succeeds_once_a_sync_has_failed() {
    for threads in [Threads::Dedicated, Threads::Inline] {
        let mut node = Node::new(threads);
        let log = node.open();
        let outcomes = Arc::<Mutex<Vec<(u64, bool)>>>::default();
        let note = |number: u64| {
            let outcomes = Arc::clone(&outcomes);
            Box::new(move |result: io::Result<()>| outcomes.lock().push((number, result.is_ok())))
        };
        node.disk.fail_from(node.disk.steps(), io::ErrorKind::Other);
        log.append(records(1, 0..2), note(0));
        log.save_vote(Vote { term: 1, node: 1, committed: false }, note(1));
        log.append(records(1, 2..3), note(2));
        log.purge(records(1, 0..1)[0].id, note(3));
        let deadline = Instant::now() + PATIENCE;
        while outcomes.lock().is_empty() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        // Even once the disk would work again.
        node.disk.fail_from(u64::MAX, io::ErrorKind::Other);
        log.append(records(1, 3..4), note(4));
        log.close();
        let mut outcomes = outcomes.lock().clone();
        outcomes.sort_unstable();
        assert_eq!(outcomes, (0..5).map(|number| (number, false)).collect::<Vec<_>>(), "{threads:?}");
        let failures = node.failures.lock();
        assert_eq!(failures.len(), 1, "told once: {failures:?}");
        assert!(failures[0].contains(&node.dir.path().display().to_string()), "{}", failures[0]);
        assert!(failures[0].contains("injected"), "{}", failures[0]);
    }
}

#[test]
fn a_failed_floor_write_fails_the_vote_and_all_after_it() {
    let mut node = Node::new(Threads::Dedicated);
    let log = node.open();
    let (first, first_result) = done();
    let (second, second_result) = done();
    node.disk.fail_from(node.disk.steps(), io::ErrorKind::Other);
    log.save_vote(Vote { term: 1, node: 1, committed: false }, first);
    log.append(records(1, 0..1), second);
    assert!(first_result.recv_timeout(PATIENCE).unwrap().is_err());
    assert!(second_result.recv_timeout(PATIENCE).unwrap().is_err());
    let failures = node.failures.lock().clone();
    assert!(failures[0].contains("floor"), "{failures:?}");
}

const CHILD_DIR: &str = "QUORATE_TEST_LOG_DIR";

#[test]
#[ignore = "a child of the test below"]
fn child_whose_sync_fails() {
    let Some(path) = std::env::var_os(CHILD_DIR) else { return };
    let disk = SimulatedDisk::new();
    let options = LogOptions { prefill_bytes: 0, ..LogOptions::default() };
    let (log, _) = open_on(disk.disk(), path.as_ref(), options, Bug::None).unwrap();
    append(&log, records(1, 0..1));
    // The write succeeds, its sync does not.
    disk.fail_from(disk.steps() + 1, io::ErrorKind::Other);
    let (done, result) = done();
    log.append(records(1, 1..2), done);
    println!("called back: {:?}", result.recv_timeout(PATIENCE));
}

#[test]
fn a_failed_sync_ends_the_process_and_says_why() {
    let temporary = TempDir::new().unwrap();
    let begin = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::tests::failure::child_whose_sync_fails", "--ignored", "--nocapture"])
        .env(CHILD_DIR, temporary.path())
        .output()
        .unwrap();
    assert!(begin.elapsed() < PATIENCE / 4, "{:?}", begin.elapsed());
    let (said, complained) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{said}{complained}");
    assert!(!said.contains("called back"), "{said}");
    // (The floor's thread may be the first to notice.)
    for part in ["storage failed", &temporary.path().display().to_string(), "injected", "Check the disk"] {
        assert!(complained.contains(part), "{part} is missing: {complained}");
    }
}
