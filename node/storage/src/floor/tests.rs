//! The floor file: torn, damaged, missing, failing.

use std::fs;
use std::io;

use tempfile::TempDir;

use super::*;
use crate::Identity;
use crate::disk::{Loss, SimulatedDisk};

const VOTE: Vote = Vote { term: u64::MAX, node: u64::MAX, committed: true };
const ID: LogId = LogId { term: u64::MAX, node: u64::MAX, index: u64::MAX };

fn open(path: &Path, disk: Disk) -> Result<Floor, StorageError> {
    let dir = DataDir::open_on(disk, path, Identity { cluster_id: 1, node_id: 1 }, 1)?;
    Floor::open(&dir)
}

fn full() -> FloorState {
    FloorState {
        vote: Some(VOTE),
        synced: Some(ID),
        purged: Some(ID),
        first: Some(u64::MAX),
        group: u64::MAX,
        sessions: Some(SessionsFloor { index: u64::MAX, records: u64::MAX, digest: u128::MAX }),
    }
}

#[test]
fn the_largest_state_fits_a_slot() {
    assert_eq!(decode_slot(&encode_slot(7, &full()).unwrap()), Ok((7, full())));
}

#[test]
fn every_flipped_bit_of_a_slot_is_noticed() {
    let slot = encode_slot(3, &full()).unwrap();
    for bit in (0..4_000).chain(SLOT_BYTES * 8 - 200..SLOT_BYTES * 8) {
        let mut damaged = slot;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_slot(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn one_damaged_slot_loses_no_promise_two_are_refused() {
    let temporary = TempDir::new().unwrap();
    let floor = open(temporary.path(), Disk::default()).unwrap();
    floor.promise(|state| *state = full()).unwrap();
    drop(floor);
    let file = temporary.path().join("floor");
    let sound = fs::read(&file).unwrap();
    for at in [50, SLOT_BYTES + 50] {
        let mut damaged = sound.clone();
        damaged[at] ^= 4;
        fs::write(&file, &damaged).unwrap();
        assert_eq!(open(temporary.path(), Disk::default()).unwrap().state(), full());
        // Opening has repaired it.
        let repaired = fs::read(&file).unwrap();
        assert!(repaired.chunks(SLOT_BYTES).all(|slot| decode_slot(slot).unwrap().1 == full()));
    }
    let mut damaged = sound.clone();
    damaged[50] ^= 4;
    damaged[SLOT_BYTES + 50] ^= 4;
    for content in [damaged.as_slice(), &sound[..100], &[]] {
        fs::write(&file, content).unwrap();
        let error = open(temporary.path(), Disk::default()).map(drop).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert!(error.contains("new node id"), "{error}");
    }
    fs::remove_file(&file).unwrap();
    assert!(open(temporary.path(), Disk::default()).is_err(), "missing is not new");
}

#[test]
fn a_crash_at_any_step_leaves_the_state_before_or_after() {
    let temporary = TempDir::new().unwrap();
    let disk = SimulatedDisk::new();
    let floor = open(temporary.path(), disk.disk()).unwrap();
    let images = Arc::<Mutex<Vec<_>>>::default();
    let acknowledged = Arc::<Mutex<u64>>::default();
    let (noted, promised) = (Arc::clone(&images), Arc::clone(&acknowledged));
    disk.on_step(move |files| {
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(9)] {
            noted.lock().push((*promised.lock(), files.image(loss)));
        }
    });
    for term in 1..20 {
        let vote = Some(Vote { term, node: 1, committed: false });
        floor.promise(|state| state.vote = vote).unwrap();
        *acknowledged.lock() = term;
        floor.note_synced(|| Some(LogId { term: 1, node: 1, index: term })).unwrap();
    }
    disk.end_steps();
    let images = std::mem::take(&mut *images.lock());
    assert!(images.len() > 200);
    for (acknowledged, image) in images {
        let copy = TempDir::new().unwrap();
        image.write(temporary.path(), copy.path()).unwrap();
        let state = Floor::open_at(copy.path().join("floor"), &Disk::default()).unwrap().state();
        let term = state.vote.map_or(0, |vote| vote.term);
        assert!((acknowledged..=acknowledged + 1).contains(&term), "{acknowledged}, found {term}");
        // And with one of the slots rotten on top, unless the other was just being written.
        assert!(state.synced.map_or(0, |id| id.index) + 2 >= acknowledged);
    }
}

#[test]
fn after_a_failed_write_nothing_is_written_any_more() {
    let temporary = TempDir::new().unwrap();
    let disk = SimulatedDisk::new();
    let floor = open(temporary.path(), disk.disk()).unwrap();
    disk.fail_from(disk.steps(), io::ErrorKind::StorageFull);
    let sessions = SessionsFloor { index: 1, records: 1, digest: 1 };
    let error = floor.set_sessions(sessions).unwrap_err().to_string();
    assert!(error.contains("floor") && error.contains("injected"), "{error}");
    disk.fail_from(u64::MAX, io::ErrorKind::Other);
    assert!(floor.set_sessions(sessions).is_err(), "what the file holds is unknown");
    assert!(floor.note_synced(|| None).is_err());
}
