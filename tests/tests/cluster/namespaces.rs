use quorate_proto::v1;
use quorate_proto::v1::namespaces_client::NamespacesClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::{ProcessCluster, channel};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{Outcome, create_request, fact, patiently, reason, stub, three};

async fn namespaces(
    cluster: &ProcessCluster,
    node: u64,
) -> Result<NamespacesClient<Channel>, Box<dyn std::error::Error>> {
    Ok(NamespacesClient::new(channel(cluster.ports(node)?.client).await?))
}

fn put(policy: v1::Policy) -> v1::PutNamespaceRequest {
    v1::PutNamespaceRequest { name: "shop".to_owned(), policy: Some(policy), ..Default::default() }
}

async fn shop(stub: &NamespacesClient<Channel>) -> Result<v1::Namespace, Status> {
    let got = patiently(|| {
        let mut stub = stub.clone();
        async move { stub.get(v1::GetNamespaceRequest { name: "shop".to_owned() }).await }
    })
    .await?;
    got.namespace.ok_or_else(|| Status::internal("an empty answer"))
}

/// A session of the shop; its id. Not repeated where it may have been applied.
async fn create(stub: &SessionsClient<Channel>, principal: &str) -> Result<String, Status> {
    let namespace = "shop".to_owned();
    let create = v1::CreateRequest { namespace, principal: principal.to_owned(), ..create_request("1") };
    Ok(stub.clone().create(create).await?.into_inner().id)
}

async fn get(stub: &SessionsClient<Channel>, id: &str, at_least: Option<v1::Position>) -> Result<(), Status> {
    let get = v1::GetRequest { namespace: "shop".into(), id: id.to_owned(), at_least, ..Default::default() };
    patiently(|| {
        let (mut stub, get) = (stub.clone(), get.clone());
        async move { stub.get(get).await }
    })
    .await
    .map(drop)
}

fn refused<T>(answer: Result<T, Status>) -> Result<(Code, String), Box<dyn std::error::Error>> {
    let status = answer.err().ok_or("it was not refused")?;
    Ok((status.code(), reason(&status)))
}

#[tokio::test]
async fn a_namespaces_quota_holds_and_outlives_a_restart_of_all() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let (shops, sessions) = (namespaces(&cluster, follower).await?, stub(&cluster, follower).await?);
    assert_eq!(refused(create(&sessions, "").await)?, (Code::NotFound, "UNKNOWN_NAMESPACE".to_owned()));
    let quota = v1::Policy { sessions_max: Some(3), default_idle_ms: Some(0), ..Default::default() };
    assert!(shops.clone().put(put(quota)).await?.into_inner().created);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(create(&sessions, "").await?);
    }
    let full = create(&sessions, "").await.err().ok_or("a fourth session")?;
    assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "NAMESPACE_FULL"));
    let told = |name: &str| fact(&full, name);
    assert_eq!((told("max_count").as_deref(), told("retryable").as_deref()), (Some("3"), Some("false")));

    for node in cluster.ids() {
        cluster.node_mut(node)?.kill()?;
    }
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    let found = shop(&shops).await?;
    let (policy, counters) = (found.policy.unwrap_or_default(), found.counters.unwrap_or_default());
    assert_eq!((policy.sessions_max, policy.default_idle_ms), (Some(3), Some(0)));
    assert_eq!((counters.live, counters.created, counters.deleted), (3, 3, 0));
    assert_eq!(refused(create(&sessions, "").await)?.1, "NAMESPACE_FULL");
    let id = ids.pop().ok_or("no session")?;
    let delete = v1::DeleteRequest { namespace: "shop".to_owned(), id, ..Default::default() };
    sessions.clone().delete(delete).await?;
    create(&sessions, "").await?;
    let counters = shop(&shops).await?.counters.unwrap_or_default();
    assert_eq!((counters.live, counters.created, counters.deleted), (3, 4, 1));
    Ok(())
}

#[tokio::test]
async fn one_sign_in_too_many_ends_the_oldest_where_the_policy_says_so() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let (shops, sessions) = (namespaces(&cluster, follower).await?, stub(&cluster, follower).await?);
    let two = v1::Policy { principal_sessions_max: Some(2), ..Default::default() };
    shops.clone().put(put(two)).await?;
    let (first, second) = (create(&sessions, "ada").await?, create(&sessions, "ada").await?);
    let refusal = (Code::ResourceExhausted, "TOO_MANY_SESSIONS_OF_PRINCIPAL".to_owned());
    assert_eq!(refused(create(&sessions, "ada").await)?, refusal);
    create(&sessions, "bob").await?;
    let ends_oldest = v1::Policy {
        principal_overflow: Some(v1::PrincipalOverflow::EndOldest.into()),
        ..Default::default()
    };
    shops.clone().put(put(ends_oldest)).await?;
    let third = create(&sessions, "ada").await?;
    assert_eq!(refused(get(&sessions, &first, None).await)?, (Code::NotFound, "NOT_FOUND".to_owned()));
    get(&sessions, &second, None).await?;
    get(&sessions, &third, None).await?;
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_is_gone_at_once_on_every_node() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let (shops, sessions) = (namespaces(&cluster, follower).await?, stub(&cluster, follower).await?);
    shops.clone().put(put(v1::Policy::default())).await?;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(create(&sessions, "ada").await?);
    }
    let delete = |name: &str| v1::DeleteNamespaceRequest { name: name.to_owned(), ..Default::default() };
    let required = (Code::FailedPrecondition, "NAMESPACE_REQUIRED".to_owned());
    assert_eq!(refused(shops.clone().delete(delete("default")).await)?, required);
    let deleted = shops.clone().delete(delete("shop")).await?.into_inner();
    let unknown = (Code::NotFound, "UNKNOWN_NAMESPACE".to_owned());
    for node in cluster.ids() {
        let stub = stub(&cluster, node).await?;
        for id in &ids {
            assert_eq!(refused(get(&stub, id, deleted.position).await)?, unknown);
        }
    }
    let listed = shops.clone().list(v1::ListNamespacesRequest {}).await?.into_inner();
    let names: Vec<_> = listed.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["default"]);
    // One of the same name is another: what was in the first does not come back.
    shops.clone().put(put(v1::Policy::default())).await?;
    for id in &ids {
        assert_eq!(refused(get(&sessions, id, None).await)?, (Code::NotFound, "NOT_FOUND".to_owned()));
    }
    assert_eq!(shop(&shops).await?.counters.unwrap_or_default().created, 0);
    let digests = cluster.digests().await?;
    assert!(digests.are_equal(), "{digests}");
    Ok(())
}

#[tokio::test]
async fn a_policy_out_of_range_names_the_setting() -> Outcome {
    let mut cluster = three().await?;
    let follower = cluster.a_follower().await?;
    let shops = namespaces(&cluster, follower).await?;
    let bad = v1::Policy { granule_ms: Some(1), ..Default::default() };
    let status = shops.clone().put(put(bad)).await.err().ok_or("a granule of 1 ms")?;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "POLICY_OUT_OF_RANGE"));
    assert_eq!(fact(&status, "min").as_deref(), Some("1000"));
    let details = tonic_types::StatusExt::get_details_bad_request(&status).ok_or("no field")?;
    let fields: Vec<_> = details.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["policy.granule_ms"]);
    assert_eq!(refused(shop(&shops).await)?.1, "UNKNOWN_NAMESPACE", "nothing has changed");
    Ok(())
}
