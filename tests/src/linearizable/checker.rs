//! Whether a history is linearizable: whether its operations can be put in one order that keeps their order in time, and
//! in which each has the outcome that was recorded.
//!
//! The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory ("Testing for
//! linearizability", 2017): what was placed and the state it led to, once found to lead nowhere, is not tried again.

use std::collections::HashSet;
use std::time::Duration;

use super::history::Entry;
use super::operation::Number;
use super::state::State;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Legal {
        /// How many places of the search were looked at.
        looked_at: usize,
    },
    /// There is none.
    Illegal(Box<Dead>),
    /// It would take too long to tell.
    Undecided {
        /// How many places of the search were looked at.
        looked_at: usize,
    },
}

/// The furthest that any order came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// What was placed, in order.
    pub placed: Vec<Number>,
    /// What that made of the session.
    pub state: State,
    /// What would have had to come next, and cannot.
    pub stuck: Vec<Number>,
}

/// One place of the search: the choices from there that are left, the best last.
struct Place {
    choices: Vec<(usize, State)>,
    /// The choice that is being looked into.
    taken: Option<usize>,
}

/// Which entries are placed.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Placed(Box<[u64]>);

impl Placed {
    fn none_of(entries: usize) -> Placed {
        Placed(vec![0; entries.div_ceil(64)].into())
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    fn flip(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word ^= 1 << (at % 64);
        }
    }
}

struct Search<'a> {
    /// By their calls.
    entries: &'a [Entry],
    placed: Placed,
    /// Those not placed that must be.
    left: usize,
    furthest: Dead,
}

/// Checks entries that are sorted by their calls. `places_max`: how many places of the search are looked at before it is
/// given up.
#[must_use]
pub fn check(entries: &[Entry], places_max: usize) -> Verdict {
    let start = State::default();
    let furthest = Dead { placed: Vec::new(), state: start, stuck: Vec::new() };
    let left = entries.iter().filter(|entry| entry.must).count();
    let mut search = Search { entries, placed: Placed::none_of(entries.len()), left, furthest };
    search.run(start, places_max)
}

impl Search<'_> {
    fn run(&mut self, start: State, places_max: usize) -> Verdict {
        let mut seen: HashSet<(Placed, State)> = HashSet::new();
        self.note(&[], start);
        if self.left == 0 {
            return Verdict::Legal { looked_at: 0 };
        }
        let mut path = vec![Place { choices: self.choices(&start), taken: None }];
        while let Some(place) = path.last_mut() {
            if let Some(at) = place.taken.take() {
                self.flip(at);
            }
            let Some((at, state)) = place.choices.pop() else {
                path.pop();
                continue;
            };
            place.taken = Some(at);
            self.flip(at);
            if self.left == 0 {
                return Verdict::Legal { looked_at: seen.len() };
            }
            if !seen.insert((self.placed.clone(), state)) {
                continue;
            }
            if seen.len() >= places_max {
                return Verdict::Undecided { looked_at: seen.len() };
            }
            self.note(&path, state);
            path.push(Place { choices: self.choices(&state), taken: None });
        }
        Verdict::Illegal(Box::new(self.furthest.clone()))
    }

    fn flip(&mut self, at: usize) {
        self.placed.flip(at);
        if self.entries.get(at).is_some_and(|entry| entry.must) {
            self.left = if self.placed.has(at) { self.left - 1 } else { self.left + 1 };
        }
    }

    /// What is not placed and may come next: nothing else that must be placed has ended before it began.
    fn next(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let mut latest_call = Duration::ZERO;
        let mut horizon = Duration::MAX;
        let open = self.entries.iter().enumerate().filter(|(at, _)| !self.placed.has(*at));
        // By their calls: what ends the horizon has itself begun within it.
        let within = open.take_while(move |(_, entry)| {
            let within = entry.call <= horizon;
            if entry.must {
                horizon = horizon.min(entry.back);
            }
            within
        });
        for (at, entry) in self.entries.iter().enumerate() {
            if self.placed.has(at) {
                latest_call = entry.call;
            }
        }
        // What need not be placed may have ended before something began that is placed already: then it is too late.
        within.filter(move |(_, entry)| entry.back >= latest_call)
    }

    /// The best choice last: what must be placed and ends first.
    fn choices(&self, state: &State) -> Vec<(usize, State)> {
        let mut choices: Vec<_> = self
            .next()
            .filter_map(|(at, entry)| {
                let state = state.step(&entry.operation, entry.number, entry.outcome)?;
                Some(((entry.must, std::cmp::Reverse(entry.back)), at, state))
            })
            .collect();
        choices.sort_by_key(|(rank, ..)| *rank);
        choices.into_iter().map(|(_, at, state)| (at, state)).collect()
    }

    /// Keeps where the search stands, if it never came so far.
    fn note(&mut self, path: &[Place], state: State) {
        let placed = path.iter().filter_map(|place| place.taken);
        if placed.clone().count() < self.furthest.placed.len() {
            return;
        }
        let number = |at: usize| self.entries.get(at).map(|entry| entry.number);
        let placed: Vec<Number> = placed.filter_map(number).collect();
        let stuck = self.next().filter(|(_, entry)| entry.must).map(|(_, entry)| entry.number).collect();
        self.furthest = Dead { placed, state, stuck };
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
