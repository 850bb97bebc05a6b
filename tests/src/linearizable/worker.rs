//! One client of a recording: one operation after the other, each chosen by chance and recorded.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::arena::Arena;
use super::caller::{Call, Caller};
use super::history::Record;
use super::operation::{Key, Number, Operation};
use super::outcome::Outcome;
use super::subject::{Belief, Subject};
use super::trouble::Trouble;

/// Between two operations, at most: sessions are to live through faults, not to be used up within milliseconds.
const THINK_MS_MAX: u64 = 8;
/// Before a node that is not there is dialled again.
const REDIAL: Duration = Duration::from_millis(20);
/// How often a client looks at once at what it has changed: a node that is behind is behind right then.
const LOOKS_AFTER: f64 = 0.3;
/// How often a client loses patience with a change, and when.
const IMPATIENT: f64 = 0.03;
const PATIENCE_US_MAX: u64 = 3_000;
/// A lock was so often in the way that its holder has probably gone.
const IN_THE_WAY_MAX: u32 = 6;

/// See the module.
pub(crate) struct Worker {
    number: usize,
    caller: Caller,
    arena: Arc<Arena>,
    random: StdRng,
}

impl Worker {
    pub(crate) fn new(number: usize, caller: Caller, arena: Arc<Arena>, seed: u64) -> Worker {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number as u64));
        Worker { number, caller, arena, random }
    }

    /// Works until the arena is stopped, and ends the operation that runs then.
    pub(crate) async fn run(mut self) {
        while !self.arena.is_stopped() {
            if !self.caller.is_connected().await {
                tokio::time::sleep(REDIAL).await;
                continue;
            }
            let slot = self.random.random_range(0..self.arena.slots());
            let Some(subject) = self.arena.subject(slot) else { return };
            let belief = subject.belief();
            if let Some(operation) = self.choose(&subject, &belief) {
                let answered = self.perform(&subject, operation, &belief).await;
                if answered && !operation.only_looks() && self.random.random_bool(LOOKS_AFTER) {
                    let key = subject.belief().key;
                    self.perform(&subject, Operation::Get { key }, &belief).await;
                }
            }
            let pause = self.random.random_range(0..=THINK_MS_MAX);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Reads the session by each of its ids, until each is answered: nothing else runs, so that what was acknowledged
    /// must be there.
    pub(crate) async fn read_all(&mut self, subject: &Subject) {
        for key in 0..subject.keys() {
            let (get, belief) = (Operation::Get { key }, Belief::default());
            while !self.caller.is_connected().await || !self.perform(subject, get, &belief).await {
                tokio::time::sleep(REDIAL).await;
            }
        }
    }

    /// What to ask for next; `None`: nothing that makes sense.
    fn choose(&mut self, subject: &Subject, belief: &Belief) -> Option<Operation> {
        let roll = self.random.random_range(0..1_000);
        if !belief.is_there {
            let create = roll < 500;
            return Some(if create { Operation::Create } else { Operation::Get { key: 0 } });
        }
        if belief.is_lost {
            let key = self.random.random_range(belief.key..subject.keys().max(belief.key + 1));
            return Some(Operation::Get { key });
        }
        // Now and then one that has been given up.
        let key = if roll % 20 == 0 { self.random.random_range(0..=belief.key) } else { belief.key };
        if belief.holder.is_none() && belief.in_the_way > IN_THE_WAY_MAX && roll < 300 {
            return Some(Operation::Break { key });
        }
        match roll {
            0..320 => Some(Operation::Get { key }),
            320..480 => Some(self.write(key, belief, None)),
            480..640 => Some(self.write(key, belief, Some(belief.version))),
            640..680 => Some(Operation::Touch { key }),
            680..790 => Some(Operation::Lock { key }),
            790..880 => belief.holder.map(|(holder, _)| Operation::Unlock { key, holder }),
            880..915 => belief.holder.map(|(holder, _)| Operation::Renew { key, holder }),
            915..935 => Some(Operation::Break { key }),
            935..970 => {
                let holder = self.under(belief);
                subject.new_key().map(|to| Operation::Regenerate { from: key, to, holder })
            }
            970..976 => Some(Operation::Delete { key }),
            _ => Some(Operation::Create),
        }
    }

    /// Mostly as its holder, where somebody holds the lock; now and then as one who held it before.
    fn under(&mut self, belief: &Belief) -> Option<Number> {
        let former = belief.former.filter(|_| self.random.random_bool(0.1));
        let holder = belief.holder.filter(|_| self.random.random_bool(0.7));
        former.or(holder).map(|(holder, _)| holder)
    }

    fn write(&mut self, key: Key, belief: &Belief, if_version: Option<u64>) -> Operation {
        let holder = self.under(belief);
        let release = holder.is_some() && self.random.random_bool(0.2);
        Operation::Write { key, if_version, holder, release }
    }

    /// Now and then a client goes away before its answer comes; `None`: it stays.
    fn patience(&mut self, operation: &Operation) -> Option<Duration> {
        let leaves = !operation.only_looks() && self.random.random_bool(IMPATIENT);
        leaves.then(|| Duration::from_micros(self.random.random_range(0..PATIENCE_US_MAX)))
    }

    /// Carries an operation out and records it; whether it was answered.
    async fn perform(&mut self, subject: &Subject, operation: Operation, belief: &Belief) -> bool {
        let (key, new_key, holder) = parts(&operation);
        let fence = holder.and_then(|holder| belief.fence(holder));
        let Some(name) = subject.name(key) else { return false };
        if matches!(operation, Operation::Break { .. }) && name.handle.is_none() {
            return false;
        }
        let (number, touch, patch) = (subject.number(), self.random.random(), self.random.random());
        let new_name = new_key.and_then(|key| subject.name(key));
        let call = Call { subject, number, operation, name, new_name, fence, touch, patch };
        let began = self.arena.now();
        let answer = match self.patience(&operation) {
            None => self.caller.call(&call).await,
            Some(patience) => {
                let answer = tokio::time::timeout(patience, self.caller.call(&call)).await;
                answer.unwrap_or(Err(Trouble::Unknown))
            }
        };
        let back = self.arena.now();
        let outcome = match answer {
            Ok(answer) => {
                if let Some(handle) = answer.handle {
                    subject.learn_handle(new_key.unwrap_or(key), handle);
                }
                answer.outcome
            }
            Err(Trouble::Refused(outcome)) => outcome,
            // What only looks, and was not answered, says nothing.
            Err(Trouble::Unknown) if !operation.only_looks() => Outcome::Unknown,
            Err(Trouble::Unknown | Trouble::NotApplied) => {
                self.arena.count_not_applied();
                return false;
            }
            Err(Trouble::Unexpected(what)) => {
                self.arena.report(format!("{}: {what}", operation.name()));
                return false;
            }
        };
        let changed = matches!(outcome, Outcome::Done | Outcome::Written(_) | Outcome::Locked(_));
        self.arena.count(changed && !operation.only_looks());
        subject.record(Record { number, client: self.number, call: began, back, operation, outcome });
        outcome != Outcome::Unknown
    }
}

/// The id that an operation names, the new one, and the lock.
fn parts(operation: &Operation) -> (Key, Option<Key>, Option<Number>) {
    match *operation {
        Operation::Create | Operation::Expire { .. } => (0, None, None),
        Operation::Get { key }
        | Operation::Touch { key }
        | Operation::Delete { key }
        | Operation::Lock { key }
        | Operation::Break { key } => (key, None, None),
        Operation::Write { key, holder, .. } => (key, None, holder),
        Operation::Regenerate { from, to, holder } => (from, Some(to), holder),
        Operation::Renew { key, holder } | Operation::Unlock { key, holder } => (key, None, Some(holder)),
    }
}
