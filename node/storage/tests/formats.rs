//! Formats on disk are promises: what an earlier version wrote, every later version opens. The files in
//! `tests/fixtures/v1` and `v2` were written once each, by `write_the_fixtures` below, and are never written again.
//!
//! Version 2 has locks, namespaces, revocations and events; its snapshot stream has blocks of events.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "all of it is tests")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use bytes::Bytes;
use quorate_state::{
    AttributeChange, ClusterTime, Command, CreateSession, Cursor, EndReason, LockSession, Member, Operation,
    PolicyChange, Proposal, RegenerateSession, RequestId, RevokePrincipal, SessionId, SessionKey, State,
    Timeouts, Version, WriteSession,
};
use quorate_storage::{
    AppliedPosition, Cut, DataDir, Floor, Identity, LogId, LogOptions, LogRecord, RaftLog, SessionOptions,
    SledStore, SnapshotReader, SnapshotWriter, StateStore as _, Vote, WriteBehind,
};

const IDENTITY: Identity = Identity { cluster_id: 0xc0ffee, node_id: 3 };
const INCARNATION: u64 = 0xfeed;
const VOTE: Vote = Vote { term: 2, node: 1, committed: true };
/// What [`write_the_fixtures`] writes.
const PRESENT: u32 = 2;
const OPTIONS: SessionOptions = SessionOptions { cache_bytes: 1 << 20 };

fn fixtures(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/v{version}"))
}

fn digest(version: u32) -> String {
    std::fs::read_to_string(fixtures(version).join("digest")).unwrap().trim().to_owned()
}

fn options() -> LogOptions {
    LogOptions { file_bytes: 64 << 10, prefill_bytes: 0, ..LogOptions::default() }
}

fn key(namespace: &str, number: u64) -> SessionKey {
    SessionKey::derive(namespace, &SessionId::parse(&format!("fixture-session-{number:04}")).unwrap())
}

fn create(namespace: &str, number: u64, principal: &str) -> Operation {
    let value = Bytes::from(vec![b'v'; usize::try_from(number * 900).unwrap()]);
    Operation::Create(CreateSession {
        namespace: namespace.into(),
        key: key(namespace, number),
        attributes: [("name".into(), value)].into(),
        principal: principal.into(),
        timeouts: Timeouts { idle_ms: Some(86_400_000), absolute_ms: None },
    })
}

fn delete(namespace: &str, number: u64) -> Operation {
    Operation::Delete { namespace: namespace.into(), key: key(namespace, number) }
}

/// A client, a member, eighteen sessions of which one is deleted again.
fn first_version() -> Vec<Command> {
    let mut commands = vec![
        Command::OpenClient { client: 9 },
        Command::Announce {
            node: 3,
            member: Member {
                incarnation: INCARNATION,
                client_address: "127.0.0.1:7103".into(),
                peer_address: "127.0.0.1:7203".into(),
                admin_address: "127.0.0.1:7303".into(),
                version: "0.1.0".into(),
            },
        },
    ];
    for sequence in 1..=18 {
        let operation =
            if sequence == 5 { delete("default", 4) } else { create("default", sequence, "alice") };
        let request = Some(RequestId { client: 9, sequence, lowest_unanswered: 1 });
        commands.push(Command::Operate { request, operation });
    }
    commands
}

fn lock(number: u64, wait_ms: u64) -> Operation {
    Operation::Lock(LockSession {
        namespace: "default".into(),
        key: key("default", number),
        lease_ms: 3_600_000,
        wait_ms,
        fence: None,
        owner: "host".into(),
    })
}

/// All that the first version did not have.
fn second_version() -> Vec<Command> {
    let change =
        PolicyChange { sessions_max: Some(Some(9)), events_max: Some(70), ..PolicyChange::default() };
    let write = |namespace: &str, number: u64, principal: Option<&str>| {
        Operation::Write(WriteSession {
            namespace: namespace.into(),
            key: key(namespace, number),
            change: AttributeChange::Patch {
                set: [("a".into(), Bytes::from_static(b"b"))].into(),
                remove: vec![],
            },
            if_version: None,
            principal: principal.map(Into::into),
            timeouts: Timeouts::default(),
            fence: None,
            release: false,
        })
    };
    let renamed = RegenerateSession {
        namespace: "default".into(),
        key: key("default", 8),
        new_key: key("default", 108),
        fence: None,
    };
    let mut operations = vec![
        Operation::PutNamespace { name: "shop".into(), change: Box::new(change), create: Some(true) },
        Operation::PutNamespace { name: "gone".into(), change: Box::default(), create: None },
        Operation::DeleteNamespace { name: "gone".into() },
        create("shop", 1, "bob"),
        create("shop", 2, "bob"),
        lock(6, 0),
        lock(6, 60_000),
        lock(7, 0),
        write("default", 10, Some("carol")),
        Operation::Regenerate(renamed),
        delete("default", 9),
        Operation::Revoke(RevokePrincipal {
            namespace: "shop".into(),
            principal: "bob".into(),
            except: Some(key("shop", 2)),
        }),
    ];
    // More events than that namespace keeps.
    operations.extend((0..150).map(|_| write("shop", 2, None)));
    let mut commands = vec![Command::RaiseApplyVersion { version: 2 }];
    let operate = |operation| Command::Operate { request: None, operation };
    commands.extend(operations.into_iter().map(operate));
    commands
}

fn proposals(version: u32) -> Vec<Proposal> {
    let mut commands = first_version();
    if version >= 2 {
        commands.extend(second_version());
    }
    let stamped =
        |(command, tick): (Command, u64)| Proposal { stamp: ClusterTime(1_800_000_000_000 + tick), command };
    commands.into_iter().zip(0..).map(stamped).collect()
}

fn state(version: u32) -> State {
    let mut state = State::new();
    for (index, proposal) in (1..).zip(proposals(version)) {
        state.apply(index, proposal);
    }
    state
}

fn position(version: u32) -> AppliedPosition {
    let index = u64::try_from(proposals(version).len()).unwrap();
    AppliedPosition { index, meta: Bytes::from_static(b"meta") }
}

fn id(index: u64) -> LogId {
    LogId { term: 2, node: 1, index }
}

fn records(version: u32) -> Vec<LogRecord> {
    let record = |(proposal, index): (Proposal, _)| LogRecord { id: id(index), bytes: proposal.encode() };
    proposals(version).into_iter().zip(1..).map(record).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn assert_log(log: &RaftLog, version: u32) {
    assert_eq!(log.vote(), Some(VOTE));
    assert_eq!(log.last_purged().map(|id| id.index), Some(4));
    let read = log.read(0, u64::MAX, u64::MAX).unwrap();
    assert_eq!(read.len() + 4, proposals(version).len());
    for (record, (proposal, index)) in read.iter().zip(proposals(version).into_iter().zip(1..).skip(4)) {
        assert_eq!(record.id, id(index));
        assert!(Proposal::decode(&record.bytes).unwrap() == proposal, "entry {index}");
    }
}

/// What the events of the second version's namespaces say.
fn assert_events(state: &State) {
    // The cluster began to tell when its apply version was raised.
    let began = state.events(1, Cursor::default()).err().unwrap().oldest;
    let all: Vec<_> = state.events(1, Cursor::behind(began.index - 1)).unwrap().collect();
    let what: Vec<_> = all.iter().map(|event| format!("{:?}", event.what)).collect();
    let renamed = format!("Renamed({})", key("default", 108));
    assert_eq!(what, ["Updated", &renamed, "Ended(Logout, 1 attributes)"]);
    assert_eq!((all[0].key, &*all[0].principal), (key("default", 10), "carol"));
    assert_eq!((all[2].key, all[2].ended()), (key("default", 9), Some(EndReason::Logout)));
    let (shop, policy) = state.namespace("shop").unwrap();
    let lost = state.events(shop, Cursor::default()).err().unwrap();
    assert!(lost.oldest.index > 23);
    let (kept, _) = state.events_kept(shop);
    assert!(kept <= policy.more.events_max.into() && kept > 1);
    let last: Option<Version> = state.events(shop, lost.oldest).unwrap().last().map(|event| event.version);
    assert_eq!(last, Some(151));
}

#[test]
fn data_directories_of_all_versions_open() {
    for version in 1..=PRESENT {
        let temporary = tempfile::TempDir::new().unwrap();
        copy(&fixtures(version).join("data"), temporary.path());
        let dir = DataDir::open(temporary.path(), IDENTITY, 1).unwrap();
        assert_eq!(dir.incarnation(), INCARNATION);
        assert!(!dir.is_fresh());
        let floor = Floor::open(&dir).unwrap();
        let log = RaftLog::open(&dir, &floor, options()).unwrap();
        assert_log(&log, version);
        let (mut store, loaded) = SledStore::open(&dir, &floor, OPTIONS).unwrap();
        let loaded = loaded.unwrap();
        assert_eq!(loaded.position, position(version));
        assert_eq!(loaded.state.digest().to_string(), digest(version));
        if version >= 2 {
            assert_events(&loaded.state);
        }

        // And it goes on, with what is new.
        let (mut state, mut index) = (loaded.state, loaded.position.index);
        for command in second_version() {
            index += 1;
            state.apply(index, Proposal { stamp: ClusterTime(1_800_000_001_000 + index), command });
        }
        let position = AppliedPosition { index, ..position(version) };
        store.write(Cut { position, changes: state.take_changes(), frozen: state.freeze() }).unwrap();
        drop(store);
        let (_, loaded) = SledStore::open(&dir, &floor, OPTIONS).unwrap();
        assert_eq!(loaded.unwrap().state.digest(), state.digest());
        log.close();
    }
}

#[test]
fn snapshots_of_all_versions_restore() {
    for version in 1..=PRESENT {
        let mut reader = SnapshotReader::new();
        reader.push(&std::fs::read(fixtures(version).join("snapshot")).unwrap()).unwrap();
        let (position_read, state) = reader.finish().unwrap();
        assert_eq!(position_read, position(version));
        assert_eq!(state.digest().to_string(), digest(version));
        if version >= 2 {
            assert_events(&state);
        }
    }
}

#[test]
fn the_same_proposals_still_give_the_same_digest() {
    for version in 1..=PRESENT {
        assert_eq!(state(version).digest().to_string(), digest(version));
    }
}

/// Writes the fixtures of the present formats. Run by hand, once for each new format version.
#[test]
#[ignore = "writes files into the source tree"]
fn write_the_fixtures() {
    let to = fixtures(PRESENT);
    let data = to.join("data");
    assert!(!data.exists(), "what was written once is not written again");
    std::fs::create_dir_all(&data).unwrap();
    let dir = DataDir::open(&data, IDENTITY, INCARNATION).unwrap();
    let floor = Floor::open(&dir).unwrap();
    let log = RaftLog::open(&dir, &floor, options()).unwrap();
    let (sender, done) = channel();
    let finished = || {
        let sender = sender.clone();
        Box::new(move |result: Result<(), std::io::Error>| sender.send(result).unwrap())
    };
    log.save_vote(VOTE, finished());
    log.append(records(PRESENT), finished());
    log.purge(id(4), finished());
    for _ in 0..3 {
        done.recv().unwrap().unwrap();
    }
    let (store, loaded) = SledStore::open(&dir, &floor, OPTIONS).unwrap();
    assert!(loaded.is_none());
    let mut state = state(PRESENT);
    assert_events(&state);
    let changes = state.take_changes();
    let frozen = state.freeze();
    let write_behind = WriteBehind::start(store, Box::new(|_| {}));
    write_behind.submit(Cut { position: position(PRESENT), frozen: frozen.clone(), changes });
    write_behind.close();
    log.close();
    std::fs::remove_file(data.join("LOCK")).unwrap();
    let snapshot: Vec<u8> = SnapshotWriter::new(position(PRESENT), frozen).flatten().collect();
    std::fs::write(to.join("snapshot"), snapshot).unwrap();
    std::fs::write(to.join("digest"), format!("{}\n", state.digest())).unwrap();
}
