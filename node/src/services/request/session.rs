//! Changes of sessions.

use quorate_proto::v1;
use quorate_state::{
    AttributeChange, CreateSession, Limits, Operation, RegenerateSession, RevokePrincipal, SessionId,
    SessionKey, Timeouts, WriteSession,
};

use super::attribute::{attributes, patched};
use super::{Request, lock, mutation, name};
use crate::services::answer::Reply;
use crate::services::failure::Failure;

pub(super) fn create(create: &v1::CreateRequest) -> Result<Request, Failure> {
    let namespace = name::namespace(&create.namespace)?;
    let id = name::id_or_new("id", &create.id, create.request_id.is_some())?;
    let key = SessionKey::derive(&namespace, &id);
    let operation = Operation::Create(CreateSession {
        namespace,
        key,
        attributes: attributes("attributes", &create.attributes)?,
        principal: name::principal(&create.principal)?,
        timeouts: timeouts(create.timeouts.as_ref())?,
    });
    mutation(create.request_id.as_ref(), operation, Reply::Create { id, key })
}

pub(super) fn write(write: &v1::WriteRequest) -> Result<Request, Failure> {
    let (namespace, key) = name::session(&write.namespace, &write.id)?;
    let timeouts = timeouts(write.timeouts.as_ref())?;
    let change = match &write.change {
        None => AttributeChange::Keep,
        Some(v1::write_request::Change::Replace(all)) => {
            AttributeChange::Replace(attributes("replace.attributes", &all.attributes)?)
        }
        Some(v1::write_request::Change::Patch(patch)) => patched(patch)?,
    };
    let fence = write.fence.map(lock::fence).transpose()?;
    if write.release && fence.is_none() {
        let message = "release gives a lock back: fence must say which";
        return Err(Failure::invalid("FENCE_REQUIRED", "fence", message));
    }
    let changes =
        change != AttributeChange::Keep || write.principal.is_some() || timeouts != Timeouts::default();
    if !changes && !write.release {
        let message = "the write changes nothing: replace, a patch that is not empty, principal, timeouts or release is needed (to renew the idle deadline alone, use Touch)";
        return Err(Failure::invalid("NOTHING_TO_WRITE", "change", message));
    }
    let operation = Operation::Write(WriteSession {
        namespace,
        key,
        change,
        if_version: write.if_version,
        principal: write.principal.as_deref().map(name::principal).transpose()?,
        timeouts,
        fence,
        release: write.release,
    });
    mutation(write.request_id.as_ref(), operation, Reply::Write)
}

pub(super) fn touch(touch: &v1::TouchRequest) -> Result<Request, Failure> {
    let (namespace, key) = name::session(&touch.namespace, &touch.id)?;
    mutation(touch.request_id.as_ref(), Operation::Touch { namespace, key }, Reply::Touch)
}

pub(super) fn touch_many(touch: &v1::TouchManyRequest) -> Result<Request, Failure> {
    let namespace = name::namespace(&touch.namespace)?;
    let (count, max) = (touch.ids.len(), Limits::TOUCHES_MAX);
    if count > max {
        let message = format!("{count} ids; at most {max} are allowed in one operation");
        let failure = Failure::invalid("TOO_MANY_IDS", "ids", message);
        return Err(failure.fact("count", count).fact("max_count", max));
    }
    let ids: Vec<SessionId> =
        touch.ids.iter().map(|id| name::session_id("ids", id)).collect::<Result<_, _>>()?;
    let keys = ids.iter().map(|id| SessionKey::derive(&namespace, id)).collect();
    mutation(touch.request_id.as_ref(), Operation::TouchMany { namespace, keys }, Reply::TouchMany)
}

pub(super) fn delete(delete: &v1::DeleteRequest) -> Result<Request, Failure> {
    let (namespace, key) = match (delete.id.is_empty(), delete.handle.is_empty()) {
        (_, true) => name::session(&delete.namespace, &delete.id)?,
        (true, false) => (name::namespace(&delete.namespace)?, name::handle(&delete.handle)?),
        (false, false) => {
            let message = "both id and handle are given; name the session by one of them";
            return Err(Failure::invalid("CONTRADICTING_NAMES", "handle", message));
        }
    };
    mutation(delete.request_id.as_ref(), Operation::Delete { namespace, key }, Reply::Delete)
}

pub(super) fn regenerate(regenerate: &v1::RegenerateRequest) -> Result<Request, Failure> {
    let (namespace, key) = name::session(&regenerate.namespace, &regenerate.id)?;
    let id = name::id_or_new("new_id", &regenerate.new_id, regenerate.request_id.is_some())?;
    let new_key = SessionKey::derive(&namespace, &id);
    let fence = regenerate.fence.map(lock::fence).transpose()?;
    let operation = Operation::Regenerate(RegenerateSession { namespace, key, new_key, fence });
    mutation(regenerate.request_id.as_ref(), operation, Reply::Regenerate { id, key: new_key })
}

pub(super) fn revoke(revoke: &v1::RevokeRequest) -> Result<Request, Failure> {
    let namespace = name::namespace(&revoke.namespace)?;
    let principal = name::somebody(&revoke.principal)?;
    let except = match revoke.except_id.as_str() {
        "" => None,
        id => Some(SessionKey::derive(&namespace, &name::session_id("except_id", id)?)),
    };
    let operation = Operation::Revoke(RevokePrincipal { namespace, principal, except });
    mutation(revoke.request_id.as_ref(), operation, Reply::Revoke)
}

fn timeouts(given: Option<&v1::Timeouts>) -> Result<Timeouts, Failure> {
    let Some(given) = given else { return Ok(Timeouts::default()) };
    for (field, value) in [("timeouts.idle_ms", given.idle_ms), ("timeouts.absolute_ms", given.absolute_ms)] {
        if let Some(given_ms) = value.filter(|ms| *ms < Limits::TIMEOUT_MS_MIN) {
            let min_ms = Limits::TIMEOUT_MS_MIN;
            let message =
                format!("{field} of {given_ms} ms is too short: at least {min_ms} ms, or unset, is allowed");
            let failure = Failure::invalid("TIMEOUT_OUT_OF_RANGE", field, message);
            return Err(failure.fact("given_ms", given_ms).fact("min_ms", min_ms));
        }
    }
    Ok(Timeouts { idle_ms: given.idle_ms, absolute_ms: given.absolute_ms })
}
