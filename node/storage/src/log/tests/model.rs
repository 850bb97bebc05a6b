//! The log against a `Vec`, with reopening.

use proptest::prelude::*;

use super::base::{Node, all, append, purge, record, save_vote};
use crate::{LogId, LogRecord, RaftLog, Threads};

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: u64,
        bytes: usize,
    },
    Vote,
    /// To this many percent of the log.
    Truncate(u64),
    Purge(u64),
    /// This far beyond the end.
    Jump(u64),
    Read(u64, u64, u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..6_u64, 0..900_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        1 => Just(Step::Vote),
        2 => (0..=100_u64).prop_map(Step::Truncate),
        2 => (0..=100_u64).prop_map(Step::Purge),
        1 => (0..40_u64).prop_map(Step::Jump),
        3 => (0..200_u64, 0..200_u64, 0..4000_u64).prop_map(|(from, to, bytes)| Step::Read(from, to, bytes)),
        2 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..50)
}

#[derive(Default)]
struct Model {
    entries: Vec<LogRecord>,
    /// Truncated in memory, still on disk: may come back when the log is reopened.
    ghosts: Vec<LogRecord>,
    purged: Option<LogId>,
    term: u64,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|record| record.id).or(self.purged)
    }

    fn at(&self, percent: u64) -> Option<LogId> {
        let place = usize::try_from(percent).unwrap() * self.entries.len().checked_sub(1)? / 100;
        Some(self.entries.get(place)?.id)
    }

    fn read(&self, from: u64, to: u64, bytes_max: u64) -> Vec<LogRecord> {
        let mut bytes = 0;
        let there = self.entries.iter().filter(|record| (from..to).contains(&record.id.index));
        let fitting = there.enumerate().take_while(|(place, record)| {
            bytes += record.bytes.len() as u64;
            *place == 0 || bytes <= bytes_max
        });
        fitting.map(|(_, record)| record.clone()).collect()
    }

    fn step(&mut self, step: Step, node: &mut Node, log: RaftLog) -> RaftLog {
        match step {
            Step::Append { count, bytes } => {
                let first = self.last().map_or(0, |last| last.index + 1);
                let more: Vec<_> =
                    (first..first + count).map(|index| record(self.term, index, bytes, 1)).collect();
                self.entries.extend(more.iter().cloned());
                self.ghosts.clear();
                append(&log, more);
            }
            Step::Vote => {
                self.term += 1;
                save_vote(&log, self.term);
            }
            Step::Truncate(percent) => {
                if let Some(kept) = self.at(percent) {
                    let cut = self.entries.iter().position(|record| record.id == kept).unwrap() + 1;
                    let gone = self.entries.split_off(cut);
                    self.ghosts.splice(0..0, gone);
                    self.term += 1;
                    log.truncate_after(Some(kept)).unwrap();
                }
            }
            Step::Purge(percent) => {
                if let Some(upto) = self.at(percent) {
                    self.entries.retain(|record| record.id.index > upto.index);
                    self.forget(upto);
                    purge(&log, upto);
                }
            }
            Step::Jump(by) => {
                let index = self.last().map_or(0, |last| last.index) + by;
                if self.purged.is_none_or(|purged| purged.index < index) {
                    let there = self.entries.last().map(|record| record.id);
                    let upto = there.filter(|id| id.index == index);
                    let upto = upto.unwrap_or(LogId { term: self.term, node: 0, index });
                    self.entries.clear();
                    self.forget(upto);
                    purge(&log, upto);
                }
            }
            Step::Read(from, to, bytes_max) => {
                assert_eq!(log.read(from, to, bytes_max).unwrap(), self.read(from, to, bytes_max));
            }
            Step::Reopen => {
                log.close();
                let log = node.open();
                let back = all(&log).split_off(self.entries.len().min(all(&log).len()));
                assert!(self.ghosts.starts_with(&back), "what was never there came back");
                self.entries.extend(back);
                self.ghosts.clear();
                return log;
            }
        }
        log
    }

    fn forget(&mut self, upto: LogId) {
        self.purged = Some(upto);
        if self.entries.is_empty() {
            self.ghosts.clear();
        }
    }

    fn check(&self, log: &RaftLog) {
        assert_eq!(all(log), self.entries);
        assert_eq!(log.last(), self.last());
        assert_eq!(log.last_purged(), self.purged);
        assert_eq!(log.first_index(), self.entries.first().map(|record| record.id.index));
        assert_eq!(log.synced(), self.last());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_leave_what_a_vec_would_hold(steps in steps()) {
        let mut node = Node::new(Threads::Inline);
        let mut model = Model { term: 1, ..Model::default() };
        let mut log = node.open();
        for step in steps {
            log = model.step(step, &mut node, log);
            model.check(&log);
        }
        prop_assert_eq!(&*node.failures.lock(), &Vec::<String>::new());
    }
}
