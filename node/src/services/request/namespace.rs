//! Namespaces and their policies.

use quorate_proto::v1;
use quorate_state::{Operation, Overflow, PolicyChange};

use super::read::Freshness;
use super::{Request, Work, mutation, name};
use crate::services::answer::Reply;
use crate::services::failure::Failure;
use crate::services::query::Query;
use crate::services::reasons::Stake;

pub(super) fn put(put: &v1::PutNamespaceRequest) -> Result<Request, Failure> {
    let name = name::namespace_in_full(&put.name)?;
    let change = put.policy.as_ref().map(change).transpose()?.unwrap_or_default();
    let create = match v1::PutMode::try_from(put.mode) {
        Ok(v1::PutMode::CreateOrChange) => None,
        Ok(v1::PutMode::Create) => Some(true),
        Ok(v1::PutMode::Change) => Some(false),
        Err(_) => {
            let message = "mode is none that this version knows: CREATE_OR_CHANGE, CREATE or CHANGE";
            return Err(Failure::invalid("INVALID_MODE", "mode", message));
        }
    };
    mutation(
        put.request_id.as_ref(),
        Operation::PutNamespace { name, change: change.into(), create },
        Reply::PutNamespace,
    )
}

pub(super) fn delete(delete: &v1::DeleteNamespaceRequest) -> Result<Request, Failure> {
    let name = name::namespace_in_full(&delete.name)?;
    mutation(delete.request_id.as_ref(), Operation::DeleteNamespace { name }, Reply::DeleteNamespace)
}

pub(super) fn get(get: &v1::GetNamespaceRequest) -> Result<Request, Failure> {
    let name = name::namespace_in_full(&get.name)?;
    Ok(query(Query::Namespace(name)))
}

pub(super) fn list() -> Request {
    query(Query::Namespaces)
}

fn query(query: Query) -> Request {
    let work = Work::Query { query, freshness: Freshness::Linearizable };
    Request { work, stake: Stake::Read }
}

/// Of a limit that 0 lifts.
fn limit<T: Default + PartialEq>(given: Option<T>) -> Option<Option<T>> {
    given.map(|value| (value != T::default()).then_some(value))
}

/// A change of policy; its ranges are the state's to check, which knows what stays.
fn change(policy: &v1::Policy) -> Result<PolicyChange, Failure> {
    let principal_overflow = match policy.principal_overflow.map(v1::PrincipalOverflow::try_from) {
        None => None,
        Some(Ok(v1::PrincipalOverflow::Refuse)) => Some(Overflow::Refuse),
        Some(Ok(v1::PrincipalOverflow::EndOldest)) => Some(Overflow::EndOldest),
        Some(Ok(v1::PrincipalOverflow::Unspecified) | Err(_)) => {
            let message = "policy.principal_overflow is none that this version knows: REFUSE or END_OLDEST";
            return Err(Failure::invalid("INVALID_OVERFLOW", "policy.principal_overflow", message));
        }
    };
    Ok(PolicyChange {
        default_idle_ms: limit(policy.default_idle_ms),
        default_absolute_ms: limit(policy.default_absolute_ms),
        idle_ms_max: policy.longest_idle_ms,
        absolute_ms_max: policy.longest_absolute_ms,
        session_bytes_max: policy.session_bytes_max,
        attributes_max: policy.attributes_max,
        tombstone_ms: policy.tombstone_ms,
        anonymous_idle_ms: limit(policy.anonymous_idle_ms),
        granule_ms: limit(policy.granule_ms),
        sessions_max: limit(policy.sessions_max),
        bytes_max: limit(policy.bytes_max),
        principal_sessions_max: limit(policy.principal_sessions_max),
        principal_overflow,
        events_max: policy.events_max,
        events_bytes_max: policy.events_bytes_max,
    })
}
