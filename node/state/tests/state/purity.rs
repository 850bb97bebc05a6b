//! What must not leak, and what must not be kept.

use bytes::Bytes;
use quorate_state::{
    AttributeChange, ClusterTime, Command, CreateSession, Operation, Proposal, SessionId, SessionKey,
};

use crate::base::{START, Store, attributes, create, patch, write};

const SECRET: &str = "s3cr3t-value";

fn secret_create() -> CreateSession {
    CreateSession {
        attributes: attributes(&[("card", SECRET)]),
        principal: "s3cr3t-user".into(),
        ..create(1)
    }
}

#[test]
fn debug_shows_no_values() {
    let mut store = Store::new();
    let create = Operation::Create(secret_create());
    let mut replace = write(1, AttributeChange::Replace(attributes(&[("card", SECRET)])));
    replace.principal = Some("s3cr3t-user".into());
    let patch = write(1, patch(&[("card", SECRET)], &["gone"]));
    for operation in [create, Operation::Write(replace), Operation::Write(patch)] {
        let proposal = Proposal {
            stamp: ClusterTime(START),
            command: Command::Operate { request: None, operation: operation.clone() },
        };
        assert!(!format!("{proposal:?}").contains("s3cr3t"));
        store.run(operation);
    }
    let session = format!("{:?} {:?}", store.get(1), store.state.freeze().records().collect::<Vec<_>>());
    assert!(session.contains("version: 3") && !session.contains("s3cr3t"));
    let id = SessionId::parse("s3cr3t-s3cr3t-s3cr3t-s3cr3t").unwrap();
    assert!(!format!("{id:?} {:?}", SessionKey::derive("default", &id)).contains("s3cr3t"));
}

#[test]
fn ids_are_checked_and_keys_depend_on_the_namespace() {
    let id = SessionId::parse("0123456789abcdef").unwrap();
    assert_ne!(SessionKey::derive("a", &id), SessionKey::derive("b", &id));
    assert_eq!(SessionKey::derive("default", &id).handle(), "3c523cd549bdcadd9fda83124bc96364");
    for (bad, message) in [
        ("0123456789abcde", "15 bytes"),
        (&*"x".repeat(257), "257 bytes"),
        ("0123456789 abcdef", "offset 10"),
        ("0123456789abcdé\0", "offset 14"),
    ] {
        let error = SessionId::parse(bad).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn decoding_copies_the_values_out_of_the_payload() {
    let command = Command::Operate { request: None, operation: Operation::Create(secret_create()) };
    let payload = Proposal { stamp: ClusterTime(START), command }.encode();
    let decoded = Proposal::decode(&payload).unwrap();
    let Command::Operate { operation: Operation::Create(create), .. } = decoded.command else {
        panic!("a create")
    };
    let kept: &Bytes = &create.attributes["card"];
    assert_eq!(kept, SECRET);
    assert!(!payload.as_ptr_range().contains(&kept.as_ptr()), "the value pins the payload's buffer");
}
