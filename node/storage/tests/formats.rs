//! Formats on disk are promises: what version 1 wrote, every later version opens. The files in `tests/fixtures/v1`
//! were written once, by `write_the_fixtures` below, and are never written again.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use bytes::Bytes;
use quorate_state::{
    ClusterTime, Command, CreateSession, Member, Operation, Proposal, RequestId, SessionId, SessionKey,
    State, Timeouts,
};
use quorate_storage::{
    AppliedPosition, Cut, DataDir, Floor, Identity, LogId, LogOptions, LogRecord, RaftLog, SessionOptions,
    SledStore, SnapshotReader, SnapshotWriter, Vote, WriteBehind,
};

const IDENTITY: Identity = Identity { cluster_id: 0xc0ffee, node_id: 3 };
const INCARNATION: u64 = 0xfeed;
const VOTE: Vote = Vote { term: 2, node: 1, committed: true };
const ENTRIES: u64 = 20;
const DIGEST: &str = include_str!("../../../tests/fixtures/v1/digest");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/v1")
}

fn options() -> LogOptions {
    LogOptions { file_bytes: 64 << 10, prefill_bytes: 0, ..LogOptions::default() }
}

fn proposals() -> Vec<Proposal> {
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
    for sequence in 1..=ENTRIES - 2 {
        let id = SessionId::parse(&format!("fixture-session-{sequence:04}")).unwrap();
        let key = SessionKey::derive("default", &id);
        let operation = if sequence == 5 {
            let id = SessionId::parse("fixture-session-0004").unwrap();
            Operation::Delete { namespace: "default".into(), key: SessionKey::derive("default", &id) }
        } else {
            Operation::Create(CreateSession {
                namespace: "default".into(),
                key,
                attributes: [(
                    "name".into(),
                    Bytes::from(vec![b'v'; usize::try_from(sequence * 900).unwrap()]),
                )]
                .into(),
                principal: "alice".into(),
                timeouts: Timeouts { idle_ms: Some(86_400_000), absolute_ms: None },
            })
        };
        let request = Some(RequestId { client: 9, sequence, lowest_unanswered: 1 });
        commands.push(Command::Operate { request, operation });
    }
    let stamped =
        |(command, tick): (Command, u64)| Proposal { stamp: ClusterTime(1_800_000_000_000 + tick), command };
    commands.into_iter().zip(0..).map(stamped).collect()
}

fn state() -> State {
    let mut state = State::new();
    for proposal in proposals() {
        state.apply(proposal);
    }
    state
}

fn position() -> AppliedPosition {
    AppliedPosition { index: ENTRIES, meta: Bytes::from_static(b"meta") }
}

fn records() -> Vec<LogRecord> {
    let id = |index| LogId { term: 2, node: 1, index };
    proposals()
        .iter()
        .zip(1..)
        .map(|(proposal, index)| LogRecord { id: id(index), bytes: proposal.encode() })
        .collect()
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

#[test]
fn a_data_directory_of_version_1_opens() {
    let temporary = tempfile::TempDir::new().unwrap();
    copy(&fixtures().join("data"), temporary.path());
    let dir = DataDir::open(temporary.path(), IDENTITY, 1).unwrap();
    assert_eq!(dir.incarnation(), INCARNATION);
    assert!(!dir.is_fresh());
    let floor = Floor::open(&dir).unwrap();
    let log = RaftLog::open(&dir, &floor, options()).unwrap();
    assert_eq!(log.vote(), Some(VOTE));
    assert_eq!(log.last_purged().map(|id| id.index), Some(4));
    assert_eq!(log.read(0, u64::MAX, u64::MAX).unwrap(), records().split_off(4));
    let (_, loaded) = SledStore::open(&dir, &floor, SessionOptions { cache_bytes: 1 << 20 }).unwrap();
    let loaded = loaded.unwrap();
    assert_eq!(loaded.position, position());
    assert_eq!(loaded.state.digest().to_string(), DIGEST.trim());
    log.close();
}

#[test]
fn a_snapshot_of_version_1_restores() {
    let mut reader = SnapshotReader::new();
    reader.push(&std::fs::read(fixtures().join("snapshot")).unwrap()).unwrap();
    let (position_read, state) = reader.finish().unwrap();
    assert_eq!(position_read, position());
    assert_eq!(state.digest().to_string(), DIGEST.trim());
}

#[test]
fn the_same_proposals_still_give_the_same_digest() {
    assert_eq!(state().digest().to_string(), DIGEST.trim());
}

/// Writes the fixtures of the present formats. Run by hand, once for each new format version.
#[test]
#[ignore = "writes files into the source tree"]
fn write_the_fixtures() {
    let to = fixtures();
    let data = to.join("data");
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
    log.append(records(), finished());
    log.purge(LogId { term: 2, node: 1, index: 4 }, finished());
    for _ in 0..3 {
        done.recv().unwrap().unwrap();
    }
    let (store, loaded) = SledStore::open(&dir, &floor, SessionOptions { cache_bytes: 1 << 20 }).unwrap();
    assert!(loaded.is_none());
    let mut state = state();
    let changes = state.take_changes();
    let frozen = state.freeze();
    let write_behind = WriteBehind::start(store, Box::new(|_| {}));
    write_behind.submit(Cut { position: position(), frozen: frozen.clone(), changes });
    write_behind.close();
    log.close();
    std::fs::remove_file(data.join("LOCK")).unwrap();
    let snapshot: Vec<u8> = SnapshotWriter::new(position(), frozen).flatten().collect();
    std::fs::write(to.join("snapshot"), snapshot).unwrap();
    std::fs::write(to.join("digest"), format!("{}\n", state.digest())).unwrap();
}
