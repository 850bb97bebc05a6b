//! What was promised and is not there any more: the node must not start.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::floor::SessionsFloor;
use crate::sessions::tests::base::{Disk, Replica, copy_dir, fresh};

/// A node after two cuts, closed; and its directory as it was after the first.
fn two_cuts() -> (TempDir, TempDir, Replica) {
    let (dir, mut disk, mut replica) = fresh(21);
    replica.steps(200, 12);
    disk.write(replica.cut());
    drop(disk);
    let first = TempDir::new().unwrap();
    copy_dir(dir.path(), first.path());
    let (mut disk, loaded) = Disk::open(dir.path()).unwrap();
    replica.state = loaded.unwrap().state;
    replica.steps(200, 12);
    disk.write(replica.cut());
    drop(disk);
    (dir, first, replica)
}

fn refusal(dir: &Path) -> String {
    match Disk::open(dir) {
        Ok((_, loaded)) => {
            panic!("opened with {:?}", loaded.map(|loaded| (loaded.position.index, loaded.records)))
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_older_store_is_refused() {
    let (dir, first, _) = two_cuts();
    fs::remove_dir_all(dir.path().join("sessions")).unwrap();
    copy_dir(&first.path().join("sessions"), &dir.path().join("sessions"));
    let refusal = refusal(dir.path());
    assert!(refusal.contains("it stands at log index 201, but stood at 401"), "{refusal}");
    assert!(refusal.contains("new node id"), "{refusal}");
}

#[test]
fn a_store_ahead_of_the_floor_is_taken() {
    let (dir, first, replica) = two_cuts();
    fs::copy(first.path().join("floor"), dir.path().join("floor")).unwrap();
    let (_, loaded) = Disk::open(dir.path()).unwrap();
    assert_eq!(loaded.unwrap().state.digest(), replica.state.digest());
}

#[test]
fn a_lost_store_is_refused_and_nothing_is_removed() {
    let (dir, ..) = two_cuts();
    let current = dir.path().join("sessions/CURRENT");
    let name = fs::read(&current).unwrap();
    fs::remove_file(&current).unwrap();
    assert!(refusal(dir.path()).contains("it is missing, but named the state at log index 401"));
    assert!(dir.path().join("sessions/state-1/db").exists());
    fs::write(&current, b"state-1").unwrap();
    assert!(refusal(dir.path()).contains("does not name"));
    fs::write(&current, name).unwrap();
    Disk::open(dir.path()).unwrap();

    fs::remove_dir_all(dir.path().join("sessions/state-1")).unwrap();
    assert!(refusal(dir.path()).contains("there is no database in it"));
    fs::remove_dir_all(dir.path().join("sessions")).unwrap();
    assert!(refusal(dir.path()).contains("is missing"));
}

#[test]
fn a_store_that_opens_empty_is_refused() {
    let (dir, ..) = two_cuts();
    let (empty, disk, _) = fresh(22);
    drop(disk);
    fs::remove_dir_all(dir.path().join("sessions")).unwrap();
    copy_dir(&empty.path().join("sessions"), &dir.path().join("sessions"));
    assert!(refusal(dir.path()).contains("it is empty, but held the state at log index 401"));
}

#[test]
fn another_state_at_the_same_position_is_refused() {
    let (dir, ..) = two_cuts();
    let (disk, _) = Disk::open(dir.path()).unwrap();
    let promised = disk.floor.sessions().unwrap();
    disk.floor.set_sessions(SessionsFloor { digest: promised.digest ^ 1, ..promised }).unwrap();
    drop(disk);
    assert!(refusal(dir.path()).contains("with digest"));
}
