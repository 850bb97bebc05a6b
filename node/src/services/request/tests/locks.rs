//! Locks, lists, namespaces, and reads that may be stale.

use super::*;

fn lock() -> v1::LockRequest {
    v1::LockRequest { id: ID.to_owned(), ..Default::default() }
}

fn list() -> v1::ListRequest {
    v1::ListRequest::default()
}

fn put(policy: v1::Policy) -> Wire {
    Wire::PutNamespace(v1::PutNamespaceRequest {
        name: "shop".into(),
        policy: Some(policy),
        ..Default::default()
    })
}

/// The same for what came later.
#[test]
fn bad_input_of_locks_lists_and_namespaces_is_refused_with_reason_and_field() {
    let id = || ID.to_owned();
    let handle = || "0123456789abcdef0123456789abcdef".to_owned();
    let at_least = Some(v1::Position { cluster: CLUSTER, index: 5 });
    let table: Vec<(Wire, &str, &str)> = vec![
        (Wire::Lock(v1::LockRequest { id: "short".into(), ..lock() }), "INVALID_ID", "id"),
        (Wire::Lock(v1::LockRequest { lease_ms: 999, ..lock() }), "LEASE_OUT_OF_RANGE", "lease_ms"),
        (Wire::Lock(v1::LockRequest { lease_ms: 3_600_001, ..lock() }), "LEASE_OUT_OF_RANGE", "lease_ms"),
        (Wire::Lock(v1::LockRequest { wait_ms: 60_001, ..lock() }), "WAIT_OUT_OF_RANGE", "wait_ms"),
        (Wire::Lock(v1::LockRequest { fence: Some(0), ..lock() }), "INVALID_FENCE", "fence"),
        (Wire::Lock(v1::LockRequest { owner: "x".repeat(129), ..lock() }), "INVALID_OWNER", "owner"),
        (
            Wire::Lock(v1::LockRequest {
                get: true,
                attributes: Some(v1::AttributeNames { names: vec![String::new()] }),
                ..lock()
            }),
            "INVALID_ATTRIBUTE_NAME",
            "attributes.names",
        ),
        (Wire::Unlock(v1::UnlockRequest { id: id(), ..Default::default() }), "INVALID_FENCE", "fence"),
        (
            Wire::BreakLock(v1::BreakLockRequest { handle: id(), ..Default::default() }),
            "INVALID_HANDLE",
            "handle",
        ),
        (
            Wire::BreakLock(v1::BreakLockRequest { handle: handle().to_uppercase(), ..Default::default() }),
            "INVALID_HANDLE",
            "handle",
        ),
        (Wire::Write(v1::WriteRequest { fence: Some(0), ..write() }), "INVALID_FENCE", "fence"),
        (Wire::Write(v1::WriteRequest { release: true, ..write() }), "FENCE_REQUIRED", "fence"),
        (
            Wire::Write(v1::WriteRequest { fence: Some(1), principal: None, ..write() }),
            "NOTHING_TO_WRITE",
            "change",
        ),
        (
            Wire::Regenerate(v1::RegenerateRequest { id: id(), fence: Some(0), ..Default::default() }),
            "INVALID_FENCE",
            "fence",
        ),
        (Wire::Delete(v1::DeleteRequest::default()), "INVALID_ID", "id"),
        (
            Wire::Delete(v1::DeleteRequest { id: id(), handle: handle(), ..Default::default() }),
            "CONTRADICTING_NAMES",
            "handle",
        ),
        (
            Wire::Delete(v1::DeleteRequest { handle: "0f".into(), ..Default::default() }),
            "INVALID_HANDLE",
            "handle",
        ),
        (
            Wire::TouchMany(v1::TouchManyRequest { ids: vec![id(); 1_001], ..Default::default() }),
            "TOO_MANY_IDS",
            "ids",
        ),
        (
            Wire::TouchMany(v1::TouchManyRequest { ids: vec![id(), "short".into()], ..Default::default() }),
            "INVALID_ID",
            "ids",
        ),
        (Wire::Get(v1::GetRequest { stale_ms: Some(1_999), ..get() }), "STALENESS_OUT_OF_RANGE", "stale_ms"),
        (
            Wire::Get(v1::GetRequest { stale_ms: Some(2_000), at_least, ..get() }),
            "CONTRADICTING_READ",
            "stale_ms",
        ),
        (
            Wire::Get(v1::GetRequest { stale_ms: Some(2_000), touch: Some(true), ..get() }),
            "CONTRADICTING_READ",
            "touch",
        ),
        (Wire::List(v1::ListRequest { namespace: "a b".into(), ..list() }), "INVALID_NAMESPACE", "namespace"),
        (
            Wire::List(v1::ListRequest { principal: Some(String::new()), ..list() }),
            "INVALID_PRINCIPAL",
            "principal",
        ),
        (
            Wire::List(v1::ListRequest { handle_prefix: "xyz".into(), ..list() }),
            "INVALID_HANDLE",
            "handle_prefix",
        ),
        (
            Wire::List(v1::ListRequest { handle_prefix: "0".repeat(33), ..list() }),
            "INVALID_HANDLE",
            "handle_prefix",
        ),
        (Wire::List(v1::ListRequest { page_size: 1_001, ..list() }), "INVALID_PAGE_SIZE", "page_size"),
        (
            Wire::List(v1::ListRequest { page_token: "0".into(), ..list() }),
            "INVALID_PAGE_TOKEN",
            "page_token",
        ),
        (Wire::List(v1::ListRequest { stale_ms: Some(0), ..list() }), "STALENESS_OUT_OF_RANGE", "stale_ms"),
        (Wire::Revoke(v1::RevokeRequest::default()), "INVALID_PRINCIPAL", "principal"),
        (
            Wire::Revoke(v1::RevokeRequest {
                principal: "ada".into(),
                except_id: "short".into(),
                ..Default::default()
            }),
            "INVALID_ID",
            "except_id",
        ),
        (Wire::PutNamespace(v1::PutNamespaceRequest::default()), "INVALID_NAMESPACE", "name"),
        (
            Wire::PutNamespace(v1::PutNamespaceRequest { name: "a/b".into(), ..Default::default() }),
            "INVALID_NAMESPACE",
            "name",
        ),
        (
            Wire::PutNamespace(v1::PutNamespaceRequest {
                name: "shop".into(),
                mode: 3,
                ..Default::default()
            }),
            "INVALID_MODE",
            "mode",
        ),
        (
            put(v1::Policy { principal_overflow: Some(0), ..Default::default() }),
            "INVALID_OVERFLOW",
            "policy.principal_overflow",
        ),
        (
            put(v1::Policy { principal_overflow: Some(9), ..Default::default() }),
            "INVALID_OVERFLOW",
            "policy.principal_overflow",
        ),
        (Wire::GetNamespace(v1::GetNamespaceRequest::default()), "INVALID_NAMESPACE", "name"),
        (Wire::DeleteNamespace(v1::DeleteNamespaceRequest::default()), "INVALID_NAMESPACE", "name"),
    ];
    for (operation, reason, field) in table {
        let failure = parse(operation).expect_err(reason);
        assert_eq!((failure.reason, failure.field), (reason, Some(field)), "{}", failure.message);
        assert_eq!(failure.code, Code::InvalidArgument);
        assert!(!failure.retryable && !failure.maybe_applied);
    }
}

#[test]
fn a_write_may_give_a_lock_back_and_nothing_else() {
    let release = v1::WriteRequest { fence: Some(7), release: true, principal: None, ..write() };
    parse(Wire::Write(release)).unwrap();
}

#[test]
fn a_lock_has_a_lease_and_waits_only_to_take_it() {
    let parsed = |lock: v1::LockRequest| {
        let request = parse(Wire::Lock(lock)).unwrap();
        let waits = request.waits();
        match request.work {
            Work::Mutate { command: Command::Operate { operation: Operation::Lock(lock), .. }, .. } => {
                (lock.lease_ms, lock.wait_ms, waits)
            }
            work => panic!("{work:?}"),
        }
    };
    assert_eq!(parsed(lock()), (30_000, 0, false));
    assert_eq!(parsed(v1::LockRequest { lease_ms: 1_000, wait_ms: 60_000, ..lock() }), (1_000, 60_000, true));
    let renewal = v1::LockRequest { lease_ms: 3_600_000, wait_ms: 5, fence: Some(7), ..lock() };
    assert_eq!(parsed(renewal), (3_600_000, 5, false));
}

#[test]
fn a_handle_names_the_session_that_an_id_names() {
    let by_id =
        parse(Wire::Delete(v1::DeleteRequest { id: ID.into(), ..Default::default() })).unwrap().keys();
    let handle = by_id.each().next().unwrap().handle();
    let by_handle = parse(Wire::Delete(v1::DeleteRequest { handle: handle.clone(), ..Default::default() }));
    assert_eq!(by_handle.unwrap().keys(), by_id);
    let broken = parse(Wire::BreakLock(v1::BreakLockRequest { handle, ..Default::default() }));
    assert_eq!(broken.unwrap().keys(), by_id);
}

#[test]
fn stale_reads_are_local_and_touch_nothing() {
    let request = parse(Wire::Get(v1::GetRequest { stale_ms: Some(2_000), ..get() })).unwrap();
    assert!(request.is_local());
    assert!(matches!(request.work, Work::Read(Read { touch: false, .. })));
    assert!(parse(Wire::List(v1::ListRequest { stale_ms: Some(2_000), ..list() })).unwrap().is_local());
    assert!(!parse(Wire::List(list())).unwrap().is_local());
}

#[test]
fn zero_lifts_the_limits_of_a_policy_and_unset_leaves_them() {
    let change = |policy| match parse(put(policy)).unwrap().work {
        Work::Mutate {
            command: Command::Operate { operation: Operation::PutNamespace { change, .. }, .. },
            ..
        } => *change,
        work => panic!("{work:?}"),
    };
    assert_eq!(change(v1::Policy::default()), quorate_state::PolicyChange::default());
    let lifted = change(v1::Policy {
        default_idle_ms: Some(0),
        sessions_max: Some(0),
        principal_sessions_max: Some(5),
        longest_idle_ms: Some(0),
        ..Default::default()
    });
    assert_eq!((lifted.default_idle_ms, lifted.sessions_max), (Some(None), Some(None)));
    assert_eq!((lifted.principal_sessions_max, lifted.idle_ms_max), (Some(Some(5)), Some(0)));
}
