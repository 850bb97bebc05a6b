//! A crash at every write and every sync, with all, none or some of what is not synced lost.

use std::fs;
use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::base::{Node, Promise, record};
use crate::disk::{Image, Loss};
use crate::log::planted::Bug;
use crate::{LogId, RaftLog, Threads, Vote};

/// Random numbers that a seed determines (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Someone who uses the log as Raft does, at random, and keeps book of what was promised.
pub(super) struct User {
    pub(super) promise: Arc<Mutex<Promise>>,
    pub(super) dice: Dice,
    term: u64,
}

impl User {
    pub(super) fn new(seed: u64) -> User {
        User { promise: Arc::default(), dice: Dice(seed), term: 1 }
    }

    /// One call at random; its callback keeps the book.
    pub(super) fn step(&mut self, log: &RaftLog) {
        match self.dice.roll(16) {
            0..9 => self.append(log),
            9 | 10 => self.vote(log),
            11 | 12 => {
                self.truncate(log);
                self.append(log);
            }
            13 => self.truncate(log),
            14 => {
                let (first, last) = (log.first_index().unwrap_or(0), log.last().map_or(0, |id| id.index));
                let upto = first + self.dice.roll(last.saturating_sub(first) + 1);
                self.purge(log, upto);
            }
            _ => {
                // As after a snapshot: at the end or beyond it.
                let upto = log.last().map_or(0, |id| id.index) + self.dice.roll(3) * 50;
                self.purge(log, upto);
            }
        }
    }

    fn append(&mut self, log: &RaftLog) {
        let first = log.last().map_or(0, |last| last.index + 1);
        let count = 1 + self.dice.roll(4);
        let records: Vec<_> = (first..first + count)
            .map(|index| {
                let bytes = usize::try_from(self.dice.roll(600)).unwrap();
                record(self.term, index, bytes, u8::try_from(self.dice.roll(256)).unwrap())
            })
            .collect();
        let book = Arc::clone(&self.promise);
        {
            let mut book = book.lock();
            book.written.extend(records.iter().map(|record| (record.id, record.bytes.clone())));
            book.live.extend(records.iter().map(|record| record.id));
        }
        let appended = records.clone();
        log.append(
            records,
            Box::new(move |result| {
                if result.is_ok() {
                    let mut book = book.lock();
                    for record in appended {
                        // Not if it was truncated or purged while it was written.
                        if book.live.contains(&record.id) {
                            book.entries.insert(record.id.index, record);
                        }
                    }
                }
            }),
        );
    }

    fn vote(&mut self, log: &RaftLog) {
        self.term += 1;
        let vote = Vote { term: self.term, node: self.dice.roll(3), committed: self.dice.roll(2) == 0 };
        let book = Arc::clone(&self.promise);
        book.lock().votes.push(vote);
        log.save_vote(
            vote,
            Box::new(move |result| {
                if result.is_ok() {
                    book.lock().vote = Some(vote);
                }
            }),
        );
    }

    fn truncate(&mut self, log: &RaftLog) {
        let (Some(first), Some(last)) = (log.first_index(), log.last()) else { return };
        let kept = first + self.dice.roll(last.index - first + 1);
        let Ok(mut kept) = log.read(kept, kept + 1, 0) else { return };
        let Some(kept) = kept.pop() else { return };
        self.term += 1;
        {
            let mut book = self.promise.lock();
            book.entries.split_off(&(kept.id.index + 1));
            book.live.retain(|id| id.index <= kept.id.index);
        }
        // After a failure it is refused, and nothing more is promised anyway.
        let _ = log.truncate_after(Some(kept.id));
    }

    fn purge(&mut self, log: &RaftLog, upto: u64) {
        let there = log.read(upto, upto + 1, 0).ok().and_then(|mut records| records.pop());
        let at_end = log.last().filter(|last| last.index == upto);
        let id = there.map(|record| record.id).or(at_end);
        let upto = id.unwrap_or(LogId { term: self.term, node: self.term % 3, index: upto });
        if log.last_purged().is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        let book = Arc::clone(&self.promise);
        {
            let mut book = book.lock();
            book.purges.insert(upto);
            book.entries = book.entries.split_off(&(upto.index + 1));
            book.live.retain(|id| id.index > upto.index);
        }
        log.purge(
            upto,
            Box::new(move |result| {
                if result.is_ok() {
                    book.lock().purged = Some(upto);
                }
            }),
        );
    }
}

struct Moment {
    step: u64,
    loss: Loss,
    image: Image,
    identity: Option<Vec<u8>>,
    promise: Promise,
}

/// Runs a random user for `calls` calls, from the very first start; checks every `stride`th moment. Returns how many
/// moments it checked, and what they broke.
fn crash_everywhere(seed: u64, calls: u64, stride: u64, threads: Threads, bug: Bug) -> (usize, Vec<String>) {
    let mut node = Node::new(threads);
    let mut user = User::new(seed);
    let moments = Arc::<Mutex<Vec<Moment>>>::default();
    let (noted, book, identity) =
        (Arc::clone(&moments), Arc::clone(&user.promise), node.dir.path().join("identity"));
    let mut step = 0;
    node.disk.on_step(move |files| {
        step += 1;
        if step % stride != 0 {
            return;
        }
        let promise = book.lock().clone();
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(seed ^ step)] {
            let (image, identity) = (files.image(loss), fs::read(&identity).ok());
            noted.lock().push(Moment { step, loss, image, identity, promise: promise.clone() });
        }
    });
    let mut log = node.open_with(bug).unwrap();
    for call in 0..calls {
        user.step(&log);
        if call % 25 == 24 {
            log.close();
            log = node.open_with(bug).unwrap();
        }
    }
    log.close();
    node.disk.end_steps();
    assert_eq!(*node.failures.lock(), [""; 0]);
    let moments = std::mem::take(&mut *moments.lock());
    let broken = moments.iter().filter_map(|moment| {
        let temporary = TempDir::new().unwrap();
        moment.image.write(node.dir.path(), temporary.path()).unwrap();
        if let Some(identity) = &moment.identity {
            fs::write(temporary.path().join("identity"), identity).unwrap();
        }
        let broken = moment.promise.check(temporary.path()).err()?;
        Some(format!("seed {seed}, step {}, {:?}: {broken}", moment.step, moment.loss))
    });
    (moments.len(), broken.collect())
}

/// No bug, unless `scripts/planted-bugs.sh` chose one for this run: then the tests below must fail.
fn chosen() -> Bug {
    match Bug::from_environment() {
        Bug::None => Bug::None,
        // A crash here drops what was not synced: nothing need linger.
        Bug::AcknowledgeBeforeSync { .. } => Bug::AcknowledgeBeforeSync { linger: false },
    }
}

#[test]
fn a_crash_anywhere_loses_nothing_acknowledged() {
    for seed in 1..=4 {
        let (moments, broken) = crash_everywhere(seed, 60, 5, Threads::Inline, chosen());
        assert!(moments > 100, "{moments} moments");
        assert_eq!(broken, [""; 0]);
    }
}

#[test]
fn a_crash_anywhere_with_threads_loses_nothing_acknowledged() {
    for seed in 101..=102 {
        let (moments, broken) = crash_everywhere(seed, 60, 5, Threads::Dedicated, chosen());
        assert!(moments > 50, "{moments} moments");
        assert_eq!(broken, [""; 0]);
    }
}

#[test]
fn a_log_that_acknowledges_before_its_sync_is_caught() {
    let bug = Bug::AcknowledgeBeforeSync { linger: false };
    for (seed, threads) in [(1, Threads::Inline), (101, Threads::Dedicated)] {
        let (moments, broken) = crash_everywhere(seed, 60, 5, threads, bug);
        assert!(broken.iter().any(|broken| broken.contains("acknowledged and is lost")), "{broken:?}");
        assert!(broken.len() > moments / 20, "only {} of {moments} moments", broken.len());
    }
}
