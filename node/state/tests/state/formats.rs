//! Encodings that must not drift: bytes written today are read by every later version.
//!
//! When one of these fails, a format has changed: that needs a new format byte, and the old one stays readable.

use quorate_state::{
    AttributeChange, ClusterTime, Command, Counters, Cursor, Frozen, Header, LockSession, Operation, Outcome,
    Overflow, Policy, PolicyChange, Proposal, Record, Refusal, RequestId, Restore, RevokePrincipal, State,
    decode_client, decode_events, decode_record, encode_client, encode_events, encode_record,
};

use crate::base::{
    Replica, START, Store, create, delete, key, lock, member, patch, refused, regenerate, revoke, timeouts,
    touch, waiter, with_small, write,
};

/// What version 1 wrote, one encoding in hex per line: the first of [`proposals`].
const PROPOSALS_1: &str = include_str!("fixtures/proposals-1.hex");
/// Header, session, tombstone, client.
const STATE_1: &str = include_str!("fixtures/state-1.hex");
const DIGEST_1: &str = "f1896233e263e6067521d51f95693743";
const FIRST_DIGEST: &str = "be4bd04c383d87fc98207169cd80c72e";

/// What this version writes, in the order of [`proposals`].
const PROPOSALS_2: &str = include_str!("fixtures/proposals-2.hex");
/// Header, records, client, blocks of events.
const STATE_2: &str = include_str!("fixtures/state-2.hex");

fn lines(fixture: &str) -> Vec<&str> {
    fixture.lines().collect()
}

/// A state with one of everything.
fn store() -> Store {
    let mut store = Store::new();
    store.apply(Command::OpenClient { client: 0x1234 });
    store.apply(Command::Announce { node: 3, member: member(0xabcd) });
    let mut ann = create(1);
    ann.principal = "ann".into();
    ann.timeouts = timeouts(None, 86_400_000);
    store.request((0x1234, 5, 5), Operation::Create(ann.clone()));
    store.create(2);
    store.request((0x1234, 6, 5), delete(2));
    store.request((0x1234, 7, 5), delete(2));
    store.pass(1_500);
    store.request((0x1234, 8, 5), touch(1));
    store.request((0x1234, 9, 5), Operation::Lock(lock(1, 0)));
    store.run(Operation::Lock(lock(1, 30_000)));
    ann.key = key(4);
    store.run(Operation::Create(ann.clone()));
    ann.key = key(5);
    store.run(Operation::Create(ann));
    store.run(revoke("ann", Some(1)));
    store.apply(Command::Reap { keys: vec![key(4)] });
    let change = PolicyChange { sessions_max: Some(Some(9)), events_max: Some(7), ..PolicyChange::default() };
    store.run(Operation::PutNamespace { name: "shop".into(), change: change.into(), create: Some(true) });
    store
}

fn proposals() -> Vec<Proposal> {
    let request = Some(RequestId { client: 0x1234, sequence: 300, lowest_unanswered: 299 });
    let mut replace = write(1, AttributeChange::Replace(create(1).attributes));
    replace.if_version = Some(2);
    replace.principal = Some("ann".into());
    replace.timeouts = timeouts(30_000, None);
    let operations = [
        Operation::Create(create(1)),
        Operation::Write(write(1, AttributeChange::Keep)),
        Operation::Write(replace),
        Operation::Write(write(1, patch(&[("a", "x")], &["b"]))),
        touch(1),
        delete(1),
        regenerate(1, 2),
    ];
    let mut commands = vec![
        Command::Tick { wall_ms: START + 7 },
        Command::OpenClient { client: u64::MAX },
        Command::Reap { keys: vec![key(1), key(2)] },
        Command::Announce { node: 3, member: member(0xabcd) },
        Command::RaiseApplyVersion { version: 1 },
        Command::Operate { request, operation: touch(1) },
    ];
    commands.extend(operations.map(|operation| Command::Operate { request: None, operation }));
    commands.extend(newer());
    commands.into_iter().map(|command| Proposal { stamp: ClusterTime(START), command }).collect()
}

/// What version 1 did not know.
fn newer() -> Vec<Command> {
    let namespace: Box<str> = "default".into();
    let mut fenced = write(1, AttributeChange::Keep);
    (fenced.fence, fenced.release) = (Some(300), true);
    let change = PolicyChange {
        default_idle_ms: Some(None),
        granule_ms: Some(Some(2_000)),
        principal_overflow: Some(Overflow::EndOldest),
        ..PolicyChange::default()
    };
    let operations = [
        Operation::Write(fenced),
        Operation::TouchMany { namespace: namespace.clone(), keys: vec![key(1), key(2)] },
        Operation::Lock(LockSession { fence: Some(7), ..lock(1, 400) }),
        Operation::Unlock(waiter(1, 7)),
        Operation::BreakLock { namespace: namespace.clone(), key: key(1) },
        Operation::Revoke(RevokePrincipal { namespace, principal: "ann".into(), except: Some(key(1)) }),
        Operation::PutNamespace { name: "shop".into(), change: change.into(), create: Some(false) },
        Operation::DeleteNamespace { name: "shop".into() },
    ];
    let commands = [
        Command::ClaimLock(waiter(1, 7)),
        Command::LeaveLine(waiter(1, 8)),
        Command::SettleLocks { keys: vec![key(1)] },
    ];
    let operations = operations.map(|operation| Command::Operate { request: None, operation });
    commands.into_iter().chain(operations).collect()
}

/// All parts of a state in hex, the header first.
fn parts(frozen: &Frozen) -> Vec<String> {
    let records = frozen.records().map(|(_, key, record)| encode_record(key, record));
    let clients = frozen.clients().map(|(id, client)| encode_client(id, client));
    let events = frozen.event_blocks().map(|(id, block)| encode_events(id, block));
    let parts = std::iter::once(frozen.header().encode()).chain(records).chain(clients).chain(events);
    parts.map(hex::encode).collect()
}

#[test]
fn proposals_are_written_as_ever() {
    let written: Vec<_> = proposals().iter().map(|proposal| hex::encode(proposal.encode())).collect();
    assert_eq!(written, lines(PROPOSALS_2));
    for fixtures in [PROPOSALS_1, PROPOSALS_2] {
        for (proposal, fixture) in proposals().iter().zip(lines(fixtures)) {
            assert_eq!(&Proposal::decode(&hex::decode(fixture).unwrap()).unwrap(), proposal);
        }
    }
    assert_eq!(lines(PROPOSALS_1).len() + newer().len(), lines(PROPOSALS_2).len());
}

#[test]
fn states_are_written_as_ever_and_read_back() {
    let store = store();
    assert_eq!(parts(&store.state.freeze()), lines(STATE_2));
    let fixtures: Vec<_> = lines(STATE_2).iter().map(|fixture| hex::decode(fixture).unwrap()).collect();
    let mut restore = Restore::new(&fixtures[0]).unwrap();
    for part in &fixtures[1..] {
        let read = decode_record(part).is_ok() as u8 + decode_client(part).is_ok() as u8;
        // The three begin with the same byte, but for a record's.
        match (part[0], decode_events(part).is_ok(), read) {
            (2, _, _) => drop(restore.insert(part).unwrap()),
            (1, true, _) => restore.events(part).unwrap(),
            _ => restore.client(part).unwrap(),
        }
    }
    let restored = restore.finish().unwrap();
    assert_eq!(restored.digest(), store.state.digest());
    assert_eq!(parts(&restored.freeze()), lines(STATE_2));
}

#[test]
fn a_state_of_version_1_is_read_with_its_digest() {
    let fixtures: Vec<_> = lines(STATE_1).iter().map(|fixture| hex::decode(fixture).unwrap()).collect();
    let [header, live, tombstone, client] = fixtures.try_into().unwrap();
    let read = Header::decode(&header).unwrap();
    assert_eq!((read.apply_version, read.next_fence, read.next_namespace), (1, 1, 3));
    assert_eq!(read.namespaces["default"].policy, Policy::default());
    let Ok((_, Record::Live(session))) = decode_record(&live) else { panic!("a session") };
    assert_eq!((&*session.principal, session.signed_in, session.idle_ms), ("ann", 0, Some(1_200_000)));
    assert!(session.lock.is_none());
    assert!(matches!(decode_record(&tombstone), Ok((at, Record::Tombstone(_))) if at == key(2)));
    assert_eq!(decode_client(&client).unwrap().1.outcomes(), 4);
    let mut restore = Restore::new(&header).unwrap();
    restore.insert(&live).unwrap();
    restore.insert(&tombstone).unwrap();
    restore.client(&client).unwrap();
    assert_eq!(restore.finish().unwrap().digest().to_string(), DIGEST_1);
}

#[test]
fn by_apply_version_1_nothing_of_version_2_happens() {
    let mut state = Replica { state: with_small(1), index: 0 };
    let mut apply = |command| state.apply(Proposal { stamp: ClusterTime(START), command });
    let mut ann = create(1);
    ann.principal = "ann".into();
    apply(Command::Operate { request: None, operation: Operation::Create(ann) });
    for command in newer() {
        assert_eq!(apply(command.clone()), refused(Refusal::NotYetSupported { current: 1 }), "{command:?}");
    }
    let session = state.lookup("default", &key(1), state.clocks()).unwrap();
    assert_eq!(session.signed_in, 0);
    assert_eq!(state.events_kept(1), (0, 0));
    assert!(state.namespaces().all(|(_, namespace, _)| namespace.counters == Counters::default()));
    state.apply(Proposal { stamp: ClusterTime(START), command: Command::RaiseApplyVersion { version: 2 } });
    assert!(state.events(1, Cursor::default()).is_err(), "what was not told is not there");
    assert!(state.events(1, Cursor::behind(state.index)).is_ok());
    for command in newer() {
        let outcome = state.apply(Proposal { stamp: ClusterTime(START), command });
        assert!(!matches!(outcome, Outcome::Refused(Refusal::NotYetSupported { .. })));
    }
}

#[test]
fn the_first_state_is_as_ever() {
    assert_eq!(State::new().digest().to_string(), FIRST_DIGEST);
}

/// Writes the fixtures of the present formats. Run by hand, once for each new format version.
#[test]
#[ignore = "writes the fixtures"]
fn write_the_fixtures() {
    let to = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/fixtures");
    let proposals: Vec<_> = proposals().iter().map(|proposal| hex::encode(proposal.encode())).collect();
    std::fs::write(to.join("proposals-2.hex"), proposals.join("\n") + "\n").unwrap();
    std::fs::write(to.join("state-2.hex"), parts(&store().state.freeze()).join("\n") + "\n").unwrap();
}
