//! What was written comes back, whatever was written.

use proptest::prelude::*;

use crate::sessions::tests::base::{Dice, Disk, assert_loaded, fresh, shown};
use crate::sessions::{MemoryStore, StateStore as _};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_states_and_cuts_come_back(seed: u64, lives in 1_u64..4) {
        let (dir, mut disk, mut replica) = fresh(seed);
        let mut memory = MemoryStore::default();
        let mut dice = Dice(seed ^ 1);
        for _ in 0..lives {
            for _ in 0..=dice.roll(5) {
                let steps = 1 + dice.roll(120);
                replica.steps(steps, 12);
                let cut = replica.cut();
                let again = crate::Cut {
                    position: cut.position.clone(),
                    frozen: cut.frozen.clone(),
                    changes: cut.changes.clone(),
                };
                memory.write(again).unwrap();
                let report = disk.write(cut);
                prop_assert!(report.bytes > 0);
            }
            prop_assert_eq!(disk.store.index(), replica.index);
            drop(disk);
            let (reopened, loaded) = Disk::open(dir.path()).unwrap();
            let loaded = loaded.unwrap();
            assert_loaded(&loaded, &replica);
            assert_loaded(&memory.load().unwrap().unwrap(), &replica);
            // The node lives on with what it loaded: the slots must fit what is on the disk.
            replica.state = loaded.state;
            disk = reopened;
            if dice.roll(3) == 0 {
                replica.steps(20, 12);
                let (position, frozen) = (replica.position(), replica.state.freeze());
                let _ = replica.state.take_changes();
                disk.store.install(position.clone(), frozen.clone()).unwrap();
                memory.install(position, frozen).unwrap();
            }
        }
    }
}

#[test]
fn an_empty_store_opens_again_and_again() {
    let (dir, disk, _) = fresh(1);
    drop(disk);
    for _ in 0..3 {
        let (_, loaded) = Disk::open(dir.path()).unwrap();
        assert!(loaded.is_none());
    }
}

#[test]
fn long_values_shrink_grow_and_go_without_a_trace() {
    let (dir, mut disk, mut replica) = fresh(1);
    for lengths in [[1_000_000, 5, 3_061], [10, 900_000, 3_062], [400_000, 0, 1], [3_073, 20_000, 500_000]] {
        for (number, length) in (0..).zip(lengths) {
            replica.put(number, &vec![7; length]);
        }
        disk.write(replica.cut());
        let (records, header) = (replica.state.freeze(), 2 + replica.state.clients());
        let events = records.event_blocks().map(|(id, block)| quorate_state::encode_events(id, block));
        let parts: usize = records
            .records()
            .map(|(_, key, record)| quorate_state::encode_record(key, record))
            .chain(events)
            .map(|value| (value.len() + 11).div_ceil(crate::sessions::parts::PART_BYTES_MAX))
            .sum();
        assert_eq!(disk.store.keys(), parts + header, "stale or missing parts");
    }
    replica.steps(2_000, 3);
    disk.write(replica.cut());
    drop(disk);
    let (disk, loaded) = Disk::open(dir.path()).unwrap();
    assert_loaded(&loaded.unwrap(), &replica);
    drop(disk);
}

#[test]
fn a_cut_that_a_snapshot_has_overtaken_is_left_out() {
    let (dir, mut disk, mut replica) = fresh(3);
    replica.steps(50, 9);
    let overtaken = replica.cut();
    let mut leader = crate::sessions::tests::base::Replica::new(4);
    leader.steps(500, 30);
    disk.store.install(leader.position(), leader.state.freeze()).unwrap();
    let report = disk.write(overtaken);
    assert_eq!(report, crate::WriteReport::default());
    let before = shown(&leader.state.freeze());
    drop(disk);
    let (_, loaded) = Disk::open(dir.path()).unwrap();
    assert!(shown(&loaded.unwrap().state.freeze()) == before);
}
