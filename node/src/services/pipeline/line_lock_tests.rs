//! Locks in a stream, and what else came with them.

use super::*;

fn lock(tag: u64, number: u64, wait_ms: u64) -> v1::Operation {
    let lease_ms = 30_000;
    operation(tag, Wire::Lock(v1::LockRequest { id: id(number), wait_ms, lease_ms, ..Default::default() }))
}

fn unlock(tag: u64, number: u64, fence: u64) -> v1::Operation {
    operation(tag, Wire::Unlock(v1::UnlockRequest { id: id(number), fence, ..Default::default() }))
}

fn fence(answer: &Result<Answer, Status>) -> u64 {
    match answer {
        Ok(Answer::Lock(taken)) => taken.fence,
        other => panic!("{other:?}"),
    }
}

fn waiting(backend: &Scripted, number: u64) -> usize {
    let id = quorate_state::SessionId::parse(&id(number)).unwrap();
    let key = quorate_state::SessionKey::derive("default", &id);
    backend.with_applied(|state, _| {
        let session = state.lookup("default", &key, state.clocks()).ok();
        session.and_then(|session| session.lock.as_ref()).map_or(0, |lock| lock.waiting.len())
    })
}

/// What gives the lock back is behind the one that waits for it, in the same stream and on the same session.
#[tokio::test]
async fn what_is_behind_a_lock_that_waits_runs_on() {
    let remote = Scripted::leader();
    for (number, backend) in [(1, remote.clone()), (2, Scripted::follower(&remote))] {
        let mut client = Client::open(&backend, false);
        client.send(vec![create(1, number), lock(2, number, 0)]).await;
        let held = fence(&client.take(2).await[&2]);
        client
            .send(vec![
                lock(3, number, 4_000),
                get(4, number),
                unlock(5, number, held),
                create(6, number + 2),
            ])
            .await;
        let answers = client.take(4).await;
        assert!(fence(&answers[&3]) > held);
        assert!(answers[&4].is_ok() && answers[&5].is_ok() && answers[&6].is_ok(), "{answers:?}");
    }
}

/// In the order sent: the lock is taken by the first, and what follows finds it taken.
#[tokio::test]
async fn locks_of_a_stream_stand_in_line_in_its_order() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client
        .send(vec![create(1, 1), lock(2, 1, 3_000), lock(3, 1, 3_000), lock(4, 1, 0), write(5, 1, "x")])
        .await;
    let answers = client.take(4).await;
    let first = fence(&answers[&2]);
    assert_eq!(error(&answers[&4]), (Code::Aborted, "LOCKED".to_owned(), false));
    assert_eq!(error(&answers[&5]), (Code::Aborted, "LOCKED".to_owned(), false));
    client.send(vec![unlock(6, 1, first)]).await;
    let answers = client.take(2).await;
    assert_eq!(fence(&answers[&3]), first + 1);
}

/// Neither those that stand in line nor those that are just on their way into it.
#[tokio::test]
async fn a_stream_that_ends_leaves_nobody_in_line() {
    let backend = Scripted::leader();
    let mut holder = Client::open(&backend, true);
    holder.send(vec![create(1, 1), lock(2, 1, 0)]).await;
    let held = fence(&holder.take(2).await[&2]);
    let client = Client::open(&backend, true);
    client.send(vec![lock(1, 1, 30_000)]).await;
    backend.until("one in line", |backend| waiting(backend, 1) == 1).await;
    backend.hold(true);
    client.send(vec![lock(2, 1, 30_000)]).await;
    backend.until("another on its way", |backend| backend.submitted() == 4).await;
    drop(client);
    backend.hold(false);
    backend.until("both left", |backend| left(backend) == 2 && waiting(backend, 1) == 0).await;
    holder.send(vec![unlock(3, 1, held), lock(4, 1, 0)]).await;
    let answers = holder.take(2).await;
    assert!(answers[&3].is_ok() && answers[&4].is_ok(), "the lock goes to nobody who is gone: {answers:?}");
}

#[tokio::test]
async fn a_lock_whose_time_is_up_before_it_is_in_line_leaves_it() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1), lock(2, 1, 0)]).await;
    client.take(2).await;
    backend.hold(true);
    client.send(vec![v1::Operation { timeout_ms: 20, ..lock(3, 1, 30_000) }]).await;
    assert_eq!(
        error(&client.take(1).await[&3]),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned(), true)
    );
    backend.hold(false);
    let left = |command: &quorate_state::Command| matches!(command, quorate_state::Command::LeaveLine(_));
    backend.until("it left", |backend| backend.commands().iter().any(left) && waiting(backend, 1) == 0).await;
}

fn is_locked(backend: &Scripted, number: u64) -> bool {
    let id = quorate_state::SessionId::parse(&id(number)).unwrap();
    let key = quorate_state::SessionKey::derive("default", &id);
    backend.with_applied(|state, _| state.lookup("default", &key, state.clocks()).unwrap().lock.is_some())
}

/// Nobody has its token.
#[tokio::test]
async fn a_lock_that_is_taken_once_its_time_is_up_is_given_back() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1)]).await;
    client.take(1).await;
    backend.hold(true);
    client.send(vec![v1::Operation { timeout_ms: 20, ..lock(2, 1, 0) }]).await;
    assert_eq!(error(&client.take(1).await[&2]).1, "DEADLINE_EXCEEDED");
    backend.hold(false);
    backend.until("given back", |backend| backend.submitted() == 3 && !is_locked(backend, 1)).await;
}

#[tokio::test]
async fn a_stream_that_ends_gives_back_what_it_was_about_to_take() {
    for wait_ms in [0, 30_000] {
        let backend = Scripted::leader();
        let mut client = Client::open(&backend, true);
        client.send(vec![create(1, 1)]).await;
        client.take(1).await;
        backend.hold(true);
        client.send(vec![lock(2, 1, wait_ms)]).await;
        backend.until("the lock in the log", |backend| backend.submitted() == 2).await;
        drop(client);
        backend.hold(false);
        backend.until("given back", |backend| backend.submitted() == 3 && !is_locked(backend, 1)).await;
    }
}

#[tokio::test]
async fn a_lock_that_waits_goes_on_at_the_new_leader() {
    let remote = Scripted::leader();
    let mut at_remote = Client::open(&remote, true);
    at_remote.send(vec![create(1, 1), operation(2, Wire::OpenClient(v1::OpenClientRequest {}))]).await;
    let answers = at_remote.take(2).await;
    let Ok(Answer::OpenClient(opened)) = &answers[&2] else { panic!("{answers:?}") };
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, false);
    client.send(vec![create(1, 1), lock(2, 1, 0)]).await;
    client.take(2).await;
    let command = quorate_state::Command::OpenClient { client: opened.client };
    assert!(backend.submit(vec![command]).await.unwrap().next().await.unwrap().is_ok());
    let request_id = Some(v1::RequestId { client: opened.client, sequence: 1, lowest_unanswered: 1 });
    let wait = v1::LockRequest { id: id(1), wait_ms: 4_000, request_id, ..Default::default() };
    client.send(vec![operation(3, Wire::Lock(wait))]).await;
    backend.until("in line", |backend| waiting(backend, 1) == 1).await;
    backend.follow_after(&remote, usize::MAX);
    backend.follow();
    backend.lock_waits().wake_all();
    fence(&client.take(1).await[&3]);
    assert_eq!(backend.forwarded().len(), 1);
}

#[tokio::test]
async fn locks_that_wait_leave_room_for_others() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1), lock(2, 1, 0)]).await;
    let held = fence(&client.take(2).await[&2]);
    // A line is shorter than what a stream may have wait, so on several sessions.
    let sessions = 3;
    let setup = (2..=sessions).flat_map(|number| [create(number, number), lock(number + 10, number, 0)]);
    client.send(setup.collect()).await;
    client.take(4).await;
    let max = WAITS_MAX as u64;
    let locks = (0..=max).map(|number| lock(100 + number, 1 + number % sessions, 30_000));
    client.send(locks.collect()).await;
    assert_eq!(
        error(&client.take(1).await[&(100 + max)]),
        (Code::ResourceExhausted, "OVERLOADED".to_owned(), false)
    );
    client.send(vec![unlock(50, 1, held)]).await;
    let answers = client.take(2).await;
    assert!(answers[&50].is_ok() && fence(&answers[&100]) > held);
}

fn left(backend: &Scripted) -> usize {
    let commands = backend.commands();
    commands.iter().filter(|command| matches!(command, quorate_state::Command::LeaveLine(_))).count()
}

/// At once: those behind it must not wait for somebody who has gone.
#[tokio::test]
async fn a_lock_that_is_cancelled_leaves_the_line_and_is_answered() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client
        .send(vec![create(1, 1), lock(2, 1, 0), operation(3, Wire::OpenClient(v1::OpenClientRequest {}))])
        .await;
    let answers = client.take(3).await;
    let held = fence(&answers[&2]);
    let Ok(Answer::OpenClient(opened)) = &answers[&3] else { panic!("{answers:?}") };
    let request_id = Some(v1::RequestId { client: opened.client, sequence: 1, lowest_unanswered: 1 });
    // With a request id a caller whose stream breaks keeps its place for a while. This one has said that it will not be back.
    let numbered = v1::LockRequest { id: id(1), wait_ms: 30_000, request_id, ..Default::default() };
    client.send(vec![operation(4, Wire::Lock(numbered)), lock(5, 1, 30_000)]).await;
    backend.until("both in line", |backend| waiting(backend, 1) == 2).await;
    client.cancel(vec![4]).await;
    assert_eq!(error(&client.take(1).await[&4]), (Code::Aborted, "LOCKED".to_owned(), false));
    assert_eq!((waiting(&backend, 1), left(&backend)), (1, 1));
    client.send(vec![unlock(6, 1, held)]).await;
    let answers = client.take(2).await;
    assert!(fence(&answers[&5]) > held, "the next one has it at once");
}

/// In one message, and behind a write of its own session that is held up: it leaves as soon as it has come into the line.
#[tokio::test]
async fn a_lock_that_is_cancelled_on_its_way_into_the_line_leaves_it() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1), lock(2, 1, 0)]).await;
    client.take(2).await;
    backend.hold(true);
    let operations = vec![lock(3, 1, 30_000)];
    client.requests.send(Ok(v1::PipelineRequest { operations, cancel: vec![3] })).await.unwrap();
    backend.until("it is on its way", |backend| backend.submitted() == 3).await;
    backend.hold(false);
    assert_eq!(error(&client.take(1).await[&3]), (Code::Aborted, "LOCKED".to_owned(), false));
    assert_eq!((waiting(&backend, 1), left(&backend)), (0, 1));
}

/// It is told so, for it alone can give it back.
#[tokio::test]
async fn a_lock_that_is_cancelled_when_it_was_granted_is_answered_with_the_lock() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1), lock(2, 1, 0)]).await;
    let held = fence(&client.take(2).await[&2]);
    client.send(vec![lock(3, 1, 30_000)]).await;
    backend.until("in line", |backend| waiting(backend, 1) == 1).await;
    // The unlock that grants it is in front of the cancel.
    client.send(vec![unlock(4, 1, held)]).await;
    backend.until("granted", |backend| waiting(backend, 1) == 0).await;
    client.cancel(vec![3]).await;
    let answers = client.take(2).await;
    let granted = fence(&answers[&3]);
    assert!(granted > held);
    client.send(vec![unlock(5, 1, granted), lock(6, 1, 0)]).await;
    assert!(client.take(2).await[&6].is_ok());
}

#[tokio::test]
async fn tags_that_stand_for_nothing_that_waits_are_not_cancelled() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    let operations = vec![create(1, 1), lock(2, 1, 0), lock(3, 1, 30_000)];
    // Never given, answered before, and of operations that do not wait.
    client.requests.send(Ok(v1::PipelineRequest { operations, cancel: vec![99, 1, 2, 2] })).await.unwrap();
    let answers = client.take(2).await;
    let held = fence(&answers[&2]);
    client.cancel(vec![1, 2, 99]).await;
    client.send(vec![get(4, 1)]).await;
    assert!(client.take(1).await[&4].is_ok());
    assert_eq!((waiting(&backend, 1), left(&backend)), (1, 0), "who was not meant waits on");
    client.send(vec![unlock(5, 1, held)]).await;
    assert!(fence(&client.take(2).await[&3]) > held);
}

/// By a stream that has the leader run it: it leaves there too, as when its caller goes away.
#[tokio::test]
async fn a_lock_that_was_forwarded_is_cancelled_too() {
    let remote = Scripted::leader();
    let backend = Scripted::follower(&remote);
    let mut client = Client::open(&backend, false);
    client.send(vec![create(1, 1), lock(2, 1, 0)]).await;
    client.take(2).await;
    client.send(vec![lock(3, 1, 30_000)]).await;
    remote.until("in line", |remote| waiting(remote, 1) == 1).await;
    client.cancel(vec![3]).await;
    let (code, reason, _) = error(&client.take(1).await[&3]);
    assert_eq!((code, reason.as_str()), (Code::Cancelled, "WITHDRAWN"));
    remote.until("it left", |remote| waiting(remote, 1) == 0).await;
}

/// Those who have gone must not take the room of those who are there.
#[tokio::test]
async fn locks_that_were_cancelled_leave_room_for_others() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    let setup = (1..=3).flat_map(|number| [create(number, number), lock(number + 10, number, 0)]);
    client.send(setup.collect()).await;
    client.take(6).await;
    let max = WAITS_MAX as u64;
    let locks = |first: u64| (first..first + max).map(|tag| lock(tag, 1 + tag % 3, 30_000)).collect();
    client.send(locks(100)).await;
    client.cancel((100..100 + max).collect()).await;
    let answers = client.take(WAITS_MAX).await;
    assert!(answers.values().all(|answer| error(answer).1 == "LOCKED"), "{answers:?}");
    client.send(locks(10_000)).await;
    let in_line = |backend: &Scripted| (1..=3).map(|number| waiting(backend, number)).sum::<usize>();
    backend.until("as many in line", |backend| in_line(backend) == WAITS_MAX).await;
}

/// A Write that is held up because the node has too much to do does not hold up what gives a lock back.
#[tokio::test]
async fn what_gives_a_lock_back_goes_by_a_way_of_its_own() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create(1, 1), create(2, 2), lock(3, 1, 0)]).await;
    let held = fence(&client.take(3).await[&3]);
    backend.overload(true);
    client.send(vec![write(4, 2, "x")]).await;
    client.send(vec![unlock(5, 1, held)]).await;
    let (tag, answer) = client.next().await.unwrap();
    assert!(tag == 5 && answer.is_ok());
    backend.overload(false);
    assert!(client.take(1).await[&4].is_ok());
}

#[tokio::test]
async fn lists_and_namespaces_go_through_a_stream_too() {
    let remote = Scripted::leader();
    for backend in [remote.clone(), Scripted::follower(&remote)] {
        let mut client = Client::open(&backend, false);
        let put = v1::PutNamespaceRequest { name: "shop".into(), ..Default::default() };
        let delete = v1::DeleteNamespaceRequest { name: "shop".into(), ..Default::default() };
        client.send(vec![operation(1, Wire::PutNamespace(put))]).await;
        assert!(matches!(&client.take(1).await[&1], Ok(Answer::PutNamespace(put)) if put.created));
        client
            .send(vec![
                operation(2, Wire::List(v1::ListRequest { namespace: "shop".into(), ..Default::default() })),
                operation(3, Wire::GetNamespace(v1::GetNamespaceRequest { name: "shop".into() })),
                operation(4, Wire::ListNamespaces(v1::ListNamespacesRequest {})),
            ])
            .await;
        let answers = client.take(3).await;
        assert!(
            matches!(&answers[&2], Ok(Answer::List(_)))
                && matches!(&answers[&3], Ok(Answer::GetNamespace(_)))
        );
        assert!(matches!(&answers[&4], Ok(Answer::ListNamespaces(all)) if all.namespaces.len() == 2));
        client.send(vec![operation(5, Wire::DeleteNamespace(delete))]).await;
        assert!(matches!(&client.take(1).await[&5], Ok(Answer::DeleteNamespace(_))));
    }
}
