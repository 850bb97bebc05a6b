use quorate_proto::v1;
use tonic::Code;

use super::*;
use crate::services::scripted::Scripted;

const ID: &str = "0123456789abcdef";

async fn create_within(backend: &Scripted, timeout: Duration) -> Result<Answer, Failure> {
    let create = v1::CreateRequest { id: ID.to_owned(), ..Default::default() };
    let operation = v1::Operation { operation: Some(Wire::Create(create)), ..Default::default() };
    let context = Context { deadline: deadline_after(Some(timeout)), redirect: false, forwarded: false };
    Executor::new(backend.clone(), 1 << 20).execute(operation, context).await
}

/// It may be sent again, though it has no request id.
#[tokio::test(start_paused = true)]
async fn what_waited_for_a_leader_until_its_time_was_up_was_not_applied() {
    let backend = Scripted::leader();
    backend.lose_leader();
    for timeout in [Duration::from_millis(110), 2 * FAILOVER_WAIT] {
        let failure = create_within(&backend, timeout).await.unwrap_err();
        assert_eq!((failure.code, failure.reason), (Code::Unavailable, "NO_LEADER"));
        assert!(failure.retryable && !failure.maybe_applied);
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_leader_is_done_once_there_is_one() {
    let backend = Scripted::leader();
    backend.lose_leader();
    let call = tokio::spawn({
        let backend = backend.clone();
        async move { create_within(&backend, TIMEOUT_DEFAULT).await }
    });
    tokio::time::advance(FAILOVER_WAIT / 2).await;
    backend.lead();
    assert!(matches!(call.await.unwrap(), Ok(Answer::Create(_))));
    assert_eq!(backend.submitted(), 1);
}
