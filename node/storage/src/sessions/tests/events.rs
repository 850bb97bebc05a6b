//! The events kept for watchers: rings come back as they were, what leaves them leaves the disk, and what never reached
//! the disk is never written.

use std::path::Path;

use quorate_state::{
    Command, Cursor, EventBlock, EventBlockId, Happening, Operation, SessionKey, encode_events,
};

use crate::StorageError;
use crate::sessions::database::Database;
use crate::sessions::item::Item;
use crate::sessions::parts::{PART_BYTES_MAX, split};
use crate::sessions::tests::base::{Disk, Replica, assert_loaded, events_max, fresh};
use crate::sessions::{MemoryStore, StateStore as _};

impl Replica {
    fn operate(&mut self, operation: Operation) {
        self.apply(Command::Operate { request: None, operation });
    }

    fn delete(&mut self, number: u64) {
        let mut key = SessionKey([0; 16]);
        key.0[..8].copy_from_slice(&number.to_be_bytes());
        self.operate(Operation::Delete { namespace: "default".into(), key });
    }

    fn keep(&mut self, namespace: &str, events: u64) {
        let (name, change) = (namespace.into(), events_max(events));
        self.operate(Operation::PutNamespace { name, change, create: None });
    }

    fn blocks(&self) -> Vec<(EventBlockId, EventBlock)> {
        self.state.freeze().event_blocks().map(|(id, block)| (id, block.clone())).collect()
    }
}

/// Keys and values of one kind in a store that is closed.
fn stored(dir: &Path, tag: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    let database = Database::open(&dir.join("sessions/state-1"), 1 << 20).unwrap();
    let entries = database.scan().map(Result::unwrap).filter(|(key, _)| key.starts_with(&[tag]));
    let entries = entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    database.close();
    entries
}

/// Changes a store that is closed behind its back.
fn tamper(dir: &Path, change: impl FnOnce(&mut sled::Batch)) {
    let database = Database::open(&dir.join("sessions/state-1"), 1 << 20).unwrap();
    let mut batch = sled::Batch::default();
    change(&mut batch);
    database.apply(batch).unwrap();
    database.sync().unwrap();
    database.close();
}

fn expected_keys(replica: &Replica) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for (id, block) in replica.blocks() {
        let parts = encode_events(id, &block).len().saturating_add(11).div_ceil(PART_BYTES_MAX);
        keys.extend((0..u16::try_from(parts).unwrap()).map(|part| Item::Events(id).key(part)));
    }
    keys
}

fn refusal(dir: &Path) -> StorageError {
    Disk::open(dir).map(drop).expect_err("a damaged store opened")
}

#[test]
fn rings_come_back_and_what_leaves_them_leaves_the_disk() {
    let (dir, mut disk, mut replica) = fresh(71);
    for round in 0..8 {
        for number in round * 40..(round + 1) * 40 {
            // The last attributes of the deleted ones make blocks of many parts.
            replica.put(number, &vec![7; usize::try_from(number % 40 * 700).unwrap()]);
            if number % 3 == 0 {
                replica.delete(number);
            }
        }
        disk.write(replica.cut());
        drop(disk);
        assert!(expected_keys(&replica).len() > replica.blocks().len(), "no block is in parts");
        let found: Vec<_> = stored(dir.path(), b'e').into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, expected_keys(&replica), "round {round}");
        let (reopened, loaded) = Disk::open(dir.path()).unwrap();
        let loaded = loaded.unwrap();
        assert_loaded(&loaded, &replica);
        replica.state = loaded.state;
        disk = reopened;
    }
    let first = replica.blocks()[0].0;
    assert!(first.1 > 0, "the ring never lost a block");
    let lost = replica.state.events(1, Cursor::default()).err().unwrap();
    assert_eq!(lost.oldest, replica.blocks()[0].1.events[0].cursor);
    // A ring that keeps nothing any more.
    replica.keep("default", 0);
    disk.write(replica.cut());
    drop(disk);
    assert_eq!(stored(dir.path(), b'e'), []);
    let (_disk, loaded) = Disk::open(dir.path()).unwrap();
    assert_loaded(&loaded.unwrap(), &replica);
}

#[test]
fn a_deleted_namespace_takes_its_events_along() {
    let (dir, mut disk, mut replica) = fresh(72);
    replica.keep("shop", 1_000);
    replica.steps(2_000, 40);
    replica.keep("shop", 1_000);
    disk.write(replica.cut());
    replica.operate(Operation::DeleteNamespace { name: "shop".into() });
    disk.write(replica.cut());
    drop(disk);
    assert!(!replica.blocks().is_empty());
    assert!(replica.blocks().iter().all(|((namespace, _), _)| *namespace == 1));
    let found: Vec<_> = stored(dir.path(), b'e').into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, expected_keys(&replica));
}

#[test]
fn blocks_that_came_and_went_between_two_cuts_are_never_written() {
    let (dir, mut disk, mut replica) = fresh(73);
    replica.put(1, b"value");
    disk.write(replica.cut());
    for round in 0..5_000 {
        replica.put(1, &[u8::try_from(round % 251).unwrap()]);
    }
    let cut = replica.cut();
    assert!(cut.changes.events.len() > 70, "{} blocks changed", cut.changes.events.len());
    let report = disk.write(cut);
    // The session and the blocks that are kept, an eighth of what may be each; the one that the cut before had written is gone.
    assert!((3..=11).contains(&report.written), "{report:?}");
    assert_eq!(report.removed, 1, "{report:?}");
    drop(disk);
    let (_disk, loaded) = Disk::open(dir.path()).unwrap();
    assert_loaded(&loaded.unwrap(), &replica);
}

#[test]
fn cuts_that_became_one_hold_the_events_of_both() {
    let (dir, mut disk, mut replica) = fresh(74);
    replica.steps(300, 12);
    let first = replica.cut();
    let early: Vec<_> = first.changes.events.clone();
    replica.steps(300, 12);
    let merged = replica.cut().after(first);
    assert!(merged.changes.events.is_sorted_by(|one, next| one < next), "each once, in order");
    assert!(early.iter().all(|id| merged.changes.events.contains(id)));
    let mut memory = MemoryStore::default();
    let again = crate::Cut {
        position: merged.position.clone(),
        frozen: merged.frozen.clone(),
        changes: merged.changes.clone(),
    };
    memory.write(again).unwrap();
    assert_loaded(&memory.load().unwrap().unwrap(), &replica);
    disk.write(merged);
    drop(disk);
    let (_disk, loaded) = Disk::open(dir.path()).unwrap();
    assert_loaded(&loaded.unwrap(), &replica);
}

/// A closed node with some blocks of events.
fn closed() -> (tempfile::TempDir, Replica) {
    let (dir, mut disk, mut replica) = fresh(75);
    replica.keep("default", 1_000);
    for number in 0..300 {
        replica.put(number % 20, &[7; 100]);
    }
    disk.write(replica.cut());
    drop(disk);
    assert!(replica.blocks().len() >= 4);
    (dir, replica)
}

#[test]
fn a_damaged_block_is_an_error_that_names_it() {
    let (dir, replica) = closed();
    let ((namespace, number), _) = replica.blocks()[1];
    let (key, value) = stored(dir.path(), b'e').into_iter().nth(1).unwrap();
    for byte in [11, 40, value.len() - 1] {
        tamper(dir.path(), |batch| {
            let mut damaged = value.clone();
            damaged[byte] ^= 1;
            batch.insert(key.clone(), damaged);
        });
        let error = refusal(dir.path()).to_string();
        assert!(error.contains("of the events of namespace 1") && error.contains("checksum"), "{error}");
    }
    tamper(dir.path(), |batch| batch.insert(key.clone(), value.clone()));
    drop(Disk::open(dir.path()).unwrap());
    tamper(dir.path(), |batch| {
        for part in 0..9 {
            batch.remove(Item::Events((namespace, number)).key(part));
        }
    });
    let error = refusal(dir.path()).to_string();
    assert!(error.contains("is out of order"), "{error}");
}

#[test]
fn blocks_in_another_place_or_order_are_refused() {
    let put = |dir: &Path, at: EventBlockId, value: &[u8]| {
        tamper(dir, |batch| {
            for part in 0..9 {
                batch.remove(Item::Events(at).key(part));
            }
            for (part, bytes) in (0..).zip(split(Item::Events(at), value).unwrap()) {
                batch.insert(Item::Events(at).key(part), bytes);
            }
        });
    };
    // All of these have sound checksums.
    for case in 0..5 {
        let (dir, replica) = closed();
        let blocks = replica.blocks();
        let (at, last) = (blocks[1].0, blocks.last().unwrap().0.0);
        let mut block = blocks[1].1.clone();
        match case {
            0 => block.events.swap(0, 1),
            1 => block = blocks[2].1.clone(),
            2 => block.events.clear(),
            3 => block.events[0].what = Happening::Created,
            _ => put(dir.path(), (last, 99), &encode_events((last, 99), &block)),
        }
        if case < 4 {
            put(dir.path(), at, &encode_events(at, &block));
        }
        let error = refusal(dir.path()).to_string();
        let wanted = if case == 3 { "the digest is" } else { "is out of order" };
        assert!(error.contains(wanted), "case {case}: {error}");
    }
    let (dir, replica) = closed();
    let (id, block) = replica.blocks()[1].clone();
    put(dir.path(), (9, 0), &encode_events((9, 0), &block));
    assert!(refusal(dir.path()).to_string().contains("namespace 9 is out of order"), "no such namespace");
    let (dir, replica) = closed();
    let next = replica.blocks().last().unwrap().0;
    put(dir.path(), id, &encode_events(next, &block));
    assert!(refusal(dir.path()).to_string().contains("out of order"), "a value under another's key");
}

#[test]
fn a_ring_in_which_much_passes_does_not_let_the_file_grow_without_end() {
    let (dir, mut disk, mut replica) = fresh(76);
    replica.keep("default", 5_000);
    let mut most = 0;
    for round in 0..30 {
        for number in 0..3_000 {
            replica.put(number % 50, &[u8::try_from(round).unwrap(); 50]);
        }
        disk.write(replica.cut());
        most = most.max(std::fs::metadata(dir.path().join("sessions/state-1/db")).unwrap().len());
    }
    let live: usize = replica.blocks().iter().map(|(id, block)| encode_events(*id, block).len()).sum();
    println!("sled's file took at most {most} bytes for {live} of events");
    assert!(most < u64::try_from(live).unwrap() * 16 + (32 << 20), "{most}");
}
