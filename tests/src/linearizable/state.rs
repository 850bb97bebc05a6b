//! What one session is, by the contract: what each operation answers, and what it makes of the session.

use super::operation::{Key, Number, Operation};
use super::outcome::{Outcome, Seen};

/// A session that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Live {
    key: Key,
    version: u64,
    value: Number,
    holder: Option<Number>,
    /// The create that made it.
    created: Number,
}

/// One session, all its ids and all that they answer.
///
/// Marks of ids that are no longer used are kept for 60 s: longer than any history that is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    live: Option<Live>,
    /// A bit for each id that was given up for another.
    renamed: u64,
    /// The id under which it was deleted.
    deleted: Option<Key>,
    /// The highest fencing token so far.
    fence: u64,
}

impl State {
    /// What the operation does, if `outcome` can be its outcome now.
    #[must_use]
    pub fn step(&self, operation: &Operation, number: Number, outcome: Outcome) -> Option<State> {
        let (answer, mut next) = self.apply(operation, number);
        match (answer, outcome) {
            // One that changes nothing has not taken effect: that possibility is looked at anyway.
            (_, Outcome::Unknown | Outcome::MaybeTaken) => (next != *self).then_some(next),
            (Outcome::Locked(_), Outcome::Locked(fence)) if fence > self.fence => {
                next.fence = fence;
                Some(next)
            }
            (Outcome::Locked(_), Outcome::Locked(_)) => None,
            (answer, outcome) => (answer == outcome).then_some(next),
        }
    }

    /// The operation's answer and the state after it. A lock's token is for the cluster to choose: 0 here.
    pub(super) fn apply(&self, operation: &Operation, number: Number) -> (Outcome, State) {
        match *operation {
            Operation::Create => self.create(number),
            Operation::Get { key } => self.on(key, |live| (Outcome::Found(live.seen()), Some(live))),
            Operation::Touch { key } => self.on(key, |live| (Outcome::Done, Some(live))),
            Operation::Write { key, if_version, holder, release } => self.on(key, |live| {
                let version = live.version + 1;
                let kept = if release { None } else { live.holder };
                let written = Live { version, value: number, holder: kept, ..live };
                match live.check(holder) {
                    Some(refused) => (refused, Some(live)),
                    None if if_version.is_some_and(|required| required != live.version) => {
                        (Outcome::Conflict(live.version), Some(live))
                    }
                    None => (Outcome::Written(version), Some(written)),
                }
            }),
            Operation::Delete { key } => {
                let (outcome, mut next) = self.on(key, |_| (Outcome::Done, None));
                if outcome == Outcome::Done {
                    next.deleted = Some(key);
                }
                (outcome, next)
            }
            Operation::Regenerate { from, to, holder } => self.regenerate(from, to, holder),
            Operation::Lock { key } => self.on(key, |live| match live.holder {
                Some(_) => (Outcome::InTheWay, Some(live)),
                None => (Outcome::Locked(0), Some(Live { holder: Some(number), ..live })),
            }),
            Operation::Renew { key, holder } => {
                self.on(key, |live| (live.check(Some(holder)).unwrap_or(Outcome::Done), Some(live)))
            }
            Operation::Unlock { key, holder } => self.on(key, |live| match live.check(Some(holder)) {
                Some(refused) => (refused, Some(live)),
                None => (Outcome::Done, Some(Live { holder: None, ..live })),
            }),
            Operation::Break { key } => self.on(key, |live| match live.holder {
                None => (Outcome::NotLocked, Some(live)),
                Some(_) => (Outcome::Done, Some(Live { holder: None, ..live })),
            }),
            Operation::Expire { create } => {
                let live = self.live.filter(|live| live.created != create);
                (Outcome::Done, State { live, ..*self })
            }
        }
    }

    /// Runs `change` on the session if it has this id now.
    fn on(&self, key: Key, change: impl FnOnce(Live) -> (Outcome, Option<Live>)) -> (Outcome, State) {
        match self.live {
            Some(live) if live.key == key => {
                let (outcome, live) = change(live);
                (outcome, State { live, ..*self })
            }
            _ => (Outcome::Missing { renamed: self.was_renamed(key) }, *self),
        }
    }

    fn was_renamed(&self, key: Key) -> bool {
        self.renamed & bit(key) != 0
    }

    /// Insert-only, and not where a session was until a moment ago. One that has expired leaves no mark.
    fn create(&self, number: Number) -> (Outcome, State) {
        if self.live.is_some_and(|live| live.key == 0) {
            return (Outcome::Taken { ended: false }, *self);
        }
        if self.was_renamed(0) || self.deleted == Some(0) {
            return (Outcome::Taken { ended: true }, *self);
        }
        let live = Live { key: 0, version: 1, value: number, holder: None, created: number };
        (Outcome::Written(1), State { live: Some(live), ..*self })
    }

    /// The new id is one that nobody else asks for, so it is free, unless this very operation is done twice.
    fn regenerate(&self, from: Key, to: Key, holder: Option<Number>) -> (Outcome, State) {
        let (outcome, mut next) = self.on(from, |live| match live.check(holder) {
            Some(refused) => (refused, Some(live)),
            None => {
                let version = live.version + 1;
                (Outcome::Written(version), Some(Live { key: to, version, ..live }))
            }
        });
        if matches!(outcome, Outcome::Written(_)) {
            next.renamed |= bit(from);
        }
        (outcome, next)
    }
}

fn bit(key: Key) -> u64 {
    1_u64.checked_shl(key.into()).unwrap_or(0)
}

impl Live {
    fn seen(&self) -> Seen {
        Seen { version: self.version, value: self.value, holder: self.holder }
    }

    /// Why a caller with this lock, or without one, may not change it.
    fn check(&self, holder: Option<Number>) -> Option<Outcome> {
        match (self.holder, holder) {
            (held, Some(_)) if held != holder => Some(Outcome::NotHolder),
            (Some(_), None) => Some(Outcome::InTheWay),
            _ => None,
        }
    }
}
