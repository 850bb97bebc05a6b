//! One mutation of a session, at most once per request id.

use crate::client::Admission;
use crate::command::{Operation, RequestId};
use crate::digest::{Digest, Kind};
use crate::outcome::{Outcome, Refusal};
use crate::state::State;

impl State {
    pub(super) fn operate(&mut self, request: Option<RequestId>, operation: Operation) -> Outcome {
        let Some(request) = request else { return self.run(operation) };
        let Digest(fingerprint) = Digest::of(Kind::Operation, &operation);
        match self.clients.admit(request, fingerprint, self.clocks.cluster) {
            Admission::Refused(refusal) => Outcome::Refused(refusal),
            Admission::Answered(outcome) => outcome,
            Admission::Run => {
                let outcome = self.run(operation);
                self.clients.remember(request, fingerprint, outcome.clone());
                outcome
            }
        }
    }

    fn run(&mut self, operation: Operation) -> Outcome {
        let result: Result<Outcome, Refusal> = match operation {
            Operation::Create(create) => self.create(create),
            Operation::Write(write) => self.write(write),
            Operation::Touch { namespace, key } => self.touch(&namespace, key),
            Operation::Delete { namespace, key } => self.delete(&namespace, key),
            Operation::Regenerate(regenerate) => self.regenerate(&regenerate),
            Operation::TouchMany { namespace, keys } => self.touch_many(&namespace, &keys),
            Operation::Lock(lock) => self.lock(lock),
            Operation::Unlock(holder) => self.unlock(&holder),
            Operation::BreakLock { namespace, key } => self.break_lock(&namespace, key),
            Operation::Revoke(revoke) => self.revoke(&revoke),
            Operation::PutNamespace { name, change, create } => self.put_namespace(&name, &change, create),
            Operation::DeleteNamespace { name } => self.delete_namespace(&name),
        };
        result.unwrap_or_else(Outcome::Refused)
    }
}
