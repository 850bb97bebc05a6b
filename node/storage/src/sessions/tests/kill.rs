//! Kills between any two steps of a write or an install: the store holds what was there before, or what is there
//! after, and from the promise on what is there after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tempfile::TempDir;

use crate::sessions::StateStore as _;
use crate::sessions::tests::base::{Disk, Replica, copy_dir, fresh, shown};

/// Copies the node's directory at each step.
fn record_steps(from: &Path, disk: &mut Disk, copies: &Path) -> mpsc::Receiver<(String, PathBuf)> {
    let (send, steps) = mpsc::channel();
    let (from, copies) = (from.to_owned(), copies.to_owned());
    let mut number = 0;
    disk.store.at_step = Some(Box::new(move |step| {
        let copy = copies.join(format!("{number}"));
        number += 1;
        copy_dir(&from, &copy);
        send.send((step.to_owned(), copy)).unwrap();
    }));
    steps
}

/// Opens each copy; says at which steps the new state was found.
fn reopen(
    steps: mpsc::Receiver<(String, PathBuf)>,
    before: &[Vec<u8>],
    after: &Replica,
) -> BTreeMap<String, Vec<bool>> {
    let mut found = BTreeMap::<String, Vec<bool>>::new();
    let expected = shown(&after.state.freeze());
    for (step, copy) in steps {
        let (disk, loaded) = Disk::open(&copy).unwrap_or_else(|error| panic!("{step}: {error}"));
        let loaded = loaded.unwrap();
        let is_new = loaded.position == after.position();
        assert!(shown(&loaded.state.freeze()) == if is_new { expected.as_slice() } else { before }, "{step}");
        let states = fs::read_dir(copy.join("sessions")).unwrap();
        let states = states.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
        assert_eq!(states, 1, "{step}: what is not in force is removed");
        // And it can go on from there.
        let mut disk = disk;
        let mut replica = Replica::new(9);
        (replica.state, replica.index) = (loaded.state, loaded.position.index);
        replica.steps(50, 12);
        disk.write(replica.cut());
        drop(disk);
        let (_, loaded) = Disk::open(&copy).unwrap();
        assert_eq!(loaded.unwrap().state.digest(), replica.state.digest(), "{step}");
        found.entry(step).or_default().push(is_new);
    }
    found
}

#[test]
fn killed_at_every_step_of_a_write() {
    let (dir, mut disk, mut replica) = fresh(11);
    replica.steps(300, 12);
    disk.write(replica.cut());
    let before = shown(&replica.state.freeze());
    replica.steps(300, 12);
    let copies = TempDir::new().unwrap();
    let steps = record_steps(dir.path(), &mut disk, copies.path());
    disk.write(replica.cut());
    drop(disk);
    let found = reopen(steps, &before, &replica);
    assert_eq!(found["before the batch"], [false]);
    assert_eq!(found["written"].len(), 1);
    assert_eq!((&found["synced"], &found["promised"]), (&vec![true], &vec![true]));
}

#[test]
fn killed_at_every_step_of_an_install() {
    let (dir, mut disk, mut replica) = fresh(12);
    replica.steps(300, 12);
    disk.write(replica.cut());
    let before = shown(&replica.state.freeze());
    let mut leader = Replica::new(13);
    leader.steps(1_000, 40);
    for number in 0..40 {
        // Enough for more than one batch.
        leader.put(number, &vec![7; 500_000]);
    }
    let copies = TempDir::new().unwrap();
    let steps = record_steps(dir.path(), &mut disk, copies.path());
    disk.store.install(leader.position(), leader.state.freeze()).unwrap();
    drop(disk);
    let found = reopen(steps, &before, &leader);
    for step in ["a new directory", "a batch of many", "written", "synced", "verified"] {
        assert!(found[step].iter().all(|is_new| !is_new), "{step}");
    }
    assert!(found["a batch of many"].len() >= 2);
    for step in ["switched", "promised", "the old one removed"] {
        assert_eq!(found[step], [true], "{step}");
    }
}

#[test]
fn a_kill_of_the_very_first_start_is_forgotten() {
    let (dir, disk, _) = fresh(14);
    drop(disk);
    fs::remove_file(dir.path().join("sessions/CURRENT")).unwrap();
    // Nothing was promised yet: the database is left over, not lost.
    let (_, loaded) = Disk::open(dir.path()).unwrap();
    assert!(loaded.is_none());
}

#[test]
fn what_a_kill_while_opening_leaves_does_not_block_the_next_start() {
    let (dir, mut disk, mut replica) = fresh(15);
    replica.steps(100, 12);
    disk.write(replica.cut());
    drop(disk);
    let left = dir.path().join("sessions/state-1/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&left, b"half a snapsh").unwrap();
    let (_, loaded) = Disk::open(dir.path()).unwrap();
    assert_eq!(loaded.unwrap().state.digest(), replica.state.digest());
    assert!(!left.exists());
}
