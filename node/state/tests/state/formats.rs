//! Encodings that must not drift: bytes written today are read by every later version.
//!
//! When one of these fails, a format has changed: that needs a new format byte, and the old one stays readable.

use quorate_state::{
    AttributeChange, ClusterTime, Command, Header, Operation, Proposal, Record, RequestId, Restore, State,
    decode_client, decode_record, encode_client, encode_record,
};

use crate::base::{START, Store, create, delete, key, member, patch, regenerate, timeouts, touch, write};

/// One encoding in hex per line, in the order of [`proposals`].
const PROPOSALS: &str = include_str!("fixtures/proposals-1.hex");
/// Header, session, tombstone, client.
const STATE: &str = include_str!("fixtures/state-1.hex");
const DIGEST: &str = "f1896233e263e6067521d51f95693743";
const FIRST_DIGEST: &str = "be4bd04c383d87fc98207169cd80c72e";

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
    store.request((0x1234, 5, 5), Operation::Create(ann));
    store.create(2);
    store.request((0x1234, 6, 5), delete(2));
    store.request((0x1234, 7, 5), delete(2));
    store.pass(1_500);
    store.request((0x1234, 8, 5), touch(1));
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
    commands.into_iter().map(|command| Proposal { stamp: ClusterTime(START), command }).collect()
}

#[test]
fn proposals_are_written_as_ever() {
    let written: Vec<_> = proposals().iter().map(|proposal| hex::encode(proposal.encode())).collect();
    assert_eq!(written, lines(PROPOSALS));
    for (proposal, fixture) in proposals().iter().zip(lines(PROPOSALS)) {
        assert_eq!(&Proposal::decode(&hex::decode(fixture).unwrap()).unwrap(), proposal);
    }
}

#[test]
fn states_are_written_as_ever_and_read_back() {
    let store = store();
    let frozen = store.state.freeze();
    let records: Vec<_> =
        frozen.records().map(|(_, key, record)| hex::encode(encode_record(key, record))).collect();
    let clients: Vec<_> =
        frozen.clients().map(|(id, client)| hex::encode(encode_client(id, client))).collect();
    let written = [vec![hex::encode(frozen.header().encode())], records, clients].concat();
    assert_eq!(written, lines(STATE));
    assert_eq!(frozen.digest().to_string(), DIGEST);

    let fixtures: Vec<_> = lines(STATE).iter().map(|fixture| hex::decode(fixture).unwrap()).collect();
    let [header, live, tombstone, client] = fixtures.try_into().unwrap();
    assert_eq!(&Header::decode(&header).unwrap(), frozen.header());
    assert!(matches!(decode_record(&live), Ok((_, Record::Live(session))) if *session.principal == *"ann"));
    assert!(matches!(decode_record(&tombstone), Ok((at, Record::Tombstone(_))) if at == key(2)));
    assert_eq!(decode_client(&client).unwrap().1.outcomes(), 4);
    let mut restore = Restore::new(&header).unwrap();
    restore.insert(&live).unwrap();
    restore.insert(&tombstone).unwrap();
    restore.client(&client).unwrap();
    assert_eq!(restore.finish().unwrap().digest(), store.state.digest());
}

#[test]
fn the_first_state_is_as_ever() {
    assert_eq!(State::new().digest().to_string(), FIRST_DIGEST);
}
