//! Exactly once, and the client handles it hangs on.

use quorate_state::{
    ClusterTime, Command, Limits, Operation, Outcome, Proposal, Refusal, SessionKey, encode_client,
};

use crate::base::{Replica, START, Store, attributes, create, delete, patch, refused, touch, write, written};

const CLIENT: u64 = 77;

fn store() -> Store {
    let mut store = Store::new();
    assert_eq!(store.apply(Command::OpenClient { client: CLIENT }), Outcome::ClientOpened(CLIENT));
    store.create(1);
    store
}

fn set(value: &str) -> Operation {
    Operation::Write(write(1, patch(&[("a", value)], &[])))
}

#[test]
fn a_retry_gets_the_first_outcome_and_changes_nothing() {
    let mut store = store();
    assert_eq!(store.request((CLIENT, 1, 1), set("x")), written(2));
    store.write(1, patch(&[("a", "y")], &[]));
    let before = store.state.digest();
    assert_eq!(store.request((CLIENT, 1, 1), set("x")), written(2));
    assert_eq!(store.state.digest(), before);
    assert_eq!(store.attributes(1), attributes(&[("a", "y"), ("b", "2")]));
}

#[test]
fn a_refusal_is_an_outcome_and_remembered() {
    let mut store = store();
    assert_eq!(store.request((CLIENT, 1, 1), touch(2)), refused(Refusal::NotFound));
    store.create(2);
    assert_eq!(store.request((CLIENT, 1, 1), touch(2)), refused(Refusal::NotFound));
    assert_eq!(store.request((CLIENT, 2, 1), Operation::Create(create(1))), refused(Refusal::AlreadyExists));
    store.run(delete(1));
    assert_eq!(store.request((CLIENT, 2, 1), Operation::Create(create(1))), refused(Refusal::AlreadyExists));
}

#[test]
fn the_same_id_with_another_payload_is_refused() {
    let mut store = store();
    store.request((CLIENT, 1, 1), set("x"));
    assert_eq!(store.request((CLIENT, 1, 1), set("z")), refused(Refusal::RequestMismatch));
    assert_eq!(store.attributes(1), attributes(&[("a", "x"), ("b", "2")]));
    assert_eq!(store.request((CLIENT, 1, 1), set("x")), written(2));
}

#[test]
fn what_is_no_longer_remembered_is_stale() {
    let mut store = store();
    for sequence in 1..=5 {
        store.request((CLIENT, sequence, 1), touch(1));
    }
    assert_eq!(store.state.freeze().client(CLIENT).unwrap().outcomes(), 5);
    store.request((CLIENT, 6, 4), touch(1));
    let frozen = store.state.freeze();
    let client = frozen.client(CLIENT).unwrap();
    assert_eq!((client.lowest(), client.outcomes()), (4, 3));
    let before = store.state.digest();
    assert_eq!(store.request((CLIENT, 3, 1), touch(1)), refused(Refusal::StaleRequest));
    assert_eq!(store.request((CLIENT, 6, 7), touch(1)), refused(Refusal::StaleRequest));
    assert_eq!(store.state.digest(), before, "a stale request raises nothing");
    // The lowest never falls again.
    assert_eq!(store.request((CLIENT, 7, 1), set("x")), written(2));
    assert_eq!(store.state.freeze().client(CLIENT).unwrap().lowest(), 4);
}

#[test]
fn outstanding_requests_are_bounded() {
    let mut store = store();
    let max = Limits::OUTCOMES_MAX;
    let too_many = refused(Refusal::TooManyOutstanding { max });
    assert_eq!(store.request((CLIENT, 10 + max, 10), set("x")), too_many);
    assert_eq!(store.request((CLIENT, 10 + max, 10), set("x")), too_many);
    assert_eq!(store.request((CLIENT, u64::MAX, 10), set("x")), too_many);
    assert_eq!(store.state.freeze().client(CLIENT).unwrap().outcomes(), 0);
    assert_eq!(store.request((CLIENT, 9 + max, 10), set("x")), written(2));
    // It was not recorded: once there is room it runs.
    assert_eq!(store.request((CLIENT, 10 + max, 11), set("y")), written(3));
    assert_eq!(store.request((CLIENT, u64::MAX, u64::MAX), set("z")), written(4));
}

#[test]
fn requests_may_come_out_of_order() {
    let mut store = store();
    assert_eq!(store.request((CLIENT, 3, 1), set("3")), written(2));
    assert_eq!(store.request((CLIENT, 1, 1), set("1")), written(3));
    assert_eq!(store.request((CLIENT, 3, 1), set("3")), written(2));
    assert_eq!(store.request((CLIENT, 2, 1), set("2")), written(4));
}

#[test]
fn an_unknown_client_is_refused() {
    let mut store = store();
    let before = store.state.digest();
    assert_eq!(store.request((5, 1, 1), set("x")), refused(Refusal::UnknownClient));
    assert_eq!(store.state.digest(), before);
    assert_eq!(store.apply(Command::OpenClient { client: CLIENT }), refused(Refusal::ClientTaken));
}

#[test]
fn a_client_is_forgotten_after_an_hour_without_use() {
    let mut store = store();
    store.request((CLIENT, 1, 1), touch(1));
    store.pass(Limits::CLIENT_IDLE_MS);
    assert_eq!(store.request((CLIENT, 1, 1), touch(1)), Outcome::Touched { remaining_ms: Some(1_200_000) });
    store.pass(Limits::CLIENT_IDLE_MS);
    assert_eq!(store.state.clients(), 1, "the retry was a use");
    store.pass(60_000);
    assert_eq!(store.state.clients(), 0);
    assert_eq!(store.request((CLIENT, 2, 1), touch(1)), refused(Refusal::UnknownClient));
}

fn open(state: &mut Replica, stamp: u64, client: u64) -> Outcome {
    state.apply(Proposal { stamp: ClusterTime(stamp), command: Command::OpenClient { client } })
}

#[test]
fn open_clients_are_bounded_and_forgotten_a_few_at_a_time() {
    let mut state = Replica::first();
    let mut stamp = START;
    let max = u64::try_from(Limits::CLIENTS_MAX).unwrap();
    for client in 0..max {
        assert_eq!(open(&mut state, stamp, client), Outcome::ClientOpened(client));
    }
    let too_many = refused(Refusal::TooManyClients { max });
    assert_eq!(open(&mut state, stamp, max), too_many);
    // Five minutes later one goes for each that comes: the one with the lowest number, all else being equal.
    while stamp < START + Limits::CLIENT_SPARED_MS {
        stamp += 60_000;
        state.apply(Proposal { stamp: ClusterTime(stamp), command: Command::Tick { wall_ms: 0 } });
        assert_eq!(state.clients(), Limits::CLIENTS_MAX);
    }
    stamp += 60_000;
    let mut other = state.restored(false);
    for state in [&mut state, &mut other] {
        assert_eq!(open(state, stamp, max), Outcome::ClientOpened(max));
        assert!(state.freeze().client(0).is_none() && state.freeze().client(1).is_some());
        assert_eq!(state.clients(), Limits::CLIENTS_MAX);
    }
    assert_eq!(state.digest(), other.digest());
    // An hour later: each entry forgets some, on a restored replica as on this one.
    while state.clients() == Limits::CLIENTS_MAX {
        stamp += 60_000;
        state.apply(Proposal { stamp: ClusterTime(stamp), command: Command::Tick { wall_ms: 0 } });
        assert!(stamp < START + 2 * Limits::CLIENT_IDLE_MS);
    }
    assert!(stamp >= START + Limits::CLIENT_IDLE_MS);
    let left = state.clients();
    assert!((Limits::CLIENTS_MAX - 100..Limits::CLIENTS_MAX).contains(&left), "{left} are left");
    let mut other = state.restored(false);
    for state in [&mut state, &mut other] {
        assert_eq!(open(state, stamp, max + 1), Outcome::ClientOpened(max + 1));
    }
    assert!(state.clients() < left);
    assert_eq!(state.digest(), other.digest());
}

#[test]
fn an_outcome_is_about_a_hundred_bytes() {
    let mut store = store();
    let keys: Vec<_> = (0..1_000_u128).map(|number| SessionKey(number.to_be_bytes())).collect();
    for sequence in 0..Limits::OUTCOMES_MAX {
        let operation = Operation::TouchMany { namespace: "default".into(), keys: keys.clone() };
        let outcome = store.request((CLIENT, sequence, 0), operation);
        let Outcome::TouchedMany { missing } = &outcome else { panic!("{outcome:?}") };
        assert_eq!(missing.iter().count(), 1_000);
    }
    let frozen = store.state.freeze();
    let bytes = encode_client(CLIENT, frozen.client(CLIENT).unwrap()).len() as u64;
    assert!(bytes / Limits::OUTCOMES_MAX < 160, "{bytes} bytes");
}
