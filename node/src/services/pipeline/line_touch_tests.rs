//! Reads whose sessions are due for a touch.

use super::*;

/// With an idle timeout of ten seconds: due for a touch half a second after the last.
fn create_idle(tag: u64, number: u64) -> v1::Operation {
    let timeouts = Some(v1::Timeouts { idle_ms: Some(10_000), absolute_ms: None });
    operation(tag, Wire::Create(v1::CreateRequest { id: id(number), timeouts, ..Default::default() }))
}

#[tokio::test]
async fn a_read_does_not_wait_for_the_touch_of_another_session() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create_idle(1, 1)]).await;
    client.take(1).await;
    backend.advance(2_000);
    client.send(vec![create_idle(2, 2)]).await;
    client.take(1).await;
    // Nothing that may be held up gets through.
    backend.overload(true);
    client.send(vec![get(3, 1), get(4, 2), get(5, 3)]).await;
    let answers = client.take(2).await;
    assert!(answers[&4].is_ok());
    assert_eq!(error(&answers[&5]).1, "NOT_FOUND");
    backend.overload(false);
    assert!(client.take(1).await[&3].is_ok());
}

#[tokio::test]
async fn a_session_that_many_read_at_once_is_touched_once() {
    let backend = Scripted::leader();
    let mut client = Client::open(&backend, true);
    client.send(vec![create_idle(1, 1), create_idle(2, 2)]).await;
    client.take(2).await;
    backend.advance(2_000);
    let before = backend.submitted();
    client.send((10..110).map(|tag| get(tag, 1 + tag % 2)).collect()).await;
    for (tag, answer) in client.take(100).await {
        assert!(
            matches!(&answer, Ok(Answer::Get(got)) if got.position.unwrap().index >= 3),
            "{tag}: {answer:?}"
        );
    }
    assert_eq!(backend.submitted() - before, 2);
}
