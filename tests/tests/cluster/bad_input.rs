use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use quorate_proto::v1::sessions_client::SessionsClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{Outcome, create_request, fact, patiently, reason, stub, three};

/// A request that must be refused, and how.
struct Case {
    name: &'static str,
    request: Wire,
    code: Code,
    reason: &'static str,
}

fn case(name: &'static str, request: Wire, code: Code, reason: &'static str) -> Case {
    Case { name, request, code, reason }
}

fn attributes(count: usize, bytes: usize) -> BTreeMap<String, Bytes> {
    (0..count).map(|number| (format!("n{number}"), Bytes::from(vec![7; bytes]))).collect()
}

fn timeouts(idle_ms: Option<u64>, absolute_ms: Option<u64>) -> Option<v1::Timeouts> {
    Some(v1::Timeouts { idle_ms, absolute_ms })
}

/// Creates that must be refused.
fn creates(live: &str) -> Vec<Case> {
    let create = |change: fn(&mut v1::CreateRequest)| {
        let mut request = create_request("x");
        change(&mut request);
        Wire::Create(request)
    };
    let existing = Wire::Create(v1::CreateRequest { id: live.to_owned(), ..create_request("x") });
    let (invalid, exhausted) = (Code::InvalidArgument, Code::ResourceExhausted);
    let range = "TIMEOUT_OUT_OF_RANGE";
    vec![
        case(
            "unknown namespace",
            create(|r| r.namespace = "nowhere".into()),
            Code::NotFound,
            "UNKNOWN_NAMESPACE",
        ),
        case(
            "malformed namespace",
            create(|r| r.namespace = "no where".into()),
            invalid,
            "INVALID_NAMESPACE",
        ),
        case("NUL in namespace", create(|r| r.namespace = "a\0b".into()), invalid, "INVALID_NAMESPACE"),
        case("long namespace", create(|r| r.namespace = "n".repeat(65)), invalid, "INVALID_NAMESPACE"),
        case("short id", create(|r| r.id = "short".into()), invalid, "INVALID_ID"),
        case("long id", create(|r| r.id = "i".repeat(257)), invalid, "INVALID_ID"),
        case("id with a space", create(|r| r.id = format!("{} x", r.id)), invalid, "INVALID_ID"),
        case("id that is no ASCII", create(|r| r.id = "ü".repeat(20)), invalid, "INVALID_ID"),
        case("id in use", existing, Code::AlreadyExists, "ALREADY_EXISTS"),
        case(
            "257 attributes",
            create(|r| r.attributes = attributes(257, 1)),
            exhausted,
            "TOO_MANY_ATTRIBUTES",
        ),
        case(
            "5000 attributes",
            create(|r| r.attributes = attributes(5000, 1)),
            exhausted,
            "TOO_MANY_ATTRIBUTES",
        ),
        case("too large", create(|r| r.attributes = attributes(3, 400_000)), exhausted, "SESSION_TOO_LARGE"),
        case(
            "attribute without a name",
            create(|r| r.attributes = [(String::new(), Bytes::new())].into()),
            invalid,
            "INVALID_ATTRIBUTE_NAME",
        ),
        case(
            "long attribute name",
            create(|r| r.attributes = [("n".repeat(257), Bytes::new())].into()),
            invalid,
            "INVALID_ATTRIBUTE_NAME",
        ),
        case("long principal", create(|r| r.principal = "p".repeat(257)), invalid, "INVALID_PRINCIPAL"),
        case("zero idle timeout", create(|r| r.timeouts = timeouts(Some(0), None)), invalid, range),
        case("zero absolute timeout", create(|r| r.timeouts = timeouts(None, Some(0))), invalid, range),
        case("999 ms", create(|r| r.timeouts = timeouts(Some(999), None)), invalid, range),
        case(
            "enormous idle timeout",
            create(|r| r.timeouts = timeouts(Some(u64::MAX), None)),
            invalid,
            range,
        ),
        case(
            "enormous absolute timeout",
            create(|r| r.timeouts = timeouts(None, Some(u64::MAX))),
            invalid,
            range,
        ),
        case(
            "request id of client 0",
            create(|r| r.request_id = Some(v1::RequestId { client: 0, sequence: 1, lowest_unanswered: 1 })),
            invalid,
            "INVALID_REQUEST_ID",
        ),
        case(
            "request id with sequence 0",
            create(|r| r.request_id = Some(v1::RequestId { client: 1, sequence: 0, lowest_unanswered: 0 })),
            invalid,
            "INVALID_REQUEST_ID",
        ),
        case(
            "request id without an id",
            create(|r| {
                r.id = String::new();
                r.request_id = Some(v1::RequestId { client: 1, sequence: 1, lowest_unanswered: 1 });
            }),
            invalid,
            "ID_REQUIRED",
        ),
    ]
}

/// Changes of the session `live` and of others that must be refused.
fn changes(live: &str) -> Vec<Case> {
    let write = |change: fn(&mut v1::WriteRequest)| {
        let mut request =
            v1::WriteRequest { id: live.to_owned(), principal: Some("mallory".into()), ..Default::default() };
        change(&mut request);
        Wire::Write(request)
    };
    fn patch(set: BTreeMap<String, Bytes>, remove: &[&str]) -> Option<v1::write_request::Change> {
        let remove = remove.iter().map(|name| (*name).to_owned()).collect();
        Some(v1::write_request::Change::Patch(v1::Patch { set, remove }))
    }
    let nobody = create_request("x").id;
    let (invalid, exhausted) = (Code::InvalidArgument, Code::ResourceExhausted);
    vec![
        case("wrong version", write(|r| r.if_version = Some(7)), Code::Aborted, "VERSION_CONFLICT"),
        case("version 0", write(|r| r.if_version = Some(0)), Code::Aborted, "VERSION_CONFLICT"),
        case("nothing to write", write(|r| r.principal = None), invalid, "NOTHING_TO_WRITE"),
        case(
            "empty patch",
            write(|r| (r.principal, r.change) = (None, patch(BTreeMap::new(), &[]))),
            invalid,
            "NOTHING_TO_WRITE",
        ),
        case(
            "set and remove",
            write(|r| r.change = patch(attributes(1, 1), &["n0"])),
            invalid,
            "CONTRADICTING_PATCH",
        ),
        case(
            "remove without a name",
            write(|r| r.change = patch(BTreeMap::new(), &[""])),
            invalid,
            "INVALID_ATTRIBUTE_NAME",
        ),
        case(
            "patch too large",
            write(|r| r.change = patch(attributes(3, 400_000), &[])),
            exhausted,
            "SESSION_TOO_LARGE",
        ),
        case(
            "patch of 300",
            write(|r| r.change = patch(attributes(300, 1), &[])),
            exhausted,
            "TOO_MANY_ATTRIBUTES",
        ),
        case(
            "zero timeout",
            write(|r| r.timeouts = timeouts(Some(0), None)),
            invalid,
            "TIMEOUT_OUT_OF_RANGE",
        ),
        case(
            "enormous timeout",
            write(|r| r.timeouts = timeouts(Some(1 << 60), None)),
            invalid,
            "TIMEOUT_OUT_OF_RANGE",
        ),
        case(
            "write of nobody",
            Wire::Write(v1::WriteRequest {
                id: nobody.clone(),
                principal: Some("m".into()),
                ..Default::default()
            }),
            Code::NotFound,
            "NOT_FOUND",
        ),
        case(
            "read of nobody",
            Wire::Get(v1::GetRequest { id: nobody.clone(), ..Default::default() }),
            Code::NotFound,
            "NOT_FOUND",
        ),
        case(
            "read of 257 names",
            Wire::Get(v1::GetRequest {
                id: live.to_owned(),
                attributes: Some(v1::AttributeNames { names: vec!["a".into(); 257] }),
                ..Default::default()
            }),
            invalid,
            "TOO_MANY_NAMES",
        ),
        case("read without an id", Wire::Get(v1::GetRequest::default()), invalid, "INVALID_ID"),
        case("touch without an id", Wire::Touch(v1::TouchRequest::default()), invalid, "INVALID_ID"),
        case("delete without an id", Wire::Delete(v1::DeleteRequest::default()), invalid, "INVALID_ID"),
        case(
            "delete in an unknown namespace",
            Wire::Delete(v1::DeleteRequest {
                namespace: "nowhere".into(),
                id: live.to_owned(),
                ..Default::default()
            }),
            Code::NotFound,
            "UNKNOWN_NAMESPACE",
        ),
        case(
            "regenerate to a malformed id",
            Wire::Regenerate(v1::RegenerateRequest {
                id: live.to_owned(),
                new_id: "x".into(),
                ..Default::default()
            }),
            invalid,
            "INVALID_ID",
        ),
        case(
            "regenerate to itself",
            Wire::Regenerate(v1::RegenerateRequest {
                id: live.to_owned(),
                new_id: live.to_owned(),
                ..Default::default()
            }),
            Code::AlreadyExists,
            "ALREADY_EXISTS",
        ),
    ]
    .into_iter()
    .chain(newer(live))
    .collect()
}

/// Locks, lists, revocation, stale reads.
fn newer(live: &str) -> Vec<Case> {
    let invalid = Code::InvalidArgument;
    let (id, read) = (live.to_owned(), v1::GetRequest { id: live.to_owned(), ..Default::default() });
    let lock = v1::LockRequest { id: id.clone(), ..Default::default() };
    let unlock = v1::UnlockRequest { id: id.clone(), fence: 1 << 60, ..Default::default() };
    let write = v1::WriteRequest { id: id.clone(), release: true, ..Default::default() };
    let many = v1::TouchManyRequest { ids: vec![id.clone(); 1_001], ..Default::default() };
    let both = v1::DeleteRequest { id: id.clone(), handle: "0".repeat(32), ..Default::default() };
    let handle = v1::BreakLockRequest { handle: "XYZ".into(), ..Default::default() };
    let list = v1::ListRequest::default();
    let stranger = v1::RevokeRequest { principal: "stranger".into(), except_id: id, ..Default::default() };
    vec![
        case(
            "lease of 1 ms",
            Wire::Lock(v1::LockRequest { lease_ms: 1, ..lock.clone() }),
            invalid,
            "LEASE_OUT_OF_RANGE",
        ),
        case(
            "wait for ever",
            Wire::Lock(v1::LockRequest { wait_ms: u64::MAX, ..lock }),
            invalid,
            "WAIT_OUT_OF_RANGE",
        ),
        case("unlock by another's token", Wire::Unlock(unlock), Code::FailedPrecondition, "STALE_FENCE"),
        case("release without a token", Wire::Write(write), invalid, "FENCE_REQUIRED"),
        case("touch of 1001", Wire::TouchMany(many), invalid, "TOO_MANY_IDS"),
        case("delete of two names", Wire::Delete(both), invalid, "CONTRADICTING_NAMES"),
        case("break by no handle", Wire::BreakLock(handle), invalid, "INVALID_HANDLE"),
        case(
            "list from a made-up page",
            Wire::List(v1::ListRequest { page_token: "made up".into(), ..list.clone() }),
            invalid,
            "INVALID_PAGE_TOKEN",
        ),
        case(
            "list of pages too large",
            Wire::List(v1::ListRequest { page_size: 1_001, ..list }),
            invalid,
            "INVALID_PAGE_SIZE",
        ),
        case("revoke of nobody", Wire::Revoke(v1::RevokeRequest::default()), invalid, "INVALID_PRINCIPAL"),
        case(
            "revoke but for another's",
            Wire::Revoke(stranger),
            Code::FailedPrecondition,
            "NOT_OF_PRINCIPAL",
        ),
        case(
            "a second old at most",
            Wire::Get(v1::GetRequest { stale_ms: Some(1_000), ..read }),
            invalid,
            "STALENESS_OUT_OF_RANGE",
        ),
    ]
}

async fn unary(stub: &SessionsClient<Channel>, request: Wire) -> Result<(), Status> {
    patiently(|| {
        let (mut stub, request) = (stub.clone(), request.clone());
        async move {
            match request {
                Wire::OpenClient(request) => stub.open_client(request).await.map(|answer| answer.map(drop)),
                Wire::Create(request) => stub.create(request).await.map(|answer| answer.map(drop)),
                Wire::Get(request) => stub.get(request).await.map(|answer| answer.map(drop)),
                Wire::Write(request) => stub.write(request).await.map(|answer| answer.map(drop)),
                Wire::Touch(request) => stub.touch(request).await.map(|answer| answer.map(drop)),
                Wire::Delete(request) => stub.delete(request).await.map(|answer| answer.map(drop)),
                Wire::Regenerate(request) => stub.regenerate(request).await.map(|answer| answer.map(drop)),
                Wire::TouchMany(request) => stub.touch_many(request).await.map(|answer| answer.map(drop)),
                Wire::Lock(request) => stub.lock(request).await.map(|answer| answer.map(drop)),
                Wire::Unlock(request) => stub.unlock(request).await.map(|answer| answer.map(drop)),
                Wire::BreakLock(request) => stub.break_lock(request).await.map(|answer| answer.map(drop)),
                Wire::List(request) => stub.list(request).await.map(|answer| answer.map(drop)),
                Wire::Revoke(request) => stub.revoke(request).await.map(|answer| answer.map(drop)),
                other => panic!("{other:?} is not of the sessions service"),
            }
        }
    })
    .await
}

/// One operation through a pipeline, as the status that a unary call would have had.
async fn pipelined(stub: &SessionsClient<Channel>, operation: Option<Wire>) -> Result<(), Status> {
    patiently(|| {
        let (mut stub, operation) = (stub.clone(), operation.clone());
        async move {
            let operations = vec![v1::Operation { tag: 77, timeout_ms: 0, operation }];
            // An empty message in front: it means nothing and must do nothing.
            let messages =
                [v1::PipelineRequest::default(), v1::PipelineRequest { operations, ..Default::default() }];
            let mut answers = stub.pipeline(tokio_stream::iter(messages)).await?.into_inner();
            let message = answers.message().await?.ok_or_else(|| Status::internal("the stream ended"))?;
            let answer = message.answers.into_iter().next().ok_or_else(|| Status::internal("no answer"))?;
            assert_eq!(answer.tag, 77);
            match answer.answer {
                Some(v1::answer::Answer::Error(error)) => {
                    Err(Status::with_details(Code::from(error.code), error.message, error.details))
                }
                _ => Ok(tonic::Response::new(())),
            }
        }
    })
    .await
}

fn assert_refused(how: &str, case: &Case, result: Result<(), Status>) {
    let Err(status) = result else { panic!("{how}: {}: was accepted", case.name) };
    let found = (status.code(), reason(&status));
    assert_eq!(found, (case.code, case.reason.to_owned()), "{how}: {}: {status}", case.name);
    assert!(!status.message().is_empty(), "{how}: {}: no message", case.name);
    assert_eq!(fact(&status, "maybe_applied").as_deref(), Some("false"), "{how}: {}", case.name);
    assert!(fact(&status, "retryable").is_some(), "{how}: {}", case.name);
}

#[tokio::test]
async fn bad_input_gets_a_clear_error_and_changes_nothing() -> Outcome {
    let mut cluster = three().await?;
    let leader = cluster.wait_leader().await?;
    let follower = cluster.a_follower().await?;
    let live = create_request("as it was");
    let direct = stub(&cluster, leader).await?;
    unary(&direct, Wire::Create(live.clone())).await?;
    let before = cluster.status(leader).await?.sessions;

    let forwarded = stub(&cluster, follower).await?;
    let mut cases = creates(&live.id);
    cases.extend(changes(&live.id));
    for case in &cases {
        assert_refused("unary", case, unary(&direct, case.request.clone()).await);
        assert_refused("forwarded", case, unary(&forwarded, case.request.clone()).await);
        assert_refused("pipelined", case, pipelined(&direct, Some(case.request.clone())).await);
    }
    let bodiless = pipelined(&direct, None).await.err().ok_or("an operation without a body was accepted")?;
    assert_eq!(bodiless.code(), Code::InvalidArgument, "{bodiless}");
    let conflict =
        changes(&live.id).into_iter().find(|case| case.reason == "VERSION_CONFLICT").ok_or("no case")?;
    let conflict = unary(&direct, conflict.request).await.err().ok_or("no conflict")?;
    assert_eq!(fact(&conflict, "current_version").as_deref(), Some("1"));

    // Two bytes each, and far more in memory: the stream ends before they are decoded.
    let operations = vec![v1::Operation::default(); 2_000_000];
    let stream = tokio_stream::iter([v1::PipelineRequest { operations, ..Default::default() }]);
    let mut answers = direct.clone().pipeline(stream).await?.into_inner();
    let refused = answers.message().await.err().ok_or("two million operations were taken")?;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "TOO_MANY_OPERATIONS"));

    // More than any message may have: refused by the transport, not a crash.
    let huge = v1::CreateRequest { attributes: attributes(8, 1 << 20), ..create_request("x") };
    let refused = direct
        .clone()
        .max_encoding_message_size(64 << 20)
        .create(huge)
        .await
        .err()
        .ok_or("8 MiB were taken")?;
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused}");
    assert_ne!(reason(&refused), "", "every error carries a reason: {refused}");

    let session = cluster.client()?.get(&live.id.parse()?).await?;
    assert_eq!((session.version, session.principal.as_str()), (1, ""));
    assert_eq!(session.attributes.get("a").map(AsRef::as_ref), Some(b"as it was".as_slice()));
    for id in cluster.ids() {
        cluster.wait_ready(id).await?;
    }
    let digests = cluster.digests().await?;
    assert!(digests.are_equal(), "{digests}");
    assert_eq!(cluster.status(leader).await?.sessions, before);
    Ok(())
}
