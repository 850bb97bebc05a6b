//! The thread between consensus and the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use quorate_state::Frozen;

use crate::error::StorageError;
use crate::sessions::tests::base::{Disk, Replica, assert_loaded, fresh};
use crate::sessions::{
    AppliedPosition, Cut, Health, MemoryStore, OnFatal, StateStore, WriteBehind, WriteReport,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A store that does what the test says.
struct Puppet {
    memory: MemoryStore,
    /// Each write waits for a word: go on, fail, panic.
    orders: Receiver<Order>,
    entered: Sender<(u64, usize)>,
    sick: Arc<AtomicBool>,
}

enum Order {
    GoOn,
    Fail,
    Panic,
}

fn error() -> StorageError {
    let source = std::io::Error::from_raw_os_error(libc::EIO);
    StorageError::Io { path: "sessions/state-1".into(), action: "write to", source }
}

impl StateStore for Puppet {
    fn index(&self) -> u64 {
        self.memory.index()
    }

    fn write(&mut self, cut: Cut) -> Result<WriteReport, StorageError> {
        let _ = self.entered.send((cut.position.index, cut.changes.slots.len()));
        match self.orders.recv() {
            Ok(Order::GoOn) => self.memory.write(cut),
            Ok(Order::Fail) | Err(_) => Err(error()),
            Ok(Order::Panic) => panic!("as ordered"),
        }
    }

    fn install(&mut self, position: AppliedPosition, frozen: Frozen) -> Result<WriteReport, StorageError> {
        self.memory.install(position, frozen)
    }

    fn close(&mut self) {}

    fn health(&self) -> Health {
        let sick = Arc::clone(&self.sick);
        Box::new(move || if sick.load(Ordering::SeqCst) { Err(error()) } else { Ok(()) })
    }
}

struct Strings {
    orders: Sender<Order>,
    entered: Receiver<(u64, usize)>,
    persisted: Receiver<u64>,
    fatal: Receiver<String>,
    sick: Arc<AtomicBool>,
    memory: MemoryStore,
}

fn puppet() -> (WriteBehind, Strings) {
    let memory = MemoryStore::default();
    let (orders, ordered) = mpsc::channel();
    let (enter, entered) = mpsc::channel();
    let (persist, persisted) = mpsc::channel();
    let (die, fatal) = mpsc::channel();
    let sick = Arc::new(AtomicBool::new(false));
    let store = Puppet { memory: memory.clone(), orders: ordered, entered: enter, sick: Arc::clone(&sick) };
    let on_fatal: OnFatal = Arc::new(move |error| drop(die.send(error.to_string())));
    let on_persisted = Box::new(move |index| {
        let _ = persist.send(index);
    });
    let write_behind = WriteBehind::start_with(store, on_persisted, on_fatal);
    (write_behind, Strings { orders, entered, persisted, fatal, sick, memory })
}

#[test]
fn cuts_that_wait_become_one() {
    let (write_behind, strings) = puppet();
    let mut replica = Replica::new(51);
    let mut cut = |numbers: std::ops::Range<u64>| {
        numbers.for_each(|number| replica.put(number, b"value"));
        replica.cut()
    };
    write_behind.submit(cut(0..3));
    assert_eq!(strings.entered.recv_timeout(PATIENCE), Ok((4, 3)));
    assert!(!write_behind.is_idle());
    write_behind.submit(cut(2..6));
    write_behind.submit(cut(5..8));
    assert_eq!(write_behind.persisted(), 0);
    strings.orders.send(Order::GoOn).unwrap();
    strings.orders.send(Order::GoOn).unwrap();
    assert_eq!(strings.persisted.recv_timeout(PATIENCE), Ok(4));
    // 2..8 changed since the first: the two that waited are written as one.
    assert_eq!(strings.entered.recv_timeout(PATIENCE), Ok((11, 6)));
    assert_eq!(strings.persisted.recv_timeout(PATIENCE), Ok(11));
    assert_eq!(write_behind.persisted(), 11);
    assert_loaded(&strings.memory.load().unwrap().unwrap(), &replica);

    replica.put(100, b"closing writes what waits");
    strings.orders.send(Order::GoOn).unwrap();
    write_behind.submit(replica.cut());
    write_behind.close();
    assert_loaded(&strings.memory.load().unwrap().unwrap(), &replica);
    write_behind.close();
    let refused = write_behind.install(replica.position(), replica.state.freeze());
    assert!(refused.unwrap_err().to_string().contains("closed"));
    assert!(strings.fatal.try_recv().is_err());
}

#[test]
fn an_install_comes_after_the_cut_in_hand_and_blocks_until_done() {
    let (write_behind, strings) = puppet();
    let mut replica = Replica::new(52);
    replica.steps(20, 5);
    write_behind.submit(replica.cut());
    strings.entered.recv_timeout(PATIENCE).unwrap();
    let mut leader = Replica::new(53);
    leader.steps(200, 9);
    let (other, position, frozen) = (write_behind.clone(), leader.position(), leader.state.freeze());
    let installing = std::thread::spawn(move || other.install(position, frozen));
    strings.orders.send(Order::GoOn).unwrap();
    installing.join().unwrap().unwrap();
    assert_eq!(write_behind.persisted(), leader.index);
    assert_eq!(strings.persisted.try_iter().collect::<Vec<_>>(), [replica.index, leader.index]);
    assert_loaded(&strings.memory.load().unwrap().unwrap(), &leader);
    write_behind.close();
}

/// After a failure nothing is persisted any more, and nobody waits for ever.
fn assert_dead(write_behind: &WriteBehind, strings: &Strings, what: &str) {
    let told = strings.fatal.recv_timeout(PATIENCE).unwrap();
    assert!(told.contains(what), "{told}");
    let mut replica = Replica::new(54);
    replica.steps(5, 5);
    write_behind.submit(replica.cut());
    assert!(write_behind.install(replica.position(), replica.state.freeze()).is_err());
    write_behind.close();
    assert_eq!(write_behind.persisted(), 0);
    assert!(strings.persisted.try_recv().is_err());
    assert!(strings.fatal.try_recv().is_err(), "a failure is told once");
}

#[test]
fn a_failed_write_is_fatal() {
    let (write_behind, strings) = puppet();
    let mut replica = Replica::new(55);
    write_behind.submit(replica.cut());
    strings.orders.send(Order::Fail).unwrap();
    assert_dead(&write_behind, &strings, "cannot write to sessions/state-1");
}

#[test]
fn a_panic_is_fatal() {
    let (write_behind, strings) = puppet();
    let mut replica = Replica::new(56);
    write_behind.submit(replica.cut());
    strings.orders.send(Order::Panic).unwrap();
    assert_dead(&write_behind, &strings, "panicked");
}

#[test]
fn an_error_that_only_sled_knows_of_is_fatal_though_the_write_hangs() {
    let (write_behind, strings) = puppet();
    let mut replica = Replica::new(57);
    write_behind.submit(replica.cut());
    strings.entered.recv_timeout(PATIENCE).unwrap();
    strings.sick.store(true, Ordering::SeqCst);
    let told = strings.fatal.recv_timeout(PATIENCE).unwrap();
    assert!(told.contains("cannot write to"), "{told}");
    // In production the process has ended; here the write is let go.
    strings.orders.send(Order::Fail).unwrap();
    write_behind.close();
    assert!(strings.fatal.try_recv().is_err(), "a failure is told once");
}

#[test]
fn the_real_store_behind_the_thread() {
    let (dir, disk, mut replica) = fresh(58);
    let Disk { store, data, .. } = disk;
    let (persist, persisted) = mpsc::channel();
    let write_behind = WriteBehind::start(
        store,
        Box::new(move |index| {
            let _ = persist.send(index);
        }),
    );
    for _ in 0..20 {
        replica.steps(50, 12);
        write_behind.submit(replica.cut());
    }
    while persisted.recv_timeout(PATIENCE).unwrap() < replica.index {}
    let mut leader = Replica::new(59);
    leader.steps(2_000, 12);
    write_behind.install(leader.position(), leader.state.freeze()).unwrap();
    let _ = leader.state.take_changes();
    leader.steps(50, 12);
    write_behind.submit(leader.cut());
    write_behind.close();
    assert_eq!(write_behind.persisted(), leader.index);
    drop(data);
    let (_, loaded) = Disk::open(dir.path()).unwrap();
    assert_loaded(&loaded.unwrap(), &leader);
}

#[test]
fn dropping_the_last_handle_writes_what_waits_and_lets_go_of_the_store() {
    let (write_behind, strings) = puppet();
    let mut replica = Replica::new(52);
    replica.put(1, b"value");
    let clone = write_behind.clone();
    clone.submit(replica.cut());
    drop(write_behind);
    assert!(!clone.has_ended(), "another handle is left");
    drop(clone);
    strings.orders.send(Order::GoOn).unwrap();
    assert_eq!(strings.persisted.recv_timeout(PATIENCE), Ok(2));
    // The store's end of this channel goes with the store.
    assert_eq!(strings.entered.recv_timeout(PATIENCE), Ok((2, 1)));
    assert!(
        strings
            .entered
            .recv_timeout(PATIENCE)
            .is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected)
    );
}
