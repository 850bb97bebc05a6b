//! A node's state and store, random entries to apply, and ways to end and begin again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_state::{
    APPLY_VERSION, AttributeChange, Attributes, ClusterTime, Command, CreateSession, Frozen, LockSession,
    Operation, PolicyChange, Proposal, RegenerateSession, RequestId, RevokePrincipal, SessionKey, State,
    Timeouts, WriteSession, encode_client, encode_events, encode_record,
};
use tempfile::TempDir;

use crate::error::StorageError;
use crate::sessions::{
    AppliedPosition, Cut, Loaded, SessionOptions, SledStore, StateStore as _, WriteReport,
};
use crate::{DataDir, Floor, Identity};

const START_MS: u64 = 1_700_000_000_000;
/// So few that rings lose blocks all the time.
const EVENTS_MAX: u32 = 150;
/// Beside the default namespace there is one that comes and goes.
const OTHER: &str = "shop";
const OPTIONS: SessionOptions = SessionOptions { cache_bytes: 4 << 20 };

/// Random numbers that a seed determines (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn value(&mut self, bytes_max: u64) -> Bytes {
        let bytes = self.roll(bytes_max + 1);
        let fill = self.roll(256);
        (0..bytes).map(|at| u8::try_from((at * 31 + fill) % 251).unwrap()).collect()
    }

    fn attributes(&mut self) -> Attributes {
        let bytes_max = [20, 600, 5_000, 60_000][usize::try_from(self.roll(40).saturating_sub(36)).unwrap()];
        (0..self.roll(4)).map(|name| (format!("name-{name}").into(), self.value(bytes_max))).collect()
    }

    /// No two namespaces share one.
    fn key(&mut self, namespace: &str, keys: u8) -> SessionKey {
        let mut key = SessionKey([u8::try_from(self.roll(u64::from(keys))).unwrap(); 16]);
        key.0[15] = u8::from(namespace == OTHER);
        key
    }

    fn principal(&mut self) -> Box<str> {
        ["", "ann", "bob"][usize::try_from(self.roll(3)).unwrap()].into()
    }

    fn operation(&mut self, keys: u8) -> Operation {
        let namespace: Box<str> = if self.roll(4) == 0 { OTHER } else { "default" }.into();
        let key = self.key(&namespace, keys);
        match self.roll(14) {
            0..4 => Operation::Create(CreateSession {
                namespace,
                key,
                attributes: self.attributes(),
                principal: self.principal(),
                timeouts: Timeouts { idle_ms: Some(60_000), absolute_ms: None },
            }),
            4..8 => Operation::Write(WriteSession {
                namespace,
                key,
                change: AttributeChange::Patch { set: self.attributes(), remove: vec!["name-1".into()] },
                if_version: None,
                principal: (self.roll(3) == 0).then(|| self.principal()),
                timeouts: Timeouts::default(),
                fence: None,
                release: false,
            }),
            8 => Operation::Touch { namespace, key },
            9 => Operation::Delete { namespace, key },
            10 => self.namespace(),
            11 => Operation::Revoke(RevokePrincipal { namespace, principal: "bob".into(), except: None }),
            12 => Operation::Lock(LockSession {
                namespace,
                key,
                lease_ms: 5_000,
                wait_ms: 10_000,
                fence: None,
                owner: "host".into(),
            }),
            _ => {
                let new_key = self.key(&namespace, keys);
                Operation::Regenerate(RegenerateSession { namespace, key, new_key, fence: None })
            }
        }
    }

    fn namespace(&mut self) -> Operation {
        let name = Box::from(OTHER);
        if self.roll(3) == 0 {
            return Operation::DeleteNamespace { name };
        }
        Operation::PutNamespace { name, change: events_max(self.roll(200)), create: None }
    }
}

pub(crate) fn events_max(events: u64) -> Box<PolicyChange> {
    let change = PolicyChange { events_max: Some(u32::try_from(events).unwrap()), ..PolicyChange::default() };
    Box::new(change)
}

/// A state and where it stands in its log.
pub(crate) struct Replica {
    pub(crate) state: State,
    pub(crate) index: u64,
    pub(crate) dice: Dice,
    stamp: u64,
    sequence: u64,
}

impl Replica {
    pub(crate) fn new(seed: u64) -> Replica {
        let mut replica =
            Replica { state: State::new(), index: 0, dice: Dice(seed), stamp: START_MS, sequence: 0 };
        // Before the first entry, as it were.
        let found = |command| Proposal { stamp: ClusterTime(START_MS), command };
        replica.state.apply(0, found(Command::RaiseApplyVersion { version: APPLY_VERSION }));
        replica.state.apply(0, found(put_default(EVENTS_MAX)));
        replica.apply(Command::OpenClient { client: 7 });
        replica
    }

    pub(crate) fn apply(&mut self, command: Command) {
        self.index += 1;
        self.state.apply(self.index, Proposal { stamp: ClusterTime(self.stamp), command });
    }

    /// Applies a random entry; sessions come, change and go.
    pub(crate) fn step(&mut self, keys: u8) {
        self.stamp += self.dice.roll(300);
        match self.dice.roll(20) {
            0 => {
                self.stamp += self.dice.roll(40_000);
                self.apply(Command::Tick { wall_ms: self.stamp });
            }
            1 => {
                let keys = self.state.reapable(100);
                self.apply(Command::Reap { keys });
            }
            2 => {
                let client = self.dice.roll(20);
                self.apply(Command::OpenClient { client });
            }
            roll => {
                let operation = self.dice.operation(keys);
                self.sequence += 1;
                let lowest_unanswered = self.sequence.saturating_sub(self.dice.roll(300)).max(1);
                let request = RequestId { client: 7, sequence: self.sequence, lowest_unanswered };
                self.apply(Command::Operate { request: (roll % 2 == 0).then_some(request), operation });
            }
        }
    }

    pub(crate) fn steps(&mut self, count: u64, keys: u8) {
        for _ in 0..count {
            self.step(keys);
        }
    }

    /// Creates or replaces the attributes of one session.
    pub(crate) fn put(&mut self, number: u64, value: &[u8]) {
        let mut key = SessionKey([0; 16]);
        key.0[..8].copy_from_slice(&number.to_be_bytes());
        let attributes = Attributes::from([("value".into(), Bytes::copy_from_slice(value))]);
        let exists = self.state.lookup("default", &key, self.state.clocks()).is_ok();
        let namespace = Box::from("default");
        let operation = if exists {
            Operation::Write(WriteSession {
                namespace,
                key,
                change: AttributeChange::Replace(attributes),
                if_version: None,
                principal: None,
                timeouts: Timeouts::default(),
                fence: None,
                release: false,
            })
        } else {
            let principal = Box::default();
            Operation::Create(CreateSession {
                namespace,
                key,
                attributes,
                principal,
                timeouts: Timeouts::default(),
            })
        };
        self.apply(Command::Operate { request: None, operation });
    }

    pub(crate) fn position(&self) -> AppliedPosition {
        let meta = format!("meta of {}", self.index);
        AppliedPosition { index: self.index, meta: meta.into() }
    }

    pub(crate) fn cut(&mut self) -> Cut {
        Cut { position: self.position(), changes: self.state.take_changes(), frozen: self.state.freeze() }
    }
}

fn put_default(events: u32) -> Command {
    let name = Box::from("default");
    let operation = Operation::PutNamespace { name, change: events_max(events.into()), create: None };
    Command::Operate { request: None, operation }
}

/// A node's storage, open.
pub(crate) struct Disk {
    pub(crate) store: SledStore,
    pub(crate) floor: Floor,
    /// Its lock.
    pub(crate) data: DataDir,
}

impl Disk {
    pub(crate) fn open(path: &Path) -> Result<(Disk, Option<Loaded>), StorageError> {
        let data = lock(path)?;
        let floor = Floor::open(&data)?;
        let (store, loaded) = SledStore::open(&data, &floor, OPTIONS)?;
        Ok((Disk { store, floor, data }, loaded))
    }

    pub(crate) fn write(&mut self, cut: Cut) -> WriteReport {
        self.store.write(cut).unwrap()
    }
}

/// Another test that starts a child process holds every lock of this process for a moment, between fork and exec.
fn lock(path: &Path) -> Result<DataDir, StorageError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match DataDir::open(path, Identity { cluster_id: 1, node_id: 1 }, 1) {
            Err(StorageError::Refused { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            done => return done,
        }
    }
}

/// A fresh node.
pub(crate) fn fresh(seed: u64) -> (TempDir, Disk, Replica) {
    let dir = TempDir::new().unwrap();
    let (disk, loaded) = Disk::open(dir.path()).unwrap();
    assert!(loaded.is_none());
    (dir, disk, Replica::new(seed))
}

/// All that a state shows, as bytes; slots included.
pub(crate) fn shown(frozen: &Frozen) -> Vec<Vec<u8>> {
    let records = frozen
        .records()
        .map(|(slot, key, record)| [slot.to_be_bytes().to_vec(), encode_record(key, record)].concat());
    let clients = frozen.clients().map(|(id, client)| encode_client(id, client));
    let events = frozen.event_blocks().map(|(id, block)| encode_events(id, block));
    [frozen.header().encode()].into_iter().chain(records).chain(clients).chain(events).collect()
}

/// What was loaded is the replica's state, at its position, slot by slot.
pub(crate) fn assert_loaded(loaded: &Loaded, replica: &Replica) {
    assert_eq!(loaded.position, replica.position());
    assert_eq!(loaded.records, replica.state.records());
    assert_eq!(loaded.state.digest(), replica.state.digest());
    assert!(shown(&loaded.state.freeze()) == shown(&replica.state.freeze()), "the content differs");
}

/// As a kill at this moment leaves the disk.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
