//! Looks at what is not one session: lists of sessions, and namespaces.

use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_state::{Clocks, Namespace, Overflow, Policy, Refusal, State, Usage};

use super::answer;
use super::backend::Backend;
use super::failure::Failure;
use super::read::{self, Unserved};
use super::reasons::Stake;
use super::request::{Freshness, List};

/// What to look at.
#[derive(Debug)]
pub(crate) enum Query {
    List(Box<List>),
    Namespace(Box<str>),
    Namespaces,
}

/// Answers on the leader, linearizable with respect to everything before the call.
pub(crate) async fn linearizable<B: Backend>(backend: &B, query: &Query) -> Result<Answer, Unserved> {
    backend.linearizable().await.map_err(|error| Unserved::read(&error))?;
    let now = backend.now();
    // Judged by the state's own clocks, or what this list leaves out could be in the next one. They must have reached
    // every deadline that has passed.
    let overdue = |state: &State, _| state.next_due().is_some_and(|due| due <= now.cluster);
    if matches!(query, Query::List(_)) && backend.with_applied(overdue) {
        backend.tick().await.map_err(|error| Unserved::proposal(error, Stake::Read))?;
    }
    Ok(look(backend, query)?)
}

/// Answers on this node once it has seen what it must have.
pub(crate) async fn local<B: Backend>(
    backend: &B,
    query: &Query,
    freshness: Freshness,
    wait_max: Duration,
) -> Result<Answer, Failure> {
    read::reach(backend, freshness, wait_max).await?;
    look(backend, query)
}

/// By the state's own clocks, under its shared lock.
fn look<B: Backend>(backend: &B, query: &Query) -> Result<Answer, Failure> {
    let cluster = backend.cluster_id();
    let answered = backend.with_applied(|state, index| {
        let position = Some(v1::Position { cluster, index });
        match query {
            Query::List(query) => list(state, query, state.clocks(), position).map(Answer::List),
            Query::Namespace(name) => {
                let found = state.namespace_named(name);
                let namespace =
                    found.map(|found| namespace(state, found)).ok_or(Refusal::UnknownNamespace)?;
                let namespace = Some(namespace);
                Ok(Answer::GetNamespace(v1::GetNamespaceResponse { namespace, position }))
            }
            Query::Namespaces => {
                let namespaces = state.namespaces().map(|found| namespace(state, found)).collect();
                Ok(Answer::ListNamespaces(v1::ListNamespacesResponse { namespaces, position }))
            }
        }
    });
    answered.map_err(|refusal: Refusal| refusal.into())
}

fn list(
    state: &State,
    list: &List,
    now: Clocks,
    position: Option<v1::Position>,
) -> Result<v1::ListResponse, Refusal> {
    let List { namespace, principal, prefix, after, size, id } = list;
    let page = state.list(namespace, principal.as_deref(), prefix, *after, *size, now)?;
    Ok(v1::ListResponse {
        sessions: page.sessions.iter().map(|listed| answer::listed(listed, now)).collect(),
        next_page_token: page.next.map(|last| id.write(last)).unwrap_or_default(),
        position,
    })
}

fn namespace(state: &State, (name, namespace, usage): (&str, &Namespace, Usage)) -> v1::Namespace {
    let (events, event_bytes) = state.events_kept(namespace.id);
    let counted = namespace.counters;
    v1::Namespace {
        name: name.to_owned(),
        policy: Some(policy(&namespace.policy)),
        counters: Some(v1::Counters {
            live: usage.sessions,
            bytes: usage.bytes,
            created: counted.created,
            expired: counted.expired,
            deleted: counted.deleted,
            lock_waits: counted.lock_waits,
            events,
            event_bytes,
        }),
    }
}

/// Every field is set; 0 stands for "no limit".
fn policy(policy: &Policy) -> v1::Policy {
    let more = &policy.more;
    let overflow = match more.principal_overflow {
        Overflow::Refuse => v1::PrincipalOverflow::Refuse,
        Overflow::EndOldest => v1::PrincipalOverflow::EndOldest,
    };
    v1::Policy {
        default_idle_ms: Some(policy.default_timeouts.idle_ms.unwrap_or(0)),
        default_absolute_ms: Some(policy.default_timeouts.absolute_ms.unwrap_or(0)),
        longest_idle_ms: Some(policy.idle_ms_max),
        longest_absolute_ms: Some(policy.absolute_ms_max),
        anonymous_idle_ms: Some(more.anonymous_idle_ms.unwrap_or(0)),
        granule_ms: Some(more.granule_ms.unwrap_or(0)),
        session_bytes_max: Some(policy.session_bytes_max),
        attributes_max: Some(policy.attributes_max),
        sessions_max: Some(more.sessions_max.unwrap_or(0)),
        bytes_max: Some(more.bytes_max.unwrap_or(0)),
        principal_sessions_max: Some(more.principal_sessions_max.unwrap_or(0)),
        principal_overflow: Some(overflow.into()),
        tombstone_ms: Some(policy.tombstone_ms),
        events_max: Some(more.events_max),
        events_bytes_max: Some(more.events_bytes_max),
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
