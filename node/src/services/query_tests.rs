use std::collections::BTreeSet;

use quorate_proto::v1::operation::Operation as Wire;
use tonic::Code;

use super::*;
use crate::services::executor::{Context, Executor, deadline_after};
use crate::services::scripted::{CLUSTER, Scripted};

async fn execute(backend: &Scripted, operation: Wire) -> Result<Answer, Failure> {
    let context = Context { deadline: deadline_after(None), redirect: false, forwarded: false };
    let operation = v1::Operation { operation: Some(operation), ..Default::default() };
    Executor::new(backend.clone(), 1 << 20).execute(operation, context).await
}

async fn create(backend: &Scripted, number: u32, principal: &str, idle_ms: u64) {
    let create = v1::CreateRequest {
        id: format!("session-{number:016}"),
        principal: principal.to_owned(),
        timeouts: Some(v1::Timeouts { idle_ms: Some(idle_ms), absolute_ms: None }),
        attributes: [("a".to_owned(), "secret".into())].into(),
        ..Default::default()
    };
    execute(backend, Wire::Create(create)).await.unwrap();
}

async fn list(backend: &Scripted, list: v1::ListRequest) -> Result<v1::ListResponse, Failure> {
    match execute(backend, Wire::List(list)).await? {
        Answer::List(page) => Ok(page),
        other => panic!("{other:?}"),
    }
}

/// All pages of a list.
async fn all(backend: &Scripted, of: v1::ListRequest) -> Vec<v1::Session> {
    let (mut sessions, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = list(backend, v1::ListRequest { page_token, ..of.clone() }).await.unwrap();
        assert!(page.sessions.len() <= of.page_size as usize);
        sessions.extend(page.sessions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return sessions;
        }
    }
}

#[tokio::test]
async fn pages_give_each_session_once_without_id_or_attributes() {
    let backend = Scripted::leader();
    for number in 0..25 {
        create(&backend, number, if number % 5 == 0 { "ada" } else { "bob" }, 60_000).await;
    }
    let sessions = all(&backend, v1::ListRequest { page_size: 7, ..Default::default() }).await;
    let handles: BTreeSet<_> = sessions.iter().map(|session| session.handle.as_str()).collect();
    assert_eq!((sessions.len(), handles.len()), (25, 25));
    assert!(sessions.iter().all(|session| session.attributes.is_empty() && session.version == 1));
    assert!(sessions.iter().all(|session| session.remaining_ms == Some(60_000)));
    let prefix = sessions[0].handle[..1].to_owned();
    let expected = handles.iter().filter(|handle| handle.starts_with(&prefix)).count();
    let begin_so = v1::ListRequest { page_size: 3, handle_prefix: prefix, ..Default::default() };
    assert_eq!(all(&backend, begin_so).await.len(), expected);
    let of_ada = v1::ListRequest { page_size: 2, principal: Some("ada".into()), ..Default::default() };
    let adas = all(&backend, of_ada.clone()).await;
    assert_eq!(adas.len(), 5);
    assert!(adas.iter().all(|session| session.principal == "ada"));
    let token = list(&backend, of_ada.clone()).await.unwrap().next_page_token;
    let bobs = v1::ListRequest { principal: Some("bob".into()), page_token: token.clone(), ..of_ada.clone() };
    assert_eq!(list(&backend, bobs).await.unwrap_err().reason, "INVALID_PAGE_TOKEN");
    // What comes and goes meanwhile changes nothing for the others.
    execute(
        &backend,
        Wire::Delete(v1::DeleteRequest { handle: adas[0].handle.clone(), ..Default::default() }),
    )
    .await
    .unwrap();
    create(&backend, 99, "ada", 60_000).await;
    let rest = all(&backend, v1::ListRequest { page_size: 10, ..of_ada.clone() }).await;
    let next = list(&backend, v1::ListRequest { page_token: token, page_size: 10, ..of_ada }).await.unwrap();
    assert_eq!((rest.len(), next.sessions.len()), (5, 4), "three that were there, and the new one");
    assert_eq!(next.sessions[0].handle, adas[2].handle);
}

/// Expired by the leader's clock, live by the state's: what a list leaves out must be gone for good.
#[tokio::test]
async fn a_list_ticks_before_it_leaves_out_what_has_expired() {
    let backend = Scripted::leader();
    create(&backend, 1, "", 1_000).await;
    create(&backend, 2, "", 60_000).await;
    backend.advance(1_999);
    assert_eq!(list(&backend, v1::ListRequest::default()).await.unwrap().sessions.len(), 2);
    assert_eq!(backend.ticks(), 0);
    backend.advance(1);
    assert_eq!(list(&backend, v1::ListRequest::default()).await.unwrap().sessions.len(), 1);
    assert_eq!(backend.ticks(), 1);
    assert_eq!(backend.with_applied(|state, _| state.clocks()), backend.now());
}

#[tokio::test]
async fn a_list_tells_nothing_without_a_quorum_and_nothing_of_no_namespace() {
    let backend = Scripted::leader();
    let nowhere = v1::ListRequest { namespace: "nowhere".into(), ..Default::default() };
    let failure = list(&backend, nowhere).await.unwrap_err();
    assert_eq!((failure.code, failure.reason), (Code::NotFound, "UNKNOWN_NAMESPACE"));
    backend.lose_quorum();
    let failure = list(&backend, v1::ListRequest::default()).await.unwrap_err();
    assert_eq!((failure.code, failure.reason), (Code::Unavailable, "NO_QUORUM"));
}

#[tokio::test]
async fn followers_forward_lists_unless_they_may_answer() {
    let remote = Scripted::leader();
    create(&remote, 1, "", 60_000).await;
    let backend = Scripted::follower(&remote);
    let page = list(&backend, v1::ListRequest::default()).await.unwrap();
    assert_eq!((page.sessions.len(), backend.forwarded().len()), (1, 1));
    let stale = v1::ListRequest { stale_ms: Some(2_000), ..Default::default() };
    assert_eq!(list(&backend, stale.clone()).await.unwrap_err().reason, "TOO_STALE");
    backend.set_staleness(Some(std::time::Duration::from_millis(2_001)));
    assert_eq!(list(&backend, stale.clone()).await.unwrap_err().reason, "TOO_STALE");
    backend.set_staleness(Some(std::time::Duration::from_millis(2_000)));
    assert!(list(&backend, stale).await.unwrap().sessions.is_empty(), "as this node knows it");
    let at_least = Some(v1::Position { cluster: CLUSTER, index: 0 });
    assert!(list(&backend, v1::ListRequest { at_least, ..Default::default() }).await.is_ok());
    assert_eq!(backend.forwarded().len(), 1);
}

#[tokio::test]
async fn a_stale_get_is_answered_where_it_came_and_touches_nothing() {
    let backend = Scripted::leader();
    create(&backend, 1, "", 10_000).await;
    backend.follow();
    backend.advance(5_000);
    let get = || {
        let id = "session-0000000000000001".to_owned();
        Wire::Get(v1::GetRequest { id, stale_ms: Some(2_000), ..Default::default() })
    };
    let failure = execute(&backend, get()).await.unwrap_err();
    assert_eq!((failure.code, failure.reason), (Code::Unavailable, "TOO_STALE"));
    backend.set_staleness(Some(std::time::Duration::from_millis(1_500)));
    let Answer::Get(got) = execute(&backend, get()).await.unwrap() else { panic!("no get") };
    assert_eq!(got.session.unwrap().remaining_ms, Some(10_000), "by the state's own clocks");
    assert_eq!((backend.submitted(), backend.forwarded().len()), (1, 0));
}

async fn put(backend: &Scripted, policy: v1::Policy, mode: v1::PutMode) -> Result<bool, Failure> {
    let put = v1::PutNamespaceRequest {
        name: "shop".to_owned(),
        policy: Some(policy),
        mode: mode.into(),
        ..Default::default()
    };
    match execute(backend, Wire::PutNamespace(put)).await? {
        Answer::PutNamespace(put) => Ok(put.created),
        other => panic!("{other:?}"),
    }
}

async fn shop(backend: &Scripted) -> Result<v1::Namespace, Failure> {
    let get = v1::GetNamespaceRequest { name: "shop".to_owned() };
    match execute(backend, Wire::GetNamespace(get)).await? {
        Answer::GetNamespace(got) => Ok(got.namespace.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_policy_reads_back_as_it_was_put() {
    let backend = Scripted::leader();
    assert_eq!(shop(&backend).await.unwrap_err().reason, "UNKNOWN_NAMESPACE");
    let absent = put(&backend, v1::Policy::default(), v1::PutMode::Change).await.unwrap_err();
    assert_eq!((absent.code, absent.reason), (Code::NotFound, "UNKNOWN_NAMESPACE"));
    let policy = v1::Policy {
        default_idle_ms: Some(5_000),
        default_absolute_ms: Some(6_000),
        longest_idle_ms: Some(50_000),
        longest_absolute_ms: Some(60_000),
        anonymous_idle_ms: Some(1_500),
        granule_ms: Some(1_100),
        session_bytes_max: Some(1_000),
        attributes_max: Some(10),
        sessions_max: Some(100),
        bytes_max: Some(10_000),
        principal_sessions_max: Some(3),
        principal_overflow: Some(v1::PrincipalOverflow::EndOldest.into()),
        tombstone_ms: Some(2_000),
        events_max: Some(0),
        events_bytes_max: Some(0),
    };
    assert!(put(&backend, policy, v1::PutMode::Create).await.unwrap());
    assert_eq!(shop(&backend).await.unwrap().policy, Some(policy));
    let there = put(&backend, policy, v1::PutMode::Create).await.unwrap_err();
    assert_eq!((there.code, there.reason), (Code::AlreadyExists, "NAMESPACE_EXISTS"));
    // Zero lifts a limit, and what is not named stays.
    let lift = v1::Policy { default_idle_ms: Some(0), sessions_max: Some(0), ..Default::default() };
    assert!(!put(&backend, lift, v1::PutMode::Change).await.unwrap());
    let lifted = v1::Policy { default_idle_ms: Some(0), sessions_max: Some(0), ..policy };
    assert_eq!(shop(&backend).await.unwrap().policy, Some(lifted));
    let bad = v1::Policy { tombstone_ms: Some(1), ..Default::default() };
    let refused = put(&backend, bad, v1::PutMode::CreateOrChange).await.unwrap_err();
    assert_eq!((refused.code, refused.field), (Code::InvalidArgument, Some("policy.tombstone_ms")));
    assert_eq!(shop(&backend).await.unwrap().policy, Some(lifted));
}

#[tokio::test]
async fn namespaces_are_listed_counted_and_deleted() {
    let backend = Scripted::leader();
    put(&backend, v1::Policy::default(), v1::PutMode::Create).await.unwrap();
    let create = v1::CreateRequest {
        namespace: "shop".to_owned(),
        attributes: [("abc".to_owned(), "de".into())].into(),
        ..Default::default()
    };
    for _ in 0..2 {
        execute(&backend, Wire::Create(create.clone())).await.unwrap();
    }
    let counters = shop(&backend).await.unwrap().counters.unwrap();
    assert_eq!((counters.live, counters.bytes, counters.created, counters.events), (2, 10, 2, 2));
    let listed = execute(&backend, Wire::ListNamespaces(v1::ListNamespacesRequest {})).await.unwrap();
    let Answer::ListNamespaces(listed) = listed else { panic!("{listed:?}") };
    let names: Vec<_> = listed.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["default", "shop"]);
    assert_eq!(listed.position, Some(v1::Position { cluster: CLUSTER, index: 3 }));
    let delete = |name: &str| {
        Wire::DeleteNamespace(v1::DeleteNamespaceRequest { name: name.to_owned(), ..Default::default() })
    };
    execute(&backend, delete("shop")).await.unwrap();
    assert_eq!(shop(&backend).await.unwrap_err().reason, "UNKNOWN_NAMESPACE");
    assert_eq!(execute(&backend, Wire::Create(create)).await.unwrap_err().reason, "UNKNOWN_NAMESPACE");
    assert_eq!(execute(&backend, delete("default")).await.unwrap_err().reason, "NAMESPACE_REQUIRED");
}

#[tokio::test]
async fn a_revocation_counts_and_spares() {
    let backend = Scripted::leader();
    for number in 0..4 {
        create(&backend, number, "ada", 60_000).await;
    }
    create(&backend, 9, "bob", 60_000).await;
    let revoke = |except: u32| {
        Wire::Revoke(v1::RevokeRequest {
            principal: "ada".to_owned(),
            except_id: format!("session-{except:016}"),
            ..Default::default()
        })
    };
    assert_eq!(execute(&backend, revoke(9)).await.unwrap_err().reason, "NOT_OF_PRINCIPAL");
    let Answer::Revoke(revoked) = execute(&backend, revoke(2)).await.unwrap() else { panic!("no revoke") };
    assert_eq!(revoked.sessions, 3);
    assert_eq!(list(&backend, v1::ListRequest::default()).await.unwrap().sessions.len(), 2);
    let touch = v1::TouchManyRequest {
        ids: (0..4).map(|number| format!("session-{number:016}")).collect(),
        ..Default::default()
    };
    let Answer::TouchMany(touched) = execute(&backend, Wire::TouchMany(touch)).await.unwrap() else {
        panic!("no touch")
    };
    assert_eq!(touched.missing, [0, 1, 3]);
}
