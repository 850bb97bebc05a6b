//! What clients recorded of one session.

use std::fmt;
use std::time::Duration;

use super::operation::{Number, Operation};
use super::outcome::Outcome;

/// A cluster's clock is taken to be no faster than this, in hundredths of the true time beyond it: it promises a tenth of
/// one.
const CLOCK_PERCENT_MAX: u32 = 5;

/// One call, as its client saw it. Times are since the beginning of the recording, by one monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its number among the operations on its session.
    pub number: Number,
    /// Which client made it.
    pub client: usize,
    /// Right before the call.
    pub call: Duration,
    /// Right after its answer, or after it was given up.
    pub back: Duration,
    /// What was asked for.
    pub operation: Operation,
    /// What came of it.
    pub outcome: Outcome,
}

/// Something that a linearization has to place, or may: between these two moments.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The operation's number.
    pub number: Number,
    /// It takes effect no earlier.
    pub call: Duration,
    /// And no later.
    pub back: Duration,
    /// It has taken effect; otherwise it may, or may not.
    pub must: bool,
    /// What was asked for.
    pub operation: Operation,
    /// What came of it.
    pub outcome: Outcome,
}

/// What clients recorded of one session.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All calls that may have taken effect or were answered, in any order.
    pub records: Vec<Record>,
    /// The absolute timeout it was created with, if it may have passed.
    pub absolute_timeout: Option<Duration>,
}

impl History {
    /// From the first call to the last answer.
    #[must_use]
    pub fn span(&self) -> Duration {
        let first = self.records.iter().map(|record| record.call).min().unwrap_or_default();
        let last = self.records.iter().map(|record| record.back).max().unwrap_or_default();
        last.saturating_sub(first)
    }

    /// Everything to be placed, by the time of its call.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            self.records.iter().flat_map(|record| self.entries_of(record)).collect();
        entries.sort_by_key(|entry| (entry.call, entry.number));
        entries
    }

    fn entries_of(&self, record: &Record) -> impl Iterator<Item = Entry> {
        let &Record { number, call, back, operation, outcome, .. } = record;
        let answered = Entry { number, call, back, must: true, operation, outcome };
        let unknown = Entry { back: Duration::MAX, must: false, outcome: Outcome::Unknown, ..answered };
        let itself = if outcome == Outcome::Unknown { unknown } else { answered };
        let refused = matches!(outcome, Outcome::Missing { .. } | Outcome::NotHolder);
        let (itself, meanwhile) = match operation {
            // Nobody is told that by this lock, unless it was taken.
            Operation::Lock { .. } if outcome == Outcome::NotHolder => {
                (None, Some(Entry { must: true, outcome: Outcome::MaybeTaken, ..answered }))
            }
            Operation::Lock { .. } if refused => {
                (Some(itself), Some(Entry { must: false, outcome: Outcome::MaybeTaken, ..answered }))
            }
            _ => (Some(itself), None),
        };
        let creates = operation == Operation::Create && !matches!(outcome, Outcome::Taken { .. });
        let expiry = self.absolute_timeout.filter(|_| creates).map(|timeout| Entry {
            call: call + timeout - timeout * CLOCK_PERCENT_MAX / 100,
            operation: Operation::Expire { create: number },
            ..unknown
        });
        // A lock whose caller has gone is given back, by its client or its node, at some time.
        let given_back = match operation {
            Operation::Lock { key } if outcome == Outcome::Unknown => {
                Some(Entry { operation: Operation::Unlock { key, holder: number }, ..unknown })
            }
            _ => None,
        };
        [itself, meanwhile, expiry, given_back].into_iter().flatten()
    }

    /// Calls that ran at the same time as another one, of which one at least changed something or tried to.
    #[must_use]
    pub fn contended(&self) -> usize {
        let overlap = |one: &Record, other: &Record| {
            one.number != other.number
                && !(one.operation.only_looks() && other.operation.only_looks())
                && one.call <= other.back
                && other.call <= one.back
        };
        let contended = |one: &&Record| self.records.iter().any(|other| overlap(one, other));
        self.records.iter().filter(contended).count()
    }
}

impl fmt::Display for History {
    /// A line for each call, by the time of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut records: Vec<&Record> = self.records.iter().collect();
        records.sort_by_key(|record| (record.call, record.number));
        if let Some(timeout) = self.absolute_timeout {
            writeln!(f, "absolute timeout {} ms", timeout.as_millis())?;
        }
        records.iter().try_for_each(|record| {
            let Record { number, client, call, back, operation, outcome } = record;
            let (call, back) = (call.as_micros(), back.as_micros());
            writeln!(f, "{call:>10} {back:>10} us  client {client}  #{number} {operation}: {outcome}")
        })
    }
}
