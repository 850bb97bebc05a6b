use std::collections::BTreeSet;
use std::error::Error;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quorate_proto::v1;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::{PATIENCE, until};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{Outcome, create_request, patiently, reason, stub, three};

type Stub = SessionsClient<Channel>;

/// Creates in flight at a time.
const TOGETHER: usize = 32;

/// So many sessions of a principal: ids and handles.
async fn create(stub: &Stub, count: usize, principal: &str) -> Result<Vec<(String, String)>, Status> {
    let creates = (0..count).map(|_| {
        let create = v1::CreateRequest { principal: principal.to_owned(), ..create_request("1") };
        let mut stub = stub.clone();
        // Not repeated: without a request id, a second try could meet the first one's session.
        async move { stub.create(create).await.map(|created| created.into_inner()) }
    });
    let created = stream::iter(creates).buffer_unordered(TOGETHER);
    created.map_ok(|created| (created.id, created.handle)).try_collect().await
}

async fn list(stub: &Stub, list: v1::ListRequest) -> Result<v1::ListResponse, Status> {
    patiently(|| {
        let (mut stub, list) = (stub.clone(), list.clone());
        async move { stub.list(list).await }
    })
    .await
}

/// All handles of a list, each page from the next of these nodes.
async fn handles(stubs: &[Stub], of: v1::ListRequest) -> Result<Vec<String>, Status> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    for stub in stubs.iter().cycle() {
        let page = list(stub, v1::ListRequest { page_token, ..of.clone() }).await?;
        found.extend(page.sessions.into_iter().map(|session| session.handle));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(found)
}

async fn stubs(cluster: &quorate_tests::ProcessCluster) -> Result<Vec<Stub>, Box<dyn Error>> {
    let mut stubs = Vec::new();
    for node in cluster.ids() {
        stubs.push(stub(cluster, node).await?);
    }
    Ok(stubs)
}

#[tokio::test]
async fn a_revocation_ends_all_sessions_but_one_at_once_on_every_node() -> Outcome {
    const COUNT: usize = 300;
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let stubs = stubs(&cluster).await?;
    let stub = stub(&cluster, follower).await?;
    let ada = create(&stub, COUNT, "ada").await?;
    create(&stub, 5, "bob").await?;
    let (kept, rest) = ada.split_first().ok_or("no session")?;
    let revoke = v1::RevokeRequest {
        principal: "ada".to_owned(),
        except_id: kept.0.clone(),
        ..v1::RevokeRequest::default()
    };
    let revoked = stub.clone().revoke(revoke).await?.into_inner();
    assert_eq!(revoked.sessions, COUNT as u64 - 1);
    // At its position every node has it, whether or not anything is reaped.
    for stub in &stubs {
        for (id, _) in rest.iter().step_by(50) {
            let get = v1::GetRequest { id: id.clone(), at_least: revoked.position, ..Default::default() };
            let gone = patiently(|| {
                let (mut stub, get) = (stub.clone(), get.clone());
                async move { stub.get(get).await }
            })
            .await;
            let gone = gone.err().ok_or("a revoked session answers")?;
            assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "NOT_FOUND"));
        }
        let of = |principal: &str| v1::ListRequest {
            principal: Some(principal.to_owned()),
            at_least: revoked.position,
            ..Default::default()
        };
        let (left, bobs) = (list(stub, of("ada")).await?, list(stub, of("bob")).await?);
        assert_eq!(left.sessions.len(), 1);
        assert_eq!(left.sessions.first().map(|session| &session.handle), Some(&kept.1));
        assert_eq!(bobs.sessions.len(), 5);
    }
    // Memory is freed behind it, the same everywhere.
    until("all that is revoked has left memory", PATIENCE, || async {
        let seen = cluster_sessions(&stubs).await;
        if seen.iter().all(|sessions| matches!(sessions, Ok(6))) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await?;
    let digests = cluster.digests().await?;
    assert!(digests.are_equal(), "{digests}");
    Ok(())
}

async fn cluster_sessions(stubs: &[Stub]) -> Vec<Result<usize, Status>> {
    let mut seen = Vec::new();
    for stub in stubs {
        let all = v1::ListRequest { page_size: 1_000, ..Default::default() };
        seen.push(list(stub, all).await.map(|page| page.sessions.len()));
    }
    seen
}

#[tokio::test]
async fn pages_give_what_stays_exactly_once_from_whichever_node() -> Outcome {
    let cluster = three().await?;
    let stubs = stubs(&cluster).await?;
    let stub = stubs.first().ok_or("no node")?;
    let created = create(stub, 120, "ada").await?;
    let mut stay: BTreeSet<String> = created.iter().map(|(_, handle)| handle.clone()).collect();
    for principal in [None, Some("ada".to_owned())] {
        let of = v1::ListRequest { principal, page_size: 7, ..Default::default() };
        let before = handles(&stubs, of.clone()).await?;
        assert_eq!(before.len(), stay.len());
        // Between the pages some go and others come.
        let (mut found, mut page_token) = (Vec::new(), String::new());
        for stub in stubs.iter().cycle() {
            let page = list(stub, v1::ListRequest { page_token, ..of.clone() }).await?;
            assert!(page.sessions.len() <= 7);
            assert!(page.sessions.iter().all(|session| session.attributes.is_empty()));
            found.extend(page.sessions.into_iter().map(|session| session.handle));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
            let victim = stay.iter().nth(found.len() / 3).cloned();
            if let Some(handle) = victim.filter(|handle| stay.remove(handle)) {
                let delete = v1::DeleteRequest { handle, ..Default::default() };
                stub.clone().delete(delete).await?;
            }
            create(stub, 1, "ada").await?;
        }
        let once: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(once.len(), found.len(), "a session came twice");
        assert!(stay.is_subset(&once), "a session that was there all the time is missing");
        stay = handles(&stubs, of).await?.into_iter().collect();
    }
    let prefix: String = stay.first().ok_or("no session")?.chars().take(1).collect();
    let expected: Vec<String> = stay.iter().filter(|handle| handle.starts_with(&prefix)).cloned().collect();
    let of = v1::ListRequest { handle_prefix: prefix, page_size: 2, ..Default::default() };
    assert_eq!(handles(&stubs, of).await?, expected, "in the order of their handles");
    Ok(())
}

#[tokio::test]
async fn every_node_answers_a_list_of_a_moment_ago_by_itself() -> Outcome {
    let mut cluster = three().await?;
    let leader = cluster.wait_leader().await?;
    let stubs = stubs(&cluster).await?;
    create(&stub(&cluster, leader).await?, 3, "ada").await?;
    for stub in &stubs {
        until("a stale list has all three", PATIENCE, || async {
            let stale = v1::ListRequest { stale_ms: Some(5_000), ..Default::default() };
            match list(stub, stale).await {
                Ok(page) if page.sessions.len() == 3 => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await?;
    }
    // Alone, a follower goes on answering until what it knows is too old.
    let follower = cluster.a_follower().await?;
    let alone = stub(&cluster, follower).await?;
    for node in cluster.ids() {
        if node != follower {
            cluster.node_mut(node)?.kill()?;
        }
    }
    let stale = v1::ListRequest { stale_ms: Some(3_000), ..Default::default() };
    assert_eq!(alone.clone().list(stale.clone()).await?.into_inner().sessions.len(), 3);
    until("it says that it is too far behind", PATIENCE, || async {
        match alone.clone().list(stale.clone()).await {
            Err(status) if reason(&status) == "TOO_STALE" => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    Ok(())
}
