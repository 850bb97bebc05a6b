//! Locks of the fake cluster, without a line: a node that holds its answer is one that has its caller wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use tonic::Code;

use super::state::{State, error};

/// A lock that somebody holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) fence: u64,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
    pub(crate) owner: String,
}

/// All locks, by id.
#[derive(Default)]
pub(crate) struct Locks {
    held: HashMap<String, Held>,
    fence: u64,
    /// Renewals that were granted.
    pub(crate) renewals: usize,
    /// What is left of a lease that is told, whatever is.
    pub(crate) remaining_ms: Option<u64>,
}

impl Locks {
    /// Who holds the lock of the session `id` now.
    pub(crate) fn holder(&self, id: &str) -> Option<&Held> {
        self.held.get(id).filter(|held| held.until > Instant::now())
    }

    /// As if an administrator had come by.
    pub(crate) fn free(&mut self, id: &str) {
        self.held.remove(id);
    }

    pub(super) fn rename(&mut self, id: &str, new_id: &str) {
        if let Some(held) = self.held.remove(id) {
            self.held.insert(new_id.to_owned(), held);
        }
    }

    /// Whether a call with this token, or none, may change the session.
    #[allow(clippy::result_large_err, reason = "the answer as it goes out")]
    pub(super) fn check(&self, id: &str, fence: Option<u64>) -> Result<(), Answer> {
        match (self.holder(id), fence) {
            (None, None) => Ok(()),
            (Some(held), Some(fence)) if held.fence == fence => Ok(()),
            (_, Some(_)) => Err(error(Code::FailedPrecondition, "STALE_FENCE", &[])),
            (Some(held), None) => {
                let age = held.since.elapsed().as_millis().to_string();
                let remaining = (held.until - Instant::now()).as_millis().to_string();
                let facts = [("age_ms", age.as_str()), ("remaining_ms", remaining.as_str())];
                Err(error(Code::Aborted, "LOCKED", &facts))
            }
        }
    }
}

impl State {
    pub(super) fn lock(&mut self, request: &v1::LockRequest) -> Answer {
        let Some(session) = self.sessions.get(&request.id).cloned() else {
            return error(Code::NotFound, "NOT_FOUND", &[]);
        };
        if let Err(refused) = self.locks.check(&request.id, request.fence) {
            return refused;
        }
        let (now, locks) = (Instant::now(), &mut self.locks);
        let until = now + Duration::from_millis(request.lease_ms);
        let fence = match request.fence {
            Some(fence) => {
                locks.renewals += 1;
                locks.held.entry(request.id.clone()).and_modify(|held| held.until = until);
                fence
            }
            None => {
                locks.fence += 1;
                let held = Held { fence: locks.fence, since: now, until, owner: request.owner.clone() };
                locks.held.insert(request.id.clone(), held);
                locks.fence
            }
        };
        self.effects.push((request.request_id, None));
        let session = request.get.then_some(session);
        Answer::Lock(v1::LockResponse {
            fence,
            remaining_ms: self.locks.remaining_ms.unwrap_or(request.lease_ms),
            position: self.position(),
            session,
        })
    }

    pub(super) fn unlock(&mut self, request: &v1::UnlockRequest) -> Answer {
        if !self.sessions.contains_key(&request.id) {
            return error(Code::NotFound, "NOT_FOUND", &[]);
        }
        if let Err(refused) = self.locks.check(&request.id, Some(request.fence)) {
            return refused;
        }
        self.locks.free(&request.id);
        self.effects.push((request.request_id, None));
        Answer::Unlock(v1::UnlockResponse { position: self.position() })
    }

    pub(super) fn break_lock(&mut self, request: &v1::BreakLockRequest) -> Answer {
        let found = self.sessions.iter().find(|(_, session)| session.handle == request.handle);
        let Some(id) = found.map(|(id, _)| id.clone()) else {
            return error(Code::NotFound, "NOT_FOUND", &[]);
        };
        if self.locks.holder(&id).is_none() {
            return error(Code::FailedPrecondition, "NOT_LOCKED", &[]);
        }
        self.locks.free(&id);
        self.effects.push((request.request_id, None));
        Answer::BreakLock(v1::BreakLockResponse { position: self.position() })
    }
}
