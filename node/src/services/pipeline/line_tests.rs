use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_proto::v1::operation::Operation as Wire;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::consensus::ReadError;
use crate::services::failure::relayed;
use crate::services::pipeline::pending::OPERATIONS_MAX;
use crate::services::scripted::{CLUSTER, Scripted};

#[path = "line_lock_tests.rs"]
mod locks;
#[path = "line_touch_tests.rs"]
mod touches;

/// A stream as its client sees it.
struct Client {
    requests: mpsc::Sender<Result<v1::PipelineRequest, Status>>,
    responses: mpsc::Receiver<Response>,
    stop: CancellationToken,
    ready: VecDeque<v1::Answer>,
}

impl Client {
    fn open(backend: &Scripted, redirect: bool) -> Client {
        Client::with_budget(backend, redirect, 64 << 20)
    }

    fn with_budget(backend: &Scripted, redirect: bool, bytes: u64) -> Client {
        let (requests, incoming) = mpsc::channel(16);
        let (sender, responses) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let line = Line::new(Executor::new(backend.clone(), bytes), redirect);
        tokio::spawn(line.run(ReceiverStream::new(incoming), sender, stop.clone()));
        Client { requests, responses, stop, ready: VecDeque::new() }
    }

    async fn send(&self, operations: Vec<v1::Operation>) {
        self.requests.send(Ok(v1::PipelineRequest { operations, ..Default::default() })).await.unwrap();
    }

    async fn cancel(&self, cancel: Vec<u64>) {
        self.requests.send(Ok(v1::PipelineRequest { cancel, ..Default::default() })).await.unwrap();
    }

    /// The next answer; `None` when the stream has ended.
    async fn next(&mut self) -> Option<(u64, Result<Answer, Status>)> {
        while self.ready.is_empty() {
            let received = tokio::time::timeout(Duration::from_secs(10), self.responses.recv());
            self.ready.extend(received.await.expect("an answer within 10 s")?.unwrap().answers);
        }
        let answer = self.ready.pop_front()?;
        Some(match answer.answer.unwrap() {
            Answer::Error(error) => (answer.tag, Err(relayed(error))),
            ok => (answer.tag, Ok(ok)),
        })
    }

    async fn take(&mut self, count: usize) -> BTreeMap<u64, Result<Answer, Status>> {
        let mut answers = BTreeMap::new();
        for _ in 0..count {
            let (tag, answer) = self.next().await.expect("an answer, not the end");
            assert!(answers.insert(tag, answer).is_none(), "{tag} was answered twice");
        }
        answers
    }
}

fn id(number: u64) -> String {
    format!("session-{number:016}")
}

fn operation(tag: u64, operation: Wire) -> v1::Operation {
    v1::Operation { tag, timeout_ms: 0, operation: Some(operation) }
}

fn create(tag: u64, number: u64) -> v1::Operation {
    operation(tag, Wire::Create(v1::CreateRequest { id: id(number), ..Default::default() }))
}

fn write(tag: u64, number: u64, value: &'static str) -> v1::Operation {
    let set = BTreeMap::from([("a".to_owned(), Bytes::from(value))]);
    let change = Some(v1::write_request::Change::Patch(v1::Patch { set, remove: Vec::new() }));
    operation(tag, Wire::Write(v1::WriteRequest { id: id(number), change, ..Default::default() }))
}

fn get(tag: u64, number: u64) -> v1::Operation {
    operation(tag, Wire::Get(v1::GetRequest { id: id(number), ..Default::default() }))
}

fn value(answer: &Result<Answer, Status>) -> &[u8] {
    match answer {
        Ok(Answer::Get(got)) => got.session.as_ref().unwrap().attributes.get("a").map_or(&[], |value| value),
        other => panic!("{other:?}"),
    }
}

/// An error's code, reason and whether it may have been applied.
fn error(answer: &Result<Answer, Status>) -> (Code, String, bool) {
    let status = answer.as_ref().expect_err("an error");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.domain, "quorate");
    (status.code(), info.reason, info.metadata.get("maybe_applied").unwrap() == "true")
}

#[tokio::test]
async fn answers_carry_their_tags() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(10, 1), create(11, 2), create(12, 1)]).await;
    let answers = client.take(3).await;
    assert!(
        matches!(&answers[&10], Ok(Answer::Create(created)) if created.id == id(1) && created.version == 1)
    );
    assert!(matches!(&answers[&11], Ok(Answer::Create(_))));
    assert_eq!(error(&answers[&12]), (Code::AlreadyExists, "ALREADY_EXISTS".to_owned(), false));
    client.send(vec![operation(13, Wire::OpenClient(v1::OpenClientRequest {}))]).await;
    assert!(matches!(&client.take(1).await[&13], Ok(Answer::OpenClient(opened)) if opened.client != 0));
}

#[tokio::test]
async fn a_read_behind_a_write_of_its_session_sees_it() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1), create(2, 2)]).await;
    client.take(2).await;
    backend.hold(true);
    client.send(vec![write(3, 1, "new"), get(4, 1), get(5, 2), write(6, 1, "newer"), get(7, 1)]).await;
    // The other session's read does not wait.
    assert_eq!(client.next().await.unwrap().0, 5);
    assert_eq!(backend.submitted(), 3, "the write behind the waiting read waits too");
    backend.hold(false);
    let answers = client.take(4).await;
    assert_eq!(value(&answers[&4]), b"new");
    assert_eq!(value(&answers[&7]), b"newer");
}

#[tokio::test]
async fn writes_of_a_session_do_not_wait_for_each_other() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    backend.hold(true);
    client.send(vec![create(1, 1), write(2, 1, "x"), write(3, 1, "y")]).await;
    backend.until("all three in the log", |backend| backend.submitted() == 3).await;
    backend.hold(false);
    let answers = client.take(3).await;
    assert!(matches!(&answers[&3], Ok(Answer::Write(written)) if written.version == 3));
}

#[tokio::test]
async fn empty_batches_are_ignored_and_empty_operations_refused() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![]).await;
    client.send(vec![v1::Operation { tag: 9, ..Default::default() }]).await;
    let answers = client.take(1).await;
    assert_eq!(error(&answers[&9]), (Code::InvalidArgument, "EMPTY_OPERATION".to_owned(), false));
}

#[tokio::test]
async fn a_deadline_tells_what_may_have_been_applied() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1)]).await;
    client.take(1).await;
    backend.hold(true);
    let brief = |operation| v1::Operation { timeout_ms: 20, ..operation };
    client.send(vec![brief(write(2, 1, "x")), brief(get(3, 1)), get(4, 1), brief(write(5, 1, "y"))]).await;
    let answers = client.take(3).await;
    assert_eq!(error(&answers[&2]), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned(), true));
    assert_eq!(error(&answers[&3]), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned(), false));
    assert_eq!(error(&answers[&5]), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned(), false));
    backend.hold(false);
    assert_eq!(value(&client.take(1).await[&4]), b"x", "still behind the write that ran out of time");
}

#[tokio::test]
async fn who_asks_for_a_redirect_is_told_the_leader() {
    let backend = Scripted::leader();
    backend.follow();
    let mut client = Client::open(&backend, true);
    client.send(vec![write(1, 1, "x"), get(2, 1)]).await;
    for answer in client.take(2).await.values() {
        assert_eq!(error(answer), (Code::Unavailable, "NOT_LEADER".to_owned(), false));
        let info = answer.as_ref().unwrap_err().get_details_error_info().unwrap();
        assert_eq!(info.metadata.get("leader").map(String::as_str), Some("there:7101"));
    }
    assert!(backend.forwarded().is_empty());
}

#[tokio::test]
async fn others_are_forwarded_in_the_order_of_each_session() {
    let remote = Scripted::leader();
    let backend = Scripted::follower(&remote);
    let mut client = Client::open(&backend, false);
    remote.hold(true);
    client.send(vec![create(1, 1), write(2, 1, "x"), get(3, 1), create(4, 2)]).await;
    backend.until("one of each session at the leader", |_| remote.submitted() == 2).await;
    assert_eq!(backend.forwarded().iter().map(|forwarded| forwarded.tag).collect::<Vec<_>>(), [1, 4]);
    remote.hold(false);
    let answers = client.take(4).await;
    assert_eq!(value(&answers[&3]), b"x");
    assert_eq!(backend.submitted(), 0);
}

/// The leadership is lost between arrival and the log: nothing was applied, so it all runs again, one by one.
#[tokio::test]
async fn what_was_not_appended_runs_again_in_order() {
    let backend = Scripted::leader();
    for _ in 0..2 {
        backend.fail_next(ProposeError::NotLeader { leader: None });
    }
    let mut client = Client::open(&backend, false);
    client.send(vec![create(1, 1), write(2, 1, "x")]).await;
    let answers = client.take(2).await;
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    assert_eq!(backend.submitted(), 4);
}

/// As above, but another node leads by then, and gets what this one did not append.
#[tokio::test]
async fn what_was_not_appended_goes_to_the_new_leader() {
    let remote = Scripted::leader();
    let backend = Scripted::leader();
    backend.follow_after(&remote, 1);
    let mut client = Client::open(&backend, false);
    client.send(vec![create(1, 1), create(2, 2)]).await;
    assert!(client.take(2).await.values().all(Result::is_ok));
    assert_eq!((backend.live_sessions(), remote.live_sessions()), (0, 2));
    assert_eq!(backend.forwarded().len(), 2);
}

#[tokio::test]
async fn an_overtaken_write_is_not_run_again() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, false);
    client.send(vec![create(1, 1)]).await;
    client.take(1).await;
    backend.hold(true);
    backend.apply_next();
    client.send(vec![write(2, 1, "x")]).await;
    backend.until("the first in the log", |backend| backend.submitted() == 2).await;
    backend.fail_next(ProposeError::Unknown("deposed".to_owned()));
    backend.vanish_next();
    client.send(vec![write(3, 1, "y"), write(4, 1, "z")]).await;
    for answer in client.take(2).await.values() {
        assert_eq!(error(answer), (Code::Unavailable, "OUTCOME_UNKNOWN".to_owned(), true));
    }
    backend.hold(false);
    assert!(client.take(1).await[&2].is_ok());
    assert_eq!(backend.submitted(), 4, "what may have been applied is never run again");
}

#[tokio::test]
async fn too_many_bytes_are_refused_unapplied() {
    let backend = Scripted::leader();
    let mut client = Client::with_budget(&backend, true, 1_000);
    backend.hold(true);
    client.send((0..10).map(|number| create(number, number)).collect()).await;
    let (tag, answer) = client.next().await.unwrap();
    assert_eq!(error(&answer), (Code::ResourceExhausted, "OVERLOADED".to_owned(), false), "{tag}");
    backend.hold(false);
    let answers = client.take(9).await;
    let created = answers.values().filter(|answer| answer.is_ok()).count();
    assert!(created > 0);
    assert_eq!(backend.submitted(), created);
}

#[tokio::test]
async fn a_stream_is_not_read_beyond_its_bound() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    backend.hold(true);
    let max = OPERATIONS_MAX as u64;
    client.send((0..max).map(|number| create(number, number)).collect()).await;
    backend.until("the bound", |backend| backend.submitted() == OPERATIONS_MAX).await;
    let free = client.requests.capacity();
    client.send((max..max + 10).map(|number| create(number, number)).collect()).await;
    assert_eq!(client.requests.capacity(), free - 1, "it was read");
    backend.hold(false);
    let answers = client.take(OPERATIONS_MAX + 10).await;
    assert!(answers.values().all(Result::is_ok));
}

/// Neither a slow reader nor a long message keeps what has ended from being given back.
#[tokio::test]
async fn operations_end_while_their_client_takes_no_answers() {
    let backend = Scripted::leader();
    let executor = Executor::new(backend.clone(), 64 << 20);
    let (requests, incoming) = mpsc::channel(16);
    let (sender, _unread) = mpsc::channel(1);
    let line = Line::new(executor.clone(), true);
    tokio::spawn(line.run(ReceiverStream::new(incoming), sender, CancellationToken::new()));
    for first in (0..2_000).step_by(100) {
        let operations = (first..first + 100).map(|number| create(number, number)).collect();
        requests.send(Ok(v1::PipelineRequest { operations, ..Default::default() })).await.unwrap();
    }
    backend.until("all applied", |backend| backend.live_sessions() == 2_000).await;
    backend.until("all given back", |_| executor.held() == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_given_up() {
    let backend = Scripted::leader();
    let (requests, incoming) = mpsc::channel(16);
    let (sender, unread) = mpsc::channel(1);
    let mut line = Line::new(Executor::new(backend.clone(), 64 << 20), true);
    line.pace = Pace::new(Duration::from_millis(20));
    let run = tokio::spawn(line.run(ReceiverStream::new(incoming), sender, CancellationToken::new()));
    for number in 0..3 {
        requests
            .send(Ok(v1::PipelineRequest { operations: vec![create(number, number)], ..Default::default() }))
            .await
            .unwrap();
        backend.until("applied", |backend| backend.live_sessions() == number + 1).await;
    }
    tokio::time::timeout(Duration::from_secs(10), run).await.expect("it ends").unwrap();
    drop(unread);
}

/// 200 answers of 200 KB each: they are not made before there is room for them.
#[tokio::test]
async fn reads_wait_for_room_for_their_answers() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    let large = || BTreeMap::from([("a".to_owned(), Bytes::from(vec![b'x'; 200_000]))]);
    let creates = (0..2).map(|number| {
        let create = v1::CreateRequest { id: id(number), attributes: large(), ..Default::default() };
        operation(number, Wire::Create(create))
    });
    client.send(creates.collect()).await;
    client.take(2).await;
    client.send((0..200).map(|tag| get(tag, tag % 2)).collect()).await;
    backend.until("the reads", |backend| backend.looks() > 0).await;
    let answers = client.take(200).await;
    assert!(answers.values().all(|answer| value(answer).len() == 200_000));
    assert!(backend.looks() >= 200 * 200_000 / BATCH_ANSWER_BYTES, "{} batches", backend.looks());
}

/// As a leader that is cut off: what is in flight never ends, and all the same everybody hears at their deadline.
#[tokio::test]
async fn what_has_been_answered_leaves_room_for_others() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    backend.hold(true);
    let brief = |number| v1::Operation { timeout_ms: 20, ..create(number, number) };
    let max = OPERATIONS_MAX as u64;
    client.send((0..max).map(brief).collect()).await;
    client.send((max..max + 10).map(brief).collect()).await;
    for answer in client.take(OPERATIONS_MAX + 10).await.values() {
        assert_eq!(error(answer).0, Code::DeadlineExceeded);
    }
    backend.hold(false);
    backend.until("all applied", |backend| backend.live_sessions() == max + 10).await;
}

#[tokio::test]
async fn what_waits_behind_others_has_deadlines_too() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    backend.hold(true);
    let max = OPERATIONS_MAX as u64;
    let mut operations: Vec<_> = (0..max).map(|number| create(number, number)).collect();
    operations
        .extend((max..max + 10).map(|number| v1::Operation { timeout_ms: 20, ..create(number, number) }));
    client.send(operations).await;
    for (tag, answer) in client.take(10).await {
        assert!(tag >= max);
        assert_eq!(error(&answer).0, Code::DeadlineExceeded);
    }
    backend.hold(false);
    client.take(OPERATIONS_MAX).await;
}

/// The first write is refused while the second, submitted behind it, is on its way: run again, the first would be
/// applied after the second.
#[tokio::test]
async fn a_write_refused_behind_which_another_is_on_its_way_is_not_run_after_it() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, false);
    client.send(vec![create(1, 1)]).await;
    client.take(1).await;
    backend.hold(true);
    backend.fail_next(ProposeError::NotLeader { leader: None });
    client.send(vec![write(2, 1, "first"), write(3, 1, "second")]).await;
    backend.until("both submitted", |backend| backend.submitted() == 3).await;
    backend.hold(false);
    let answers = client.take(2).await;
    assert!(answers[&3].is_ok());
    assert_eq!(error(&answers[&2]).0, Code::Unavailable);
    client.send(vec![get(4, 1)]).await;
    assert_eq!(value(&client.take(1).await[&4]), b"second");
}

/// An operation as received holds on to its whole message.
#[tokio::test]
async fn what_is_kept_of_a_message_does_not_hold_the_message() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, false);
    backend.hold(true);
    let message = Bytes::from(vec![b'x'; 100_000]);
    let set = BTreeMap::from([("a".to_owned(), message.slice(0..1))]);
    let create = v1::CreateRequest { id: id(1), attributes: set, ..Default::default() };
    client.send(vec![operation(1, Wire::Create(create))]).await;
    backend.until("the create in the log", |backend| backend.submitted() == 1).await;
    assert!(message.is_unique(), "the stream still holds the message");
    backend.hold(false);
    assert!(client.take(1).await[&1].is_ok());
}

#[tokio::test]
async fn a_client_that_ends_its_stream_gets_all_answers_first() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    backend.hold(true);
    client.send(vec![create(1, 1), get(2, 1)]).await;
    backend.until("the create in the log", |backend| backend.submitted() == 1).await;
    let (requests, _) = mpsc::channel(1);
    client.requests = requests;
    backend.hold(false);
    assert!(client.take(2).await.values().all(Result::is_ok));
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn a_stopping_node_answers_what_is_in_flight_and_ends_the_stream() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    backend.hold(true);
    client.send(vec![create(1, 1)]).await;
    backend.until("the create in the log", |backend| backend.submitted() == 1).await;
    client.stop.cancel();
    backend.hold(false);
    assert!(client.take(1).await[&1].is_ok());
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn a_broken_stream_cancels_nothing_that_was_submitted() {
    let backend = Scripted::leader();
    let client = Client::open(&backend, true);
    backend.hold(true);
    client.send(vec![create(1, 1)]).await;
    backend.until("the create in the log", |backend| backend.submitted() == 1).await;
    drop(client);
    backend.hold(false);
    backend.until("the create applied", |backend| backend.live_sessions() == 1).await;
}

#[tokio::test]
async fn an_outage_is_no_logout() {
    let backend = Scripted::leader();
    backend.lose_quorum();
    let mut client = Client::open(&backend, true);
    client.send(vec![get(1, 1)]).await;
    assert_eq!(error(&client.take(1).await[&1]), (Code::Unavailable, "NO_QUORUM".to_owned(), false));
    assert!(matches!(backend.linearizable().await, Err(ReadError::NoQuorum)));
}

#[tokio::test]
async fn reads_at_a_position_are_answered_anywhere() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1)]).await;
    client.take(1).await;
    backend.follow();
    let at = |tag, cluster, index| {
        let at_least = Some(v1::Position { cluster, index });
        operation(tag, Wire::Get(v1::GetRequest { id: id(1), at_least, ..Default::default() }))
    };
    let brief = v1::Operation { timeout_ms: 20, ..at(4, CLUSTER, 99) };
    client.send(vec![at(2, CLUSTER, 1), at(3, CLUSTER + 1, 1), brief]).await;
    let answers = client.take(3).await;
    assert!(matches!(&answers[&2], Ok(Answer::Get(got)) if got.position.unwrap().index == 1));
    assert_eq!(error(&answers[&3]), (Code::FailedPrecondition, "OTHER_CLUSTER".to_owned(), false));
    assert_eq!(error(&answers[&4]).0, Code::DeadlineExceeded);
}
