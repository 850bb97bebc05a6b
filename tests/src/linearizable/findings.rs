//! What the recordings of a run say, all together.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::checker::{Dead, Verdict, check};
use super::history::{History, Record};
use super::operation::Operation;
use super::outcome::Outcome;
use super::recording::{LAST_READER, Recording};
use crate::error::HarnessError;

/// Places of a search, before it is given up. Most take as many as the history has operations.
const PLACES_MAX: usize = 2_000_000;
/// A longer history would outlive idle deadlines, leases, and the marks of ids that were given up, which the model takes
/// for everlasting.
const SPAN_MAX: Duration = Duration::from_secs(55);
/// Among the sessions of so many recordings some must have expired.
const EXPIRED_FROM: u64 = 5;
/// A recording with less proves nothing.
const OPERATIONS_MIN: u64 = 300;

/// What the recordings of a run say, all together.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Recordings.
    pub recordings: u64,
    /// Sessions in them.
    pub sessions: u64,
    /// Operations recorded.
    pub operations: u64,
    /// Of these, those whose outcome is unknown.
    pub unknown: u64,
    /// Of these, those that ran at the same time as another on the same session, one of the two a change.
    pub contended: u64,
    /// Calls that certainly had no effect, and reads that were not answered.
    pub not_applied: u64,
    /// Operations that did what they were asked to, by name.
    pub done: BTreeMap<&'static str, u64>,
    /// Refusals by the state of a session, by what was said.
    pub refused: BTreeMap<String, u64>,
    /// Sessions that certainly expired.
    pub expired: u64,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Histories that no order of their operations explains, and answers that no state does.
    pub illegal: u64,
    /// Histories that could not be judged.
    pub undecided: u64,
    /// The most places that a search looked at.
    pub looked_at_max: usize,
    /// How long all checks took.
    pub checking: Duration,
    /// What is wrong, in words.
    pub described: Vec<String>,
    /// Why the run proves nothing.
    too_little: Vec<String>,
}

impl Findings {
    /// Judges a recording. What is not legal is written to a file in `dir`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, recording: &Recording, dir: &Path) -> Result<(), HarnessError> {
        let before = self.operations;
        self.recordings += 1;
        self.not_applied += recording.not_applied;
        for fault in &recording.faults {
            *self.faults.entry(fault.name()).or_default() += 1;
        }
        for (number, history) in (1..).zip(&recording.histories) {
            self.count(history);
            if let Some(what) = self.judge(history) {
                let path = write_down(dir, recording, (number, history), &what)?;
                self.described.push(format!(
                    "seed {}, session {number}: {}: see {}",
                    recording.seed,
                    what.lines().next().unwrap_or_default(),
                    path.display()
                ));
            }
        }
        for what in &recording.unexpected {
            self.illegal += 1;
            self.described.push(format!("seed {}: an answer that nothing explains: {what}", recording.seed));
        }
        let operations = self.operations - before;
        if operations < OPERATIONS_MIN || recording.faults.is_empty() {
            self.too_little.push(format!(
                "seed {}: {operations} operations, {} faults",
                recording.seed,
                recording.faults.len()
            ));
        }
        Ok(())
    }

    fn count(&mut self, history: &History) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.sessions += 1;
        self.operations += number(history.records.len());
        self.contended += number(history.contended());
        for record in &history.records {
            match record.outcome {
                Outcome::Unknown => self.unknown += 1,
                Outcome::Done | Outcome::Written(_) | Outcome::Found(_) | Outcome::Locked(_) => {
                    *self.done.entry(record.operation.name()).or_default() += 1;
                }
                // All conflicts are one kind of refusal.
                Outcome::Conflict(_) => *self.refused.entry("conflict".to_owned()).or_default() += 1,
                refusal => *self.refused.entry(refusal.to_string()).or_default() += 1,
            }
        }
        self.expired += u64::from(has_expired(history));
    }

    /// What is wrong with a history, the first line for all to see.
    fn judge(&mut self, history: &History) -> Option<String> {
        let span = history.span();
        if span > SPAN_MAX {
            self.undecided += 1;
            return Some(format!("undecided: it took {} s, longer than {SPAN_MAX:?}", span.as_secs()));
        }
        let began = Instant::now();
        let verdict = check(&history.entries(), PLACES_MAX);
        self.checking += began.elapsed();
        match verdict {
            Verdict::Legal { looked_at } => {
                self.looked_at_max = self.looked_at_max.max(looked_at);
                None
            }
            Verdict::Undecided { looked_at } => {
                self.undecided += 1;
                Some(format!("undecided: {looked_at} places were looked at"))
            }
            Verdict::Illegal(dead) => {
                self.illegal += 1;
                Some(explained(&dead))
            }
        }
    }

    /// Histories that are not legal, and answers that nothing explains.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.illegal == 0 && self.undecided == 0
    }

    /// Why the run proves nothing: too few operations, no fault, nothing unclear or at the same time, or something that
    /// never succeeded.
    #[must_use]
    pub fn too_little(&self) -> Vec<String> {
        let mut found = self.too_little.clone();
        if self.recordings == 0 {
            found.push("nothing was recorded".to_owned());
        }
        for (what, count) in [("unknown outcome", self.unknown), ("contended operation", self.contended)] {
            if count == 0 {
                found.push(format!("no {what}"));
            }
        }
        if self.recordings >= EXPIRED_FROM && self.expired == 0 {
            found.push("no session that expired".to_owned());
        }
        let never = Operation::NAMES.iter().filter(|name| !self.done.contains_key(*name));
        found.extend(never.map(|name| format!("no {name} that was done")));
        found
    }
}

/// Whether a session certainly expired: it was there, nobody can have deleted it, and at the end it is gone.
fn has_expired(history: &History) -> bool {
    let of = |record: &Record| (record.operation.name(), record.outcome);
    let created = history.records.iter().any(|record| of(record) == ("create", Outcome::Written(1)));
    let deleted = history
        .records
        .iter()
        .any(|record| matches!(of(record), ("delete", Outcome::Done | Outcome::Unknown)));
    let mut last = history.records.iter().filter(|record| record.client == LAST_READER);
    let gone = last.all(|record| matches!(record.outcome, Outcome::Missing { .. }));
    history.absolute_timeout.is_some() && created && !deleted && gone
}

fn explained(dead: &Dead) -> String {
    let Dead { placed, state, stuck } = dead;
    let stuck: Vec<String> = stuck.iter().map(|number| format!("#{number}")).collect();
    let placed: Vec<String> = placed.iter().map(|number| format!("#{number}")).collect();
    format!(
        "illegal: no order explains it; none of {} can come after the longest one that does, of {}\n\
         which is: {}\nand leads to: {state:?}",
        stuck.join(", "),
        placed.len(),
        placed.join(" ")
    )
}

/// Writes a history down for somebody to read: what is wrong, then a line for each call.
fn write_down(
    dir: &Path,
    recording: &Recording,
    (number, history): (usize, &History),
    what: &str,
) -> Result<PathBuf, HarnessError> {
    fs::create_dir_all(dir).map_err(HarnessError::io("make", dir))?;
    let path = dir.join(format!("history-{}-{number}.txt", recording.seed));
    let faults: Vec<&str> = recording.faults.iter().map(|fault| fault.name()).collect();
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "seed {}, faults {}\n{what}\n\n{history}", recording.seed, faults.join(", "));
    fs::write(&path, text).map_err(HarnessError::io("write", &path))?;
    Ok(path)
}
