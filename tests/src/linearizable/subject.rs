//! One session under test, shared by all clients: its ids, what is known of it, and what was recorded.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_client::SessionId;

use super::history::{History, Record};
use super::operation::{KEYS_MAX, Key, Number, Operation};
use super::outcome::Outcome;

/// So many operations on a session that has ended, then another one takes its place.
const AFTER_END: u32 = 20;

/// What clients believe of a session, to choose what they ask for by. May be outdated or wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Belief {
    /// It was created.
    pub(crate) is_there: bool,
    /// Its id, the last that is known: ids follow one another in the order of their numbers.
    pub(crate) key: Key,
    /// It has another id, which the answer that got lost would have told.
    pub(crate) is_lost: bool,
    /// Its version.
    pub(crate) version: u64,
    /// The operation that took its lock, and the token.
    pub(crate) holder: Option<(Number, u64)>,
    /// The one before.
    pub(crate) former: Option<(Number, u64)>,
    /// How often a lock was in the way since somebody came through.
    pub(crate) in_the_way: u32,
    /// It was deleted, or has expired: by which operation that was known.
    ended: Option<Number>,
}

/// One of the session's ids.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) id: SessionId,
    /// Once somebody was told it.
    pub(crate) handle: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Subject {
    absolute_timeout: Option<Duration>,
    operations_max: Number,
    next: AtomicU32,
    names: Mutex<Vec<Name>>,
    belief: Mutex<Belief>,
    records: Mutex<Vec<Record>>,
}

impl Subject {
    /// A session that nobody has created yet. `operations_max`: after so many it is left alone.
    pub(crate) fn new(absolute_timeout: Option<Duration>, operations_max: Number) -> Subject {
        let first = Name { id: SessionId::random(), handle: None };
        Subject {
            absolute_timeout,
            operations_max,
            next: AtomicU32::new(1),
            names: Mutex::new(vec![first]),
            belief: Mutex::default(),
            records: Mutex::default(),
        }
    }

    pub(crate) fn absolute_timeout(&self) -> Option<Duration> {
        self.absolute_timeout
    }

    pub(crate) fn belief(&self) -> Belief {
        *self.belief.lock()
    }

    /// The number of the next operation on it.
    pub(crate) fn number(&self) -> Number {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether another session is to take its place.
    pub(crate) fn is_used_up(&self) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let ended = self.belief.lock().ended;
        next > self.operations_max || ended.is_some_and(|ended| next > ended + AFTER_END)
    }

    pub(crate) fn name(&self, key: Key) -> Option<Name> {
        self.names.lock().get(usize::from(key)).cloned()
    }

    pub(crate) fn keys(&self) -> Key {
        Key::try_from(self.names.lock().len()).unwrap_or(KEYS_MAX)
    }

    /// Another id for it; `None` when it has had enough.
    pub(crate) fn new_key(&self) -> Option<Key> {
        let mut names = self.names.lock();
        let key = Key::try_from(names.len()).ok().filter(|key| *key < KEYS_MAX)?;
        names.push(Name { id: SessionId::random(), handle: None });
        Some(key)
    }

    pub(crate) fn learn_handle(&self, key: Key, handle: String) {
        if let Some(name) = self.names.lock().get_mut(usize::from(key)) {
            name.handle = Some(handle);
        }
    }

    /// Notes a call, and what it tells of the session.
    pub(crate) fn record(&self, record: Record) {
        self.belief.lock().learn(&record);
        self.records.lock().push(record);
    }

    /// All that was recorded so far.
    pub(crate) fn history(&self) -> History {
        History { records: self.records.lock().clone(), absolute_timeout: self.absolute_timeout }
    }
}

impl Belief {
    /// The token of a lock.
    pub(crate) fn fence(&self, holder: Number) -> Option<u64> {
        let known = [self.holder, self.former].into_iter().flatten();
        known.into_iter().find_map(|(known, fence)| (known == holder).then_some(fence))
    }

    fn learn(&mut self, record: &Record) {
        let before = self.holder;
        self.take_in(record);
        if self.holder != before {
            self.former = before.or(self.former);
        }
    }

    fn take_in(&mut self, record: &Record) {
        match (record.operation, record.outcome) {
            (_, Outcome::InTheWay) => self.in_the_way += 1,
            (Operation::Lock { .. }, Outcome::Locked(fence)) => {
                (self.holder, self.in_the_way) = (Some((record.number, fence)), 0);
            }
            (Operation::Create, Outcome::Written(version)) => (self.is_there, self.version) = (true, version),
            (Operation::Create, Outcome::Taken { .. }) => self.is_there = true,
            (Operation::Get { key }, Outcome::Found(seen)) => {
                self.is_there = true;
                self.move_to(key);
                self.version = seen.version;
                self.holder = self.holder.filter(|(holder, _)| seen.holder == Some(*holder));
            }
            (Operation::Write { release, .. }, Outcome::Written(version)) => {
                (self.version, self.in_the_way) = (version, 0);
                self.holder = self.holder.filter(|_| !release);
            }
            (Operation::Write { .. }, Outcome::Conflict(version)) => self.version = version,
            (Operation::Regenerate { to, .. }, Outcome::Written(version)) => {
                self.move_to(to);
                self.version = version;
            }
            (Operation::Unlock { .. } | Operation::Break { .. }, Outcome::Done)
            | (Operation::Unlock { .. } | Operation::Renew { .. }, Outcome::NotHolder) => {
                (self.holder, self.in_the_way) = (None, 0);
            }
            (Operation::Delete { .. }, Outcome::Done) => self.ended = Some(record.number),
            (Operation::Get { key }, Outcome::Missing { renamed }) if self.is_there && key == self.key => {
                self.is_lost |= renamed;
                self.ended = self.ended.or((!renamed).then_some(record.number));
            }
            _ => {}
        }
    }

    fn move_to(&mut self, key: Key) {
        if key > self.key {
            (self.key, self.is_lost) = (key, false);
        }
    }
}
