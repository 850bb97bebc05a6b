//! Which of a stream's operations may run now.
//!
//! Each session has a lane. What runs on a lane at one time is either reads, or mutations (they go into the log in
//! the order sent, one behind the other without waiting), or what gives locks back (which goes into the log by a way of
//! its own, since it is never held up when others are), or one operation alone (one that goes to another node, where
//! order among calls is not kept). Everything else waits in the lane, first come, first served. An operation on several
//! sessions stands in all their lanes and runs once it is first in each: numbers rise in order of arrival, so two such
//! operations never wait for each other.
//!
//! A lock that has to wait for its turn leaves its lane as soon as it stands in the session's line: what follows on the
//! session runs on, and may be what gives the lock back. One that is sent on to another node, which tells nothing before
//! it has the lock, leaves its lane as soon as it is sent: what follows may get there first.

use std::collections::{HashMap, VecDeque};

use quorate_state::SessionKey;

use crate::services::request::Keys;

/// An operation's number within its stream; rises in order of arrival.
pub(super) type Number = u64;

/// What an operation shares its lane with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// With other reads.
    Read,
    /// With other mutations, which it must be submitted behind.
    Mutation,
    /// With others that are never held up.
    Unthrottled,
    /// With nothing.
    Alone,
}

#[derive(Debug)]
struct Ticket {
    keys: Keys,
    class: Class,
    /// Counted as running in its lanes; waits in all of them otherwise.
    running: bool,
}

#[derive(Debug, Default)]
struct Lane {
    running: usize,
    /// Of those running; meaningless when none is.
    class: Option<Class>,
    waiting: VecDeque<Number>,
    /// The latest of those that ran and ended while the lane was in use.
    ended: Option<Number>,
}

impl Lane {
    fn admits(&self, class: Class) -> bool {
        self.running == 0 || (class != Class::Alone && self.class == Some(class))
    }

    fn enter(&mut self, class: Class) {
        self.running += 1;
        self.class = Some(class);
    }
}

/// The operations of one stream that wait or run.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    lanes: HashMap<SessionKey, Lane>,
    tickets: HashMap<Number, Ticket>,
    ready: VecDeque<Number>,
}

impl Schedule {
    /// Takes in an operation; `number` is above all earlier ones.
    pub(super) fn push(&mut self, number: Number, keys: Keys, class: Class) {
        let free = keys
            .each()
            .all(|key| self.lanes.get(&key).is_none_or(|lane| lane.waiting.is_empty() && lane.admits(class)));
        for key in keys.each() {
            let lane = self.lanes.entry(key).or_default();
            if free { lane.enter(class) } else { lane.waiting.push_back(number) }
        }
        if free {
            self.ready.push_back(number);
        }
        self.tickets.insert(number, Ticket { keys, class, running: free });
    }

    /// Whether [`Self::next_ready`] has one to give.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next operation to run, if one may. From here on it runs, until [`Self::finish`] or [`Self::requeue`].
    pub(super) fn next_ready(&mut self) -> Option<Number> {
        self.ready.pop_front()
    }

    /// An operation has ended, or gives up waiting.
    pub(super) fn finish(&mut self, number: Number) {
        let Some(ticket) = self.tickets.remove(&number) else { return };
        for key in ticket.keys.each() {
            if let Some(lane) = self.lanes.get_mut(&key) {
                if ticket.running {
                    lane.running = lane.running.saturating_sub(1);
                    lane.ended = lane.ended.max(Some(number));
                } else {
                    lane.waiting.retain(|waiting| *waiting != number);
                }
            }
        }
        self.promote(&ticket.keys);
    }

    /// Whether a later one on the same session has run and ended: then this one's place is gone, and running it would
    /// turn the order round. To be asked of what was requeued once its turn comes: one that ran beside it when it was
    /// requeued may have ended since.
    pub(super) fn is_overtaken(&self, number: Number) -> bool {
        let mut keys = self.tickets.get(&number).into_iter().flat_map(|ticket| ticket.keys.each());
        keys.any(|key| self.lanes.get(&key).is_some_and(|lane| lane.ended > Some(number)))
    }

    /// A running operation was not served and shall run again, alone, in its place. Refused with `false` (it still
    /// runs) when it [is overtaken](Self::is_overtaken).
    pub(super) fn requeue(&mut self, number: Number) -> bool {
        if self.is_overtaken(number) {
            return false;
        }
        let Some(ticket) = self.tickets.get_mut(&number) else { return false };
        let keys = ticket.keys.clone();
        ticket.class = Class::Alone;
        // What is about no session waits for nothing.
        ticket.running = keys.is_empty();
        for key in keys.each() {
            let lane = self.lanes.entry(key).or_default();
            lane.running = lane.running.saturating_sub(1);
            let place = lane.waiting.partition_point(|waiting| *waiting < number);
            lane.waiting.insert(place, number);
        }
        if keys.is_empty() {
            self.ready.push_back(number);
        }
        self.promote(&keys);
        true
    }

    /// Lets those run that have come first in all their lanes.
    fn promote(&mut self, keys: &Keys) {
        let mut changed: Vec<SessionKey> = keys.each().collect();
        while let Some(key) = changed.pop() {
            while let Some((number, keys, class)) = self.first(key) {
                for other in keys.each() {
                    if let Some(lane) = self.lanes.get_mut(&other) {
                        lane.waiting.pop_front();
                        lane.enter(class);
                    }
                    if other != key {
                        changed.push(other);
                    }
                }
                if let Some(ticket) = self.tickets.get_mut(&number) {
                    ticket.running = true;
                }
                self.ready.push_back(number);
            }
            if self.lanes.get(&key).is_some_and(|lane| lane.running == 0 && lane.waiting.is_empty()) {
                self.lanes.remove(&key);
            }
        }
    }

    /// The first in this lane, if it may run now.
    fn first(&self, key: SessionKey) -> Option<(Number, Keys, Class)> {
        let number = *self.lanes.get(&key)?.waiting.front()?;
        let ticket = self.tickets.get(&number)?;
        let may_run = ticket.keys.each().all(|key| {
            self.lanes
                .get(&key)
                .is_some_and(|lane| lane.waiting.front() == Some(&number) && lane.admits(ticket.class))
        });
        may_run.then(|| (number, ticket.keys.clone(), ticket.class))
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
