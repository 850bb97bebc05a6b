use std::collections::BTreeSet;

use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use tonic::{Code, Request};

use crate::common::{Outcome, create_request, fact, patiently, reason, stub, three};

#[tokio::test]
async fn a_follower_takes_every_unary_request() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let stub = stub(&cluster, follower).await?;
    let request = create_request("1");
    let id = request.id.clone();
    // Not repeated: without a request id, a second try could meet the first one's session.
    let created = stub.clone().create(request).await?.into_inner();
    assert_eq!((created.id.as_str(), created.version), (id.as_str(), 1));
    let position = created.position.ok_or("no position")?;

    let patch = v1::Patch { set: [("b".to_owned(), "2".into())].into(), remove: Vec::new() };
    let write = v1::WriteRequest {
        id: id.clone(),
        change: Some(v1::write_request::Change::Patch(patch)),
        ..Default::default()
    };
    let written = stub.clone().write(write).await?.into_inner();
    assert_eq!(written.version, 2);
    assert!(
        written
            .position
            .is_some_and(|later| later.index > position.index && later.cluster == position.cluster)
    );

    let get = v1::GetRequest { id: id.clone(), ..Default::default() };
    let read = patiently(|| {
        let (mut stub, get) = (stub.clone(), get.clone());
        async move { stub.get(get).await }
    })
    .await?;
    let names: Vec<_> = read.session.unwrap_or_default().attributes.into_keys().collect();
    assert_eq!(names, ["a", "b"]);

    let touch = v1::TouchRequest { id: id.clone(), ..Default::default() };
    assert!(stub.clone().touch(touch).await?.into_inner().remaining_ms.is_some());
    let regenerate = v1::RegenerateRequest { id: id.clone(), ..Default::default() };
    let renamed = stub.clone().regenerate(regenerate).await?.into_inner();
    assert!(!renamed.id.is_empty() && renamed.id != id && renamed.version == 3);
    let gone = stub.clone().get(get).await.err().ok_or("the old id still answers")?;
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "RENAMED"));
    let delete = v1::DeleteRequest { id: renamed.id, ..Default::default() };
    assert!(stub.clone().delete(delete.clone()).await?.into_inner().position.is_some());
    let gone = stub.clone().delete(delete).await.err().ok_or("it was deleted twice")?;
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "NOT_FOUND"));
    Ok(())
}

#[tokio::test]
async fn a_follower_that_is_asked_to_redirect_names_the_leader_and_applies_nothing() -> Outcome {
    let mut cluster = three().await?;
    let leader = cluster.wait_leader().await?;
    let follower = cluster.a_follower().await?;
    let before = cluster.status(leader).await?.sessions;
    let mut request = Request::new(create_request("1"));
    request.metadata_mut().insert("quorate-redirect", "true".parse()?);
    let refused =
        stub(&cluster, follower).await?.create(request).await.err().ok_or("it was not redirected")?;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "NOT_LEADER"));
    let address = cluster.ports(leader)?.client.to_string();
    assert_eq!(fact(&refused, "leader"), Some(address.clone()));
    assert_eq!(fact(&refused, "retryable").as_deref(), Some("true"));
    assert_eq!(fact(&refused, "maybe_applied").as_deref(), Some("false"));
    assert_eq!(
        refused.metadata().get("quorate-leader").and_then(|value| value.to_str().ok()),
        Some(address.as_str())
    );
    assert_eq!(cluster.status(leader).await?.sessions, before);
    Ok(())
}

#[tokio::test]
async fn a_pipeline_through_a_follower_answers_every_tag_in_order_per_session() -> Outcome {
    const WRITES: u64 = 50;
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let create = create_request("0");
    let id = create.id.clone();
    let mut operations = vec![v1::Operation { tag: 1, timeout_ms: 0, operation: Some(Wire::Create(create)) }];
    for number in 1..=WRITES {
        // Each is refused unless all before it were applied.
        let write = v1::WriteRequest {
            id: id.clone(),
            if_version: Some(number),
            principal: Some(format!("user {number}")),
            ..Default::default()
        };
        operations.push(v1::Operation {
            tag: 1 + number,
            timeout_ms: 0,
            operation: Some(Wire::Write(write)),
        });
    }
    let get = v1::GetRequest { id, ..Default::default() };
    operations.push(v1::Operation { tag: 2 + WRITES, timeout_ms: 0, operation: Some(Wire::Get(get)) });
    let wanted: BTreeSet<u64> = (1..=2 + WRITES).collect();
    // In several messages, so that order across messages is tested too.
    let messages: Vec<_> = operations
        .chunks(7)
        .map(|chunk| v1::PipelineRequest { operations: chunk.to_vec(), ..Default::default() })
        .collect();
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = stub(&cluster, follower).await?.pipeline(requests).await?.into_inner();
    for message in messages {
        sender.send(message).await?;
    }
    let mut seen = BTreeSet::new();
    while seen != wanted {
        let message = answers.message().await?.ok_or("the stream ended early")?;
        for answer in message.answers {
            assert!(seen.insert(answer.tag), "tag {} was answered twice", answer.tag);
            match answer.answer {
                Some(v1::answer::Answer::Error(error)) => {
                    return Err(format!("tag {}: {} {}", answer.tag, error.code, error.message).into());
                }
                Some(v1::answer::Answer::Write(written)) => assert_eq!(written.version, answer.tag),
                Some(v1::answer::Answer::Get(got)) => {
                    let session = got.session.unwrap_or_default();
                    assert_eq!(session.principal, format!("user {WRITES}"));
                }
                Some(_) => {}
                None => return Err("an answer without content".into()),
            }
        }
    }
    Ok(())
}
