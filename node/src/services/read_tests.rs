use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;

use super::*;
use crate::services::executor::{Context, Executor, deadline_after};
use crate::services::request::{Request, Work};
use crate::services::scripted::{CLUSTER, Scripted};

const ID: &str = "0123456789abcdef";

async fn execute(backend: &Scripted, operation: Wire) -> Result<Answer, Failure> {
    let context = Context { deadline: deadline_after(None), redirect: false, forwarded: false };
    let operation = v1::Operation { operation: Some(operation), ..Default::default() };
    Executor::new(backend.clone(), 1 << 20).execute(operation, context).await
}

async fn create(backend: &Scripted, idle_ms: u64) {
    let timeouts = Some(v1::Timeouts { idle_ms: Some(idle_ms), absolute_ms: None });
    let create = v1::CreateRequest { id: ID.to_owned(), timeouts, ..Default::default() };
    execute(backend, Wire::Create(create)).await.unwrap();
}

async fn get(backend: &Scripted, touch: Option<bool>) -> Result<v1::GetResponse, Failure> {
    match execute(backend, Wire::Get(v1::GetRequest { id: ID.to_owned(), touch, ..Default::default() }))
        .await?
    {
        Answer::Get(got) => Ok(got),
        other => panic!("{other:?}"),
    }
}

/// The idle timeout is 10 s, its granule 1 s: a touch within half a second of the last is not worth an entry.
#[tokio::test]
async fn only_touches_that_matter_are_replicated() {
    let backend = Scripted::leader();
    create(&backend, 10_000).await;
    assert_eq!(backend.submitted(), 1);
    backend.advance(500);
    get(&backend, None).await.unwrap();
    assert_eq!(backend.submitted(), 1);
    backend.advance(1);
    let got = get(&backend, None).await.unwrap();
    assert_eq!(backend.submitted(), 2);
    assert_eq!(got.position, Some(v1::Position { cluster: CLUSTER, index: 2 }));
    assert_eq!(got.session.unwrap().remaining_ms, Some(10_000));
    backend.advance(4_000);
    let got = get(&backend, Some(false)).await.unwrap();
    assert_eq!(backend.submitted(), 2);
    assert_eq!(got.session.unwrap().remaining_ms, Some(6_000));
}

/// Live by the state's clock, expired by the leader's: a Tick settles it before anyone is answered.
#[tokio::test]
async fn an_expired_session_is_never_served() {
    let backend = Scripted::leader();
    create(&backend, 1_000).await;
    backend.advance(1_999);
    get(&backend, Some(false)).await.unwrap();
    assert_eq!(backend.ticks(), 0);
    backend.advance(1);
    let failure = get(&backend, None).await.unwrap_err();
    assert_eq!((failure.reason, backend.ticks()), ("NOT_FOUND", 1));
    assert_eq!(backend.with_applied(|state, _| state.clocks()), backend.now());
}

fn write(value: &'static str) -> Wire {
    let set = [("a".to_owned(), bytes::Bytes::from_static(value.as_bytes()))].into();
    let change = Some(v1::write_request::Change::Patch(v1::Patch { set, remove: Vec::new() }));
    Wire::Write(v1::WriteRequest { id: ID.to_owned(), change, ..Default::default() })
}

/// A write comes between the look at the session and its touch: what is answered is the session at the position that
/// is answered with it.
#[tokio::test]
async fn a_touched_read_answers_content_and_position_that_belong_together() {
    let backend = Scripted::leader();
    create(&backend, 10_000).await;
    backend.advance(5_000);
    backend.hold(true);
    let writing = tokio::spawn({
        let backend = backend.clone();
        async move { execute(&backend, write("new")).await }
    });
    backend.until("the write in the log", |backend| backend.submitted() == 2).await;
    let getting = tokio::spawn({
        let backend = backend.clone();
        async move { get(&backend, None).await }
    });
    backend.until("the touch behind it", |backend| backend.submitted() == 3).await;
    backend.hold(false);
    writing.await.unwrap().unwrap();
    let got = getting.await.unwrap().unwrap();
    let session = got.session.unwrap();
    assert_eq!((session.version, got.position.unwrap().index), (2, 3));
    assert_eq!(session.remaining_ms, Some(10_000));
}

/// One session is overdue; while the Tick that settles it is applied, another one's deadline passes. That is for the
/// next read to find.
#[tokio::test]
async fn a_deadline_that_passes_during_a_tick_is_no_trouble() {
    let backend = Scripted::leader();
    create(&backend, 1_000).await;
    let other = "other-0123456789abcdef";
    let timeouts = Some(v1::Timeouts { idle_ms: Some(1_001), absolute_ms: None });
    let request = v1::CreateRequest { id: other.to_owned(), timeouts, ..Default::default() };
    execute(&backend, Wire::Create(request)).await.unwrap();
    backend.advance(2_000);
    backend.advance_at_tick(1);
    let reads = [ID, other].map(|id| {
        let get = v1::GetRequest { id: id.to_owned(), touch: Some(false), ..Default::default() };
        match Request::parse(&Wire::Get(get), CLUSTER).unwrap().work {
            Work::Read(read) => read,
            other => panic!("{other:?}"),
        }
    });
    let answers = linearizable(&backend, &reads, 1 << 20).await;
    let [first, second] = answers.try_into().unwrap();
    assert!(matches!(first, Some(Err(Unserved::Failed(failure))) if failure.reason == "NOT_FOUND"));
    assert!(matches!(second, Some(Ok(Answer::Get(_)))), "{second:?}");
    assert_eq!(backend.ticks(), 1);
}

#[tokio::test]
async fn unknown_namespaces_are_told_from_unknown_sessions() {
    let backend = Scripted::leader();
    assert_eq!(get(&backend, None).await.unwrap_err().reason, "NOT_FOUND");
    let get = v1::GetRequest { namespace: "shop".to_owned(), id: ID.to_owned(), ..Default::default() };
    assert_eq!(execute(&backend, Wire::Get(get)).await.unwrap_err().reason, "UNKNOWN_NAMESPACE");
}

#[tokio::test]
async fn chosen_attributes_alone_are_returned() {
    let backend = Scripted::leader();
    let attributes = ["a", "b"].map(|name| (name.to_owned(), bytes::Bytes::from_static(b"v"))).into();
    let create = v1::CreateRequest { id: ID.to_owned(), attributes, ..Default::default() };
    execute(&backend, Wire::Create(create)).await.unwrap();
    for (chosen, expected) in [(None, 2), (Some(vec![]), 0), (Some(vec!["b".to_owned(), "c".to_owned()]), 1)]
    {
        let attributes = chosen.map(|names| v1::AttributeNames { names });
        let get = v1::GetRequest { id: ID.to_owned(), attributes, ..Default::default() };
        match execute(&backend, Wire::Get(get)).await.unwrap() {
            Answer::Get(got) => assert_eq!(got.session.unwrap().attributes.len(), expected),
            other => panic!("{other:?}"),
        }
    }
}

/// A call without a request id is submitted once, whatever becomes of it.
#[tokio::test]
async fn calls_that_may_have_been_applied_are_not_repeated() {
    let backend = Scripted::leader();
    backend.fail_next(ProposeError::Unknown("deposed".to_owned()));
    let failure = execute(&backend, Wire::Create(v1::CreateRequest::default())).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable, failure.maybe_applied), ("OUTCOME_UNKNOWN", false, true));
    assert_eq!(backend.submitted(), 1);
}

#[tokio::test]
async fn a_forwarded_operation_is_never_forwarded_again() {
    use crate::consensus::ForwardHandler as _;
    let backend = Scripted::leader();
    backend.follow();
    let get = Wire::Get(v1::GetRequest { id: ID.to_owned(), ..Default::default() });
    let operation = v1::Operation { tag: 5, timeout_ms: 100, operation: Some(get) };
    let answer = Executor::new(backend.clone(), 1 << 20).handle(operation).await;
    assert_eq!(answer.tag, 5);
    assert!(
        matches!(answer.answer, Some(Answer::Error(error)) if error.code == i32::from(Code::Unavailable))
    );
    assert!(backend.forwarded().is_empty());
}

#[tokio::test]
async fn a_follower_has_the_leader_answer() {
    let remote = Scripted::leader();
    let backend = Scripted::follower(&remote);
    create(&backend, 10_000).await;
    get(&backend, None).await.unwrap();
    let failure =
        execute(&backend, Wire::Create(v1::CreateRequest { id: ID.to_owned(), ..Default::default() })).await;
    assert!(matches!(failure, Ok(Answer::Error(error)) if error.code == i32::from(Code::AlreadyExists)));
    assert_eq!((remote.live_sessions(), backend.live_sessions()), (1, 0));
    assert!(backend.forwarded().iter().all(|operation| (1..=5_000).contains(&operation.timeout_ms)));
}

/// A stock client's call during a failover: it waits for the new leader instead of failing.
#[tokio::test]
async fn a_failover_is_sat_out() {
    let remote = Scripted::leader();
    let backend = Scripted::follower(&remote);
    backend.lose_leader();
    let creating = tokio::spawn({
        let backend = backend.clone();
        async move { execute(&backend, Wire::Create(v1::CreateRequest::default())).await }
    });
    tokio::task::yield_now().await;
    backend.follow();
    assert!(matches!(creating.await.unwrap(), Ok(Answer::Create(_))));
    assert_eq!(remote.live_sessions(), 1);
}

/// As above, but this node does not know yet that who it forwards to leads no longer: nothing was applied there.
#[tokio::test]
async fn a_leader_that_was_deposed_a_moment_ago_is_sat_out_too() {
    let remote = Scripted::leader();
    let backend = Scripted::follower(&remote);
    remote.lose_leader();
    let creating = tokio::spawn({
        let backend = backend.clone();
        async move { execute(&backend, Wire::Create(v1::CreateRequest::default())).await }
    });
    backend.until("it was forwarded", |backend| !backend.forwarded().is_empty()).await;
    remote.lead();
    assert!(matches!(creating.await.unwrap(), Ok(Answer::Create(_))));
    assert_eq!(remote.live_sessions(), 1);
}

#[tokio::test]
async fn without_a_leader_a_call_ends_long_before_its_deadline() {
    let backend = Scripted::leader();
    backend.lose_leader();
    let began = tokio::time::Instant::now();
    let failure = execute(&backend, Wire::Create(v1::CreateRequest::default())).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable, failure.maybe_applied), ("NO_LEADER", true, false));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(backend.submitted(), 0);
}
