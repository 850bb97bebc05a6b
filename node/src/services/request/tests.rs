use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tonic::Code;

use super::*;

mod locks;

const CLUSTER: u64 = 77;
const ID: &str = "0123456789abcdef";

fn parse(operation: Wire) -> Result<Request, Failure> {
    Request::parse(&operation, CLUSTER)
}

fn create() -> v1::CreateRequest {
    v1::CreateRequest { id: ID.to_owned(), ..Default::default() }
}

fn write() -> v1::WriteRequest {
    v1::WriteRequest { id: ID.to_owned(), principal: Some("ada".to_owned()), ..Default::default() }
}

fn get() -> v1::GetRequest {
    v1::GetRequest { id: ID.to_owned(), ..Default::default() }
}

fn named_attributes(names: impl IntoIterator<Item = String>) -> BTreeMap<String, Bytes> {
    names.into_iter().map(|name| (name, Bytes::from_static(b"v"))).collect()
}

fn with_timeouts(idle_ms: Option<u64>, absolute_ms: Option<u64>) -> Wire {
    Wire::Create(v1::CreateRequest { timeouts: Some(v1::Timeouts { idle_ms, absolute_ms }), ..create() })
}

fn with_request(client: u64, sequence: u64, lowest_unanswered: u64) -> Wire {
    let request_id = Some(v1::RequestId { client, sequence, lowest_unanswered });
    Wire::Touch(v1::TouchRequest { id: ID.to_owned(), request_id, ..Default::default() })
}

fn patch(set: &[&str], remove: &[&str]) -> Wire {
    let set = named_attributes(set.iter().map(|name| (*name).to_owned()));
    let remove = remove.iter().map(|name| (*name).to_owned()).collect();
    let change = Some(v1::write_request::Change::Patch(v1::Patch { set, remove }));
    Wire::Write(v1::WriteRequest { id: ID.to_owned(), change, ..Default::default() })
}

/// What no state would accept: an operation, why it is refused, and the field that is named.
type Refused<'a> = (Wire, &'a str, &'a str);

fn all_are_refused(table: Vec<Refused<'_>>) {
    for (operation, reason, field) in table {
        let failure = parse(operation).expect_err(reason);
        assert_eq!((failure.reason, failure.field), (reason, Some(field)), "{}", failure.message);
        let limit = matches!(reason, "TOO_MANY_ATTRIBUTES" | "SESSION_TOO_LARGE");
        assert_eq!(failure.code, if limit { Code::ResourceExhausted } else { Code::InvalidArgument });
        assert!(!failure.retryable && !failure.maybe_applied);
    }
}

fn create_with(change: fn(&mut v1::CreateRequest)) -> Wire {
    let mut request = create();
    change(&mut request);
    Wire::Create(request)
}

#[test]
fn bad_input_is_refused_with_reason_and_field() {
    all_are_refused(vec![
        (create_with(|r| r.namespace = "a b".into()), "INVALID_NAMESPACE", "namespace"),
        (create_with(|r| r.namespace = "a\0b".into()), "INVALID_NAMESPACE", "namespace"),
        (create_with(|r| r.namespace = "x".repeat(65)), "INVALID_NAMESPACE", "namespace"),
        (create_with(|r| r.id = "short".into()), "INVALID_ID", "id"),
        (create_with(|r| r.id = "x".repeat(257)), "INVALID_ID", "id"),
        (create_with(|r| r.id = "0123456789 abcdef".into()), "INVALID_ID", "id"),
        (create_with(|r| r.principal = "x".repeat(257)), "INVALID_PRINCIPAL", "principal"),
        (
            create_with(|r| r.attributes = named_attributes([String::new()])),
            "INVALID_ATTRIBUTE_NAME",
            "attributes",
        ),
        (
            create_with(|r| r.attributes = named_attributes(["x".repeat(257)])),
            "INVALID_ATTRIBUTE_NAME",
            "attributes",
        ),
        (
            create_with(|r| r.attributes = named_attributes((0..=4_096).map(|n| n.to_string()))),
            "TOO_MANY_ATTRIBUTES",
            "attributes",
        ),
        (
            create_with(|r| {
                r.id = String::new();
                r.request_id = Some(v1::RequestId { client: 1, sequence: 1, lowest_unanswered: 1 });
            }),
            "ID_REQUIRED",
            "id",
        ),
        (
            create_with(|r| r.attributes = named_attributes((0..257).map(|number| number.to_string()))),
            "TOO_MANY_ATTRIBUTES",
            "attributes",
        ),
        (
            create_with(|r| r.attributes = [("a".into(), vec![0; 1 << 20].into())].into()),
            "SESSION_TOO_LARGE",
            "attributes",
        ),
        (with_timeouts(Some(0), None), "TIMEOUT_OUT_OF_RANGE", "timeouts.idle_ms"),
        (with_timeouts(Some(999), None), "TIMEOUT_OUT_OF_RANGE", "timeouts.idle_ms"),
        (with_timeouts(Some(1_000), Some(0)), "TIMEOUT_OUT_OF_RANGE", "timeouts.absolute_ms"),
        (with_request(0, 1, 1), "INVALID_REQUEST_ID", "request_id"),
        (with_request(1, 0, 0), "INVALID_REQUEST_ID", "request_id"),
        (with_request(1, 4, 5), "INVALID_REQUEST_ID", "request_id"),
    ]);
}

#[test]
fn writes_that_say_nothing_or_too_much_are_refused() {
    all_are_refused(vec![
        (patch(&[], &[]), "NOTHING_TO_WRITE", "change"),
        (patch(&["a"], &["a"]), "CONTRADICTING_PATCH", "patch"),
        (patch(&[""], &[]), "INVALID_ATTRIBUTE_NAME", "patch.set"),
        (patch(&[], &[""]), "INVALID_ATTRIBUTE_NAME", "patch.remove"),
        (
            Wire::Write(v1::WriteRequest { principal: None, if_version: Some(1), ..write() }),
            "NOTHING_TO_WRITE",
            "change",
        ),
        (
            Wire::Write(v1::WriteRequest { principal: Some("x".repeat(257)), ..write() }),
            "INVALID_PRINCIPAL",
            "principal",
        ),
    ]);
}

#[test]
fn bad_ids_and_names_are_refused_by_other_operations_too() {
    all_are_refused(vec![
        (Wire::Get(v1::GetRequest { id: String::new(), ..get() }), "INVALID_ID", "id"),
        (
            Wire::Get(v1::GetRequest {
                attributes: Some(v1::AttributeNames { names: vec![String::new()] }),
                ..get()
            }),
            "INVALID_ATTRIBUTE_NAME",
            "attributes.names",
        ),
        (
            Wire::Get(v1::GetRequest {
                attributes: Some(v1::AttributeNames { names: vec!["a".into(); 257] }),
                ..get()
            }),
            "TOO_MANY_NAMES",
            "attributes.names",
        ),
        (Wire::Delete(v1::DeleteRequest { id: "short".into(), ..Default::default() }), "INVALID_ID", "id"),
        (
            Wire::Regenerate(v1::RegenerateRequest {
                id: ID.into(),
                new_id: "short".into(),
                ..Default::default()
            }),
            "INVALID_ID",
            "new_id",
        ),
    ]);
}

#[test]
fn a_position_of_another_cluster_is_refused() {
    let at_least = |cluster| Some(v1::Position { cluster, index: 5 });
    let failure = parse(Wire::Get(v1::GetRequest { at_least: at_least(CLUSTER + 1), ..get() })).unwrap_err();
    assert_eq!((failure.code, failure.reason), (Code::FailedPrecondition, "OTHER_CLUSTER"));
    parse(Wire::Get(v1::GetRequest { at_least: at_least(CLUSTER), ..get() })).unwrap();
}

/// No message tells the id, an attribute's name or a principal: they may be secrets, and messages are logged.
#[test]
fn messages_tell_no_secret() {
    let secret = "s3cr3t s3cr3t s3cr3t";
    let failures = [
        parse(Wire::Get(v1::GetRequest { id: secret.into(), ..get() })),
        parse(Wire::Create(v1::CreateRequest { principal: secret.repeat(20), ..create() })),
        parse(patch(&[secret], &[secret])),
    ];
    for failure in failures {
        assert!(!format!("{:?}", failure.unwrap_err()).contains("s3cr3t"));
    }
}

#[test]
fn touch_defaults_to_true_for_linearizable_reads_alone() {
    let touches = |get: v1::GetRequest| match parse(Wire::Get(get)).unwrap().work {
        Work::Read(read) => (read.touch, read.is_local()),
        work => panic!("{work:?}"),
    };
    let at_least = Some(v1::Position { cluster: CLUSTER, index: 5 });
    assert_eq!(touches(get()), (true, false));
    assert_eq!(touches(v1::GetRequest { touch: Some(false), ..get() }), (false, false));
    assert_eq!(touches(v1::GetRequest { at_least, ..get() }), (false, true));
    assert_eq!(touches(v1::GetRequest { at_least, touch: Some(true), ..get() }), (true, false));
}

#[test]
fn the_empty_namespace_is_the_default_one() {
    let key = |namespace: &str| {
        parse(Wire::Create(v1::CreateRequest { namespace: namespace.into(), ..create() })).unwrap().keys()
    };
    assert_eq!(key(""), key("default"));
    assert_ne!(key(""), key("shop"));
}

#[test]
fn ids_made_here_differ_and_are_valid() {
    let made = |_| match parse(Wire::Create(v1::CreateRequest::default())).unwrap().work {
        Work::Mutate { reply: Reply::Create { id, .. }, .. } => id.reveal().to_owned(),
        work => panic!("{work:?}"),
    };
    let ids: BTreeSet<String> = (0..100).map(made).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() == 43));
}

#[test]
fn kept_values_pin_no_buffer() {
    let buffer = Bytes::from(vec![7_u8; 1 << 20]);
    let attributes = BTreeMap::from([("a".to_owned(), buffer.slice(10..20))]);
    let request = parse(Wire::Create(v1::CreateRequest { attributes, ..create() })).unwrap();
    let Work::Mutate { command: Command::Operate { operation: Operation::Create(kept), .. }, .. } =
        request.work
    else {
        panic!("no create");
    };
    let value = kept.attributes.get("a").unwrap();
    assert_eq!(value.as_ref(), &[7; 10]);
    assert!(!buffer.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn the_stake_follows_the_request_id() {
    let touch = v1::TouchRequest { id: ID.to_owned(), ..Default::default() };
    assert_eq!(parse(Wire::Touch(touch)).unwrap().stake, Stake::Mutation);
    assert_eq!(parse(with_request(1, 5, 5)).unwrap().stake, Stake::Once);
    assert_eq!(parse(Wire::Get(get())).unwrap().stake, Stake::Read);
}

#[test]
fn a_regenerate_is_about_both_keys() {
    let regenerate = v1::RegenerateRequest { id: ID.into(), ..Default::default() };
    let keys = parse(Wire::Regenerate(regenerate)).unwrap().keys();
    assert_eq!(keys.each().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn many_touches_are_about_each_session_once() {
    let ids = ["a", "b", "a"].map(|name| name.repeat(16)).to_vec();
    let request = parse(Wire::TouchMany(v1::TouchManyRequest { ids, ..Default::default() })).unwrap();
    assert_eq!(request.keys().each().collect::<BTreeSet<_>>().len(), 2);
    let Work::Mutate {
        command: Command::Operate { operation: Operation::TouchMany { keys, .. }, .. }, ..
    } = request.work
    else {
        panic!("no touch");
    };
    assert_eq!(keys.len(), 3, "each has its place in the answer");
    assert!(parse(Wire::TouchMany(v1::TouchManyRequest::default())).unwrap().keys().is_empty());
}
