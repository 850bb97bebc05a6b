//! From a wire operation to what consensus takes: everything checked that needs no state to be checked, and copied,
//! so that nothing kept pins the network buffer it arrived in.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use quorate_state::{
    AttributeChange, Attributes, Command, CreateSession, Limits, Operation, Refusal, RegenerateSession,
    RequestId, SessionId, SessionKey, Timeouts, WriteSession,
};
use rand::RngCore as _;
use tonic::Code;

use super::answer::Reply;
use super::failure::Failure;
use super::reasons::{self, Stake};

/// An operation, checked.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) stake: Stake,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Draw a client handle and open it.
    OpenClient,
    /// Propose this; `reply` turns its outcome into the answer.
    Mutate { command: Command, reply: Reply },
    /// Read a session.
    Read(Read),
}

/// A read of one session.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) namespace: Box<str>,
    pub(crate) key: SessionKey,
    /// Renew the idle deadline.
    pub(crate) touch: bool,
    /// The attributes to return; `None`: all.
    pub(crate) selection: Option<BTreeSet<String>>,
    /// The log index that must have been applied.
    pub(crate) at_least: Option<u64>,
}

impl Read {
    /// Any node may answer it: it asks for a position, and changes nothing.
    pub(crate) fn is_local(&self) -> bool {
        self.at_least.is_some() && !self.touch
    }
}

/// Names that one patch may remove.
const REMOVED_MAX: usize = 4_096;

impl Request {
    /// Checks an operation. `cluster` is this cluster's id.
    ///
    /// # Errors
    /// [`Failure`], definitely not applied: which field, what is wrong, what is allowed.
    pub(crate) fn parse(operation: &Wire, cluster: u64) -> Result<Self, Failure> {
        match operation {
            Wire::OpenClient(_) => Ok(Request { work: Work::OpenClient, stake: Stake::Once }),
            Wire::Get(get) => Ok(Request { work: Work::Read(read(get, cluster)?), stake: Stake::Read }),
            Wire::Create(create) => create_session(create),
            Wire::Write(write) => write_session(write),
            Wire::Touch(touch) => {
                let (namespace, key) = named(&touch.namespace, &touch.id)?;
                mutation(touch.request_id.as_ref(), Operation::Touch { namespace, key }, Reply::Touch)
            }
            Wire::Delete(delete) => {
                let (namespace, key) = named(&delete.namespace, &delete.id)?;
                mutation(delete.request_id.as_ref(), Operation::Delete { namespace, key }, Reply::Delete)
            }
            Wire::Regenerate(regenerate) => regenerate_session(regenerate),
        }
    }

    /// The sessions it is about: none, one, or two (old and new key).
    pub(crate) fn keys(&self) -> (Option<SessionKey>, Option<SessionKey>) {
        match &self.work {
            Work::OpenClient => (None, None),
            Work::Read(read) => (Some(read.key), None),
            Work::Mutate { command: Command::Operate { operation, .. }, .. } => match operation {
                Operation::Create(create) => (Some(create.key), None),
                Operation::Write(write) => (Some(write.key), None),
                Operation::Touch { key, .. } | Operation::Delete { key, .. } => (Some(*key), None),
                Operation::Regenerate(regenerate) => (Some(regenerate.key), Some(regenerate.new_key)),
            },
            Work::Mutate { .. } => (None, None),
        }
    }
}

fn mutation(request: Option<&v1::RequestId>, operation: Operation, reply: Reply) -> Result<Request, Failure> {
    let request = request.map(request_id).transpose()?;
    let stake = if request.is_some() { Stake::Once } else { Stake::Mutation };
    Ok(Request { work: Work::Mutate { command: Command::Operate { request, operation }, reply }, stake })
}

fn create_session(create: &v1::CreateRequest) -> Result<Request, Failure> {
    let namespace = namespace(&create.namespace)?;
    let id = id_or_new("id", &create.id, create.request_id.is_some())?;
    let key = SessionKey::derive(&namespace, &id);
    let operation = Operation::Create(CreateSession {
        namespace,
        key,
        attributes: attributes("attributes", &create.attributes)?,
        principal: principal(&create.principal)?,
        timeouts: timeouts(create.timeouts.as_ref())?,
    });
    mutation(create.request_id.as_ref(), operation, Reply::Create { id, key })
}

fn write_session(write: &v1::WriteRequest) -> Result<Request, Failure> {
    let (namespace, key) = named(&write.namespace, &write.id)?;
    let timeouts = timeouts(write.timeouts.as_ref())?;
    let change = match &write.change {
        None => AttributeChange::Keep,
        Some(v1::write_request::Change::Replace(all)) => {
            AttributeChange::Replace(attributes("replace.attributes", &all.attributes)?)
        }
        Some(v1::write_request::Change::Patch(patch)) => patched(patch)?,
    };
    if change == AttributeChange::Keep && write.principal.is_none() && timeouts == Timeouts::default() {
        let message = "the write changes nothing: replace, a patch that is not empty, principal or timeouts is needed (to renew the idle deadline alone, use Touch)";
        return Err(Failure::invalid("NOTHING_TO_WRITE", "change", message));
    }
    let operation = Operation::Write(WriteSession {
        namespace,
        key,
        change,
        if_version: write.if_version,
        principal: write.principal.as_deref().map(principal).transpose()?,
        timeouts,
    });
    mutation(write.request_id.as_ref(), operation, Reply::Write)
}

fn regenerate_session(regenerate: &v1::RegenerateRequest) -> Result<Request, Failure> {
    let (namespace, key) = named(&regenerate.namespace, &regenerate.id)?;
    let id = id_or_new("new_id", &regenerate.new_id, regenerate.request_id.is_some())?;
    let new_key = SessionKey::derive(&namespace, &id);
    let operation = Operation::Regenerate(RegenerateSession { namespace, key, new_key });
    mutation(regenerate.request_id.as_ref(), operation, Reply::Regenerate { id, key: new_key })
}

fn read(get: &v1::GetRequest, cluster: u64) -> Result<Read, Failure> {
    let (namespace, key) = named(&get.namespace, &get.id)?;
    if get.at_least.as_ref().is_some_and(|position| position.cluster != cluster) {
        return Err(reasons::other_cluster());
    }
    if let Some(chosen) = &get.attributes {
        let (count, max) = (chosen.names.len(), Limits::ATTRIBUTES_MAX);
        if count > max {
            let message = format!("attributes.names: {count} names; a session has at most {max} attributes");
            let failure = Failure::invalid("TOO_MANY_NAMES", "attributes.names", message);
            return Err(failure.fact("count", count).fact("max_count", max));
        }
        for name in &chosen.names {
            attribute_name("attributes.names", name)?;
        }
    }
    Ok(Read {
        namespace,
        key,
        touch: get.touch.unwrap_or(get.at_least.is_none()),
        selection: get.attributes.as_ref().map(|chosen| chosen.names.iter().cloned().collect()),
        at_least: get.at_least.as_ref().map(|position| position.index),
    })
}

/// A patch; an empty one keeps everything.
fn patched(patch: &v1::Patch) -> Result<AttributeChange, Failure> {
    let set = attributes("patch.set", &patch.set)?;
    for name in &patch.remove {
        attribute_name("patch.remove", name)?;
    }
    if patch.remove.len() > REMOVED_MAX {
        return Err(too_many("patch.remove", patch.remove.len(), REMOVED_MAX));
    }
    if patch.remove.iter().any(|name| set.contains_key(name.as_str())) {
        let message = "an attribute is both in patch.set and in patch.remove; name it in one of them";
        return Err(Failure::invalid("CONTRADICTING_PATCH", "patch", message));
    }
    if set.is_empty() && patch.remove.is_empty() {
        return Ok(AttributeChange::Keep);
    }
    Ok(AttributeChange::Patch { set, remove: patch.remove.iter().map(|name| name.as_str().into()).collect() })
}

fn named(namespace_name: &str, id: &str) -> Result<(Box<str>, SessionKey), Failure> {
    let namespace = namespace(namespace_name)?;
    let id = session_id("id", id)?;
    let key = SessionKey::derive(&namespace, &id);
    Ok((namespace, key))
}

fn namespace(name: &str) -> Result<Box<str>, Failure> {
    let name = if name.is_empty() { "default" } else { name };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() > Limits::NAMESPACE_BYTES_MAX || !name.bytes().all(allowed) {
        let message = format!(
            "the namespace is not a name: 1 to {} characters of A-Z a-z 0-9 - _ . are allowed (empty means \"default\")",
            Limits::NAMESPACE_BYTES_MAX
        );
        return Err(Failure::invalid("INVALID_NAMESPACE", "namespace", message));
    }
    Ok(name.into())
}

fn session_id(field: &'static str, id: &str) -> Result<SessionId, Failure> {
    SessionId::parse(id).map_err(|error| Failure::invalid("INVALID_ID", field, format!("{field}: {error}")))
}

/// The caller's id, or a new one of 258 random bits when the caller gave none.
fn id_or_new(field: &'static str, id: &str, exactly_once: bool) -> Result<SessionId, Failure> {
    if !id.is_empty() {
        return session_id(field, id);
    }
    if exactly_once {
        let message = format!(
            "{field} is empty: with a request_id the caller makes the id, so that a retry carries the same one"
        );
        return Err(Failure::invalid("ID_REQUIRED", field, message));
    }
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0_u8; 43];
    rand::rng().fill_bytes(&mut random);
    // Six bits of each byte choose a character: uniform, since 64 divides 256.
    let id: String = random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 64)))
        .map(|byte| char::from(*byte))
        .collect();
    session_id(field, &id)
}

fn principal(principal: &str) -> Result<Box<str>, Failure> {
    if principal.len() > Limits::PRINCIPAL_BYTES_MAX {
        let message = format!(
            "the principal has {} bytes; at most {} are allowed",
            principal.len(),
            Limits::PRINCIPAL_BYTES_MAX
        );
        return Err(Failure::invalid("INVALID_PRINCIPAL", "principal", message));
    }
    Ok(principal.into())
}

fn attribute_name(field: &'static str, name: &str) -> Result<(), Failure> {
    if !(1..=Limits::ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len()) {
        let message = format!(
            "{field}: an attribute's name has {} bytes; 1 to {} are allowed",
            name.len(),
            Limits::ATTRIBUTE_NAME_BYTES_MAX
        );
        return Err(Failure::invalid("INVALID_ATTRIBUTE_NAME", field, message));
    }
    Ok(())
}

/// Attributes to create or to set. What is too large for any session, whatever its namespace allows, goes no further:
/// it would be replicated and synced only to be refused.
fn attributes(field: &'static str, given: &BTreeMap<String, Bytes>) -> Result<Attributes, Failure> {
    if given.len() > Limits::ATTRIBUTES_MAX {
        return Err(too_many(field, given.len(), Limits::ATTRIBUTES_MAX));
    }
    let mut bytes = 0_usize;
    for (name, value) in given {
        attribute_name(field, name)?;
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
    }
    let (bytes, max) = (u64::try_from(bytes).unwrap_or(u64::MAX), Limits::SESSION_BYTES_MAX);
    if bytes > max {
        return Err(Failure { field: Some(field), ..Refusal::SessionTooLarge { bytes, max }.into() });
    }
    let copied = given.iter().map(|(name, value)| (name.as_str().into(), Bytes::copy_from_slice(value)));
    Ok(copied.collect())
}

fn too_many(field: &'static str, count: usize, max: usize) -> Failure {
    let message = format!("{field}: {count} attributes; at most {max} are allowed in one operation");
    let failure = Failure::new(Code::ResourceExhausted, "TOO_MANY_ATTRIBUTES", message);
    Failure { field: Some(field), ..failure }.fact("count", count).fact("max_count", max)
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

fn request_id(given: &v1::RequestId) -> Result<RequestId, Failure> {
    let wrong = if given.client == 0 {
        "request_id.client is 0; it is the number from OpenClient"
    } else if given.sequence == 0 {
        "request_id.sequence is 0; sequences start at 1"
    } else if given.lowest_unanswered > given.sequence {
        "request_id.lowest_unanswered is above sequence; it is at most the operation's own sequence"
    } else {
        return Ok(RequestId {
            client: given.client,
            sequence: given.sequence,
            lowest_unanswered: given.lowest_unanswered,
        });
    };
    Err(Failure::invalid("INVALID_REQUEST_ID", "request_id", wrong))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
