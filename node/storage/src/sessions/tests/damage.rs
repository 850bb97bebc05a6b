//! Flipped bits in the store's files: an error, or harmless; never another state.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

use crate::sessions::tests::base::{Dice, Disk, Replica, copy_dir, fresh, shown};

/// Flips per file; more for the one that holds nearly everything.
const FLIPS: u64 = 30;
const FLIPS_IN_DB: u64 = 200;

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_in(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn flip(file: &Path, bit: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    fs::write(file, bytes).unwrap();
}

/// What opening a directory finds.
enum Found {
    Refused,
    Same,
    Another,
}

fn look(dir: &Path, expected: &[Vec<u8>]) -> Found {
    match Disk::open(dir) {
        Err(_) => Found::Refused,
        Ok((_, Some(loaded))) if shown(&loaded.state.freeze()) == expected => Found::Same,
        Ok(_) => Found::Another,
    }
}

fn closed_node() -> (TempDir, Replica) {
    let (dir, mut disk, mut replica) = fresh(31);
    for _ in 0..20 {
        replica.steps(150, 40);
        disk.write(replica.cut());
    }
    drop(disk);
    // Once more, for sled to leave its own snapshot file.
    let (disk, loaded) = Disk::open(dir.path()).unwrap();
    replica.state = loaded.unwrap().state;
    drop(disk);
    (dir, replica)
}

/// Only copies are opened: sled puts another snapshot file in the place of the one that is there when it opens a store.
fn copy_of(dir: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    copy_dir(dir.path(), copy.path());
    copy
}

#[test]
fn flipped_bits_are_noticed_or_harmless() {
    let (dir, replica) = closed_node();
    let expected = shown(&replica.state.freeze());
    let mut dice = Dice(32);
    let (mut refused, mut same) = (0, 0);
    for file in files_in(&dir.path().join("sessions")) {
        let name = file.strip_prefix(dir.path()).unwrap();
        let bits = fs::metadata(&file).unwrap().len() * 8;
        let flips = if name.ends_with("db") { FLIPS_IN_DB } else { FLIPS };
        for _ in 0..flips {
            let bit = dice.roll(bits);
            let copy = copy_of(&dir);
            flip(&copy.path().join(name), bit);
            let started = Instant::now();
            match look(copy.path(), &expected) {
                Found::Refused => refused += 1,
                Found::Same => same += 1,
                Found::Another => panic!("{} with bit {bit} flipped opens as another state", name.display()),
            }
            assert!(started.elapsed().as_secs() < 30, "{} bit {bit} took long", name.display());
        }
        // sled keeps state between databases of one process: it must still open what is sound.
        assert!(matches!(look(copy_of(&dir).path(), &expected), Found::Same), "the undamaged store opens");
    }
    println!("flipped bits: {refused} refused, {same} harmless");
    assert!(refused > 20, "the flips must hit something");
}

#[test]
fn a_file_cut_short_is_noticed_or_harmless() {
    let (dir, replica) = closed_node();
    let expected = shown(&replica.state.freeze());
    let mut dice = Dice(33);
    let mut refused = 0;
    for file in files_in(&dir.path().join("sessions")) {
        let name = file.strip_prefix(dir.path()).unwrap();
        let length = fs::metadata(&file).unwrap().len();
        for _ in 0..15 {
            let copy = copy_of(&dir);
            let cut = fs::OpenOptions::new().write(true).open(copy.path().join(name)).unwrap();
            cut.set_len(dice.roll(length)).unwrap();
            match look(copy.path(), &expected) {
                Found::Refused => refused += 1,
                Found::Same => {}
                Found::Another => panic!("{} cut short opens as another state", name.display()),
            }
        }
    }
    println!("files cut short: {refused} refused");
    assert!(refused > 10);
}
