//! What the fake cluster holds.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1::answer::Answer;
use quorate_proto::v1::operation::Operation;
use quorate_proto::v1::{self, RequestId, write_request::Change};
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::feed::Feed;
use super::locks::Locks;

/// The real state's bound.
const OUTCOMES_MAX: u64 = 4_096;

/// One operation that reached a node, whatever the node made of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) node: String,
    pub(crate) request: Option<RequestId>,
}

/// The outcomes that are kept of one client handle.
#[derive(Default)]
pub(crate) struct Outcomes {
    lowest: u64,
    known: BTreeMap<u64, Answer>,
}

/// Sessions, retry table, and the record of what happened.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sessions: HashMap<String, v1::Session>,
    pub(crate) clients: HashMap<u64, Outcomes>,
    pub(crate) attempts: Vec<Attempt>,
    /// OpenClients that reached any node.
    pub(crate) open_attempts: u64,
    /// Client handles ever opened.
    pub(crate) opened: u64,
    /// Mutations that took effect, in order: request id, and the value of the attribute `n` if one was set.
    pub(crate) effects: Vec<(Option<RequestId>, Option<Bytes>)>,
    /// The widest distance between a sequence and the lowest unanswered one sent with it.
    pub(crate) spread_max: u64,
    /// Addresses that Status names.
    pub(crate) members: Vec<String>,
    pub(crate) locks: Locks,
    pub(crate) feed: Feed,
    /// Names and policies as they were put.
    pub(crate) namespaces: BTreeMap<String, v1::Policy>,
}

/// An error as the real node makes it. The fact `retry_ms` becomes a RetryInfo.
pub(crate) fn refusal(code: Code, reason: &str, facts: &[(&str, &str)]) -> tonic::Status {
    let flags = [("retryable", "false"), ("maybe_applied", "false")];
    let retry = facts.iter().find(|(name, _)| *name == "retry_ms").and_then(|(_, ms)| ms.parse().ok());
    let facts = flags.iter().chain(facts).map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned()));
    let mut details = ErrorDetails::with_error_info(reason, "quorate", facts.collect::<HashMap<_, _>>());
    if retry.is_some() {
        details.set_retry_info(retry.map(Duration::from_millis));
    }
    tonic::Status::with_error_details(code, format!("scripted: {reason}"), details)
}

/// The same, as an answer.
pub(crate) fn error(code: Code, reason: &str, facts: &[(&str, &str)]) -> Answer {
    let status = refusal(code, reason, facts);
    Answer::Error(v1::Error {
        code: code.into(),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    })
}

pub(crate) fn request_id(operation: &Operation) -> Option<RequestId> {
    match operation {
        Operation::OpenClient(_)
        | Operation::Get(_)
        | Operation::List(_)
        | Operation::GetNamespace(_)
        | Operation::ListNamespaces(_) => None,
        Operation::Create(request) => request.request_id,
        Operation::Write(request) => request.request_id,
        Operation::Touch(request) => request.request_id,
        Operation::Delete(request) => request.request_id,
        Operation::Regenerate(request) => request.request_id,
        Operation::TouchMany(request) => request.request_id,
        Operation::Lock(request) => request.request_id,
        Operation::Unlock(request) => request.request_id,
        Operation::BreakLock(request) => request.request_id,
        Operation::Revoke(request) => request.request_id,
        Operation::PutNamespace(request) => request.request_id,
        Operation::DeleteNamespace(request) => request.request_id,
    }
}

impl State {
    /// Runs an operation at most once per request id.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Answer {
        let Some(id) = request_id(operation) else { return self.run(operation) };
        self.spread_max = self.spread_max.max(id.sequence - id.lowest_unanswered);
        let Some(outcomes) = self.clients.get_mut(&id.client) else {
            return error(Code::FailedPrecondition, "UNKNOWN_CLIENT", &[("maybe_applied", "true")]);
        };
        let lowest = outcomes.lowest.max(id.lowest_unanswered);
        if id.sequence < lowest {
            return error(Code::FailedPrecondition, "STALE_REQUEST", &[("maybe_applied", "true")]);
        }
        outcomes.lowest = lowest;
        outcomes.known = outcomes.known.split_off(&lowest);
        if let Some(answer) = outcomes.known.get(&id.sequence) {
            return answer.clone();
        }
        if id.sequence - lowest >= OUTCOMES_MAX {
            return error(Code::ResourceExhausted, "TOO_MANY_OUTSTANDING", &[("retryable", "true")]);
        }
        let answer = self.run(operation);
        if let Some(outcomes) = self.clients.get_mut(&id.client) {
            outcomes.known.insert(id.sequence, answer.clone());
        }
        answer
    }

    pub(super) fn position(&self) -> Option<v1::Position> {
        Some(v1::Position { cluster: 7, index: self.effects.len() as u64 })
    }

    fn run(&mut self, operation: &Operation) -> Answer {
        let request = request_id(operation);
        match operation {
            Operation::OpenClient(_) => {
                self.opened += 1;
                self.clients.insert(self.opened, Outcomes::default());
                let position = self.position();
                Answer::OpenClient(v1::OpenClientResponse { client: self.opened, position })
            }
            Operation::Create(create) => {
                if self.sessions.contains_key(&create.id) {
                    return error(Code::AlreadyExists, "ALREADY_EXISTS", &[]);
                }
                self.effects.push((request, create.attributes.get("n").cloned()));
                let attributes = create.attributes.clone();
                let (handle, principal) = (format!("{:032x}", self.effects.len()), create.principal.clone());
                let session =
                    v1::Session { version: 1, attributes, handle, principal, ..v1::Session::default() };
                self.sessions.insert(create.id.clone(), session);
                let (id, handle, position) = (create.id.clone(), "h".to_owned(), self.position());
                Answer::Create(v1::CreateResponse { id, handle, version: 1, position })
            }
            Operation::Get(get) => match self.sessions.get(&get.id).cloned() {
                Some(session) => {
                    Answer::Get(v1::GetResponse { session: Some(session), position: self.position() })
                }
                None => error(Code::NotFound, "NOT_FOUND", &[]),
            },
            Operation::Write(write) => self.write(write),
            Operation::Touch(touch) if self.sessions.contains_key(&touch.id) => {
                self.effects.push((request, None));
                Answer::Touch(v1::TouchResponse { remaining_ms: Some(1_000), position: self.position() })
            }
            Operation::Delete(delete) if self.sessions.remove(&delete.id).is_some() => {
                self.effects.push((request, None));
                Answer::Delete(v1::DeleteResponse { position: self.position() })
            }
            Operation::Regenerate(regenerate)
                if self.locks.check(&regenerate.id, regenerate.fence).is_err() =>
            {
                error(Code::FailedPrecondition, "STALE_FENCE", &[])
            }
            Operation::Regenerate(regenerate) => match self.sessions.remove(&regenerate.id) {
                Some(session) => {
                    self.effects.push((request, None));
                    self.locks.rename(&regenerate.id, &regenerate.new_id);
                    self.sessions.insert(regenerate.new_id.clone(), session);
                    let (id, handle) = (regenerate.new_id.clone(), "h".to_owned());
                    let position = self.position();
                    Answer::Regenerate(v1::RegenerateResponse { id, handle, version: 2, position })
                }
                None => error(Code::NotFound, "NOT_FOUND", &[]),
            },
            Operation::Delete(delete) if !delete.handle.is_empty() => {
                let before = self.sessions.len();
                self.sessions.retain(|_, session| session.handle != delete.handle);
                if self.sessions.len() == before {
                    return error(Code::NotFound, "NOT_FOUND", &[]);
                }
                self.effects.push((request, None));
                Answer::Delete(v1::DeleteResponse { position: self.position() })
            }
            Operation::Touch(_) | Operation::Delete(_) => error(Code::NotFound, "NOT_FOUND", &[]),
            _ => self.run_new(operation),
        }
    }

    fn write(&mut self, write: &v1::WriteRequest) -> Answer {
        let Some(session) = self.sessions.get_mut(&write.id) else {
            return error(Code::NotFound, "NOT_FOUND", &[]);
        };
        let current = session.version;
        if write.if_version.is_some_and(|wanted| wanted != current) {
            return error(Code::Aborted, "VERSION_CONFLICT", &[("current_version", &current.to_string())]);
        }
        if let Err(refused) = self.locks.check(&write.id, write.fence) {
            return refused;
        }
        if write.release {
            self.locks.free(&write.id);
        }
        match &write.change {
            Some(Change::Replace(replace)) => session.attributes = replace.attributes.clone(),
            Some(Change::Patch(patch)) => {
                session.attributes.extend(patch.set.clone());
                session.attributes.retain(|name, _| !patch.remove.contains(name));
            }
            None => {}
        }
        session.version += 1;
        let (version, set) = (session.version, session.attributes.get("n").cloned());
        self.effects.push((write.request_id, set));
        Answer::Write(v1::WriteResponse { version, position: self.position() })
    }
}
