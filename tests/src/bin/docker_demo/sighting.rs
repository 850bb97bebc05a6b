//! A line of what the program inside the cut-off container saw, and what follows from all of them.
//!
//! Times are microseconds of the host's wall clock, which its containers share.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A leader's lease with `--timing lan`: the longest time for which it may answer reads without hearing a quorum.
pub(crate) const LEASE_US: u64 = 100_000;

/// Now, in microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One thing seen: a call that has ended, or the node's word on its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// A create, and the id that it acknowledged.
    Write { began_us: u64, acknowledged: Option<String> },
    /// A linearizable read of the register, and the value it answered.
    Read { began_us: u64, value: Option<u64> },
    /// The node was asked whether it leads; `None` when it did not answer.
    Role { at_us: u64, leads: Option<bool> },
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sighting::Write { began_us, acknowledged } => {
                write!(f, "write {began_us} {}", acknowledged.as_deref().unwrap_or("-"))
            }
            Sighting::Read { began_us, value: Some(value) } => write!(f, "read {began_us} {value}"),
            Sighting::Read { began_us, value: None } => write!(f, "read {began_us} -"),
            Sighting::Role { at_us, leads: Some(leads) } => write!(f, "role {at_us} {leads}"),
            Sighting::Role { at_us, leads: None } => write!(f, "role {at_us} -"),
        }
    }
}

impl Sighting {
    /// What [`fmt::Display`] wrote.
    pub(crate) fn parse(line: &str) -> Option<Sighting> {
        let mut words = line.split(' ');
        let (kind, at_us, what) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        match kind {
            "write" => {
                let acknowledged = (what != "-").then(|| what.to_owned());
                Some(Sighting::Write { began_us: at_us, acknowledged })
            }
            "read" if what == "-" => Some(Sighting::Read { began_us: at_us, value: None }),
            "read" => Some(Sighting::Read { began_us: at_us, value: Some(what.parse().ok()?) }),
            "role" if what == "-" => Some(Sighting::Role { at_us, leads: None }),
            "role" => Some(Sighting::Role { at_us, leads: Some(what.parse().ok()?) }),
            _ => None,
        }
    }
}

/// What the node did while nobody could reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conduct {
    /// Calls that it answered well before the cut: they show that the same calls can succeed.
    pub(crate) good_before: usize,
    /// Writes sent after the cut.
    pub(crate) writes: usize,
    /// Those it acknowledged. Must be none.
    pub(crate) writes_acknowledged: usize,
    /// Reads sent after the cut.
    pub(crate) reads: usize,
    /// Those it answered with a value. They may fall into its last lease, and nowhere else.
    pub(crate) reads_answered: usize,
    /// Those of them that were sent when its last lease had passed. Must be none.
    pub(crate) reads_answered_late: usize,
    /// Reads, whenever sent, whose value was older than one acknowledged before they were sent. Must be none.
    pub(crate) reads_stale: usize,
    /// From the cut to its first word that it does not lead.
    pub(crate) stepped_down_us: Option<u64>,
}

/// Judges what was seen, given when the cut was complete and the register's acknowledged values, with their times,
/// both rising.
pub(crate) fn judge(seen: &[Sighting], cut_us: u64, register: &[(u64, u64)]) -> Conduct {
    let mut conduct = Conduct::default();
    let known_at = |at_us: u64| {
        let before = register.partition_point(|(acknowledged_us, _)| *acknowledged_us < at_us);
        before.checked_sub(1).and_then(|last| register.get(last)).map_or(0, |(_, value)| *value)
    };
    for sighting in seen {
        match sighting {
            Sighting::Write { began_us, acknowledged } if *began_us >= cut_us => {
                conduct.writes += 1;
                conduct.writes_acknowledged += usize::from(acknowledged.is_some());
            }
            Sighting::Write { acknowledged, .. } => {
                conduct.good_before += usize::from(acknowledged.is_some())
            }
            Sighting::Read { began_us, value } => {
                let stale = value.is_some_and(|value| value < known_at(*began_us));
                conduct.reads_stale += usize::from(stale);
                if *began_us >= cut_us {
                    conduct.reads += 1;
                    conduct.reads_answered += usize::from(value.is_some());
                    let late = value.is_some() && *began_us - cut_us > LEASE_US;
                    conduct.reads_answered_late += usize::from(late);
                } else {
                    conduct.good_before += usize::from(value.is_some());
                }
            }
            Sighting::Role { at_us, leads } => {
                if *at_us >= cut_us && *leads == Some(false) && conduct.stepped_down_us.is_none() {
                    conduct.stepped_down_us = Some(at_us - cut_us);
                }
            }
        }
    }
    conduct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        for sighting in [
            Sighting::Write { began_us: 7, acknowledged: None },
            Sighting::Write { began_us: 7, acknowledged: Some("id".to_owned()) },
            Sighting::Read { began_us: 8, value: None },
            Sighting::Read { began_us: 8, value: Some(3) },
            Sighting::Role { at_us: 9, leads: Some(true) },
            Sighting::Role { at_us: 9, leads: None },
        ] {
            assert_eq!(Sighting::parse(&sighting.to_string()), Some(sighting));
        }
        assert_eq!(Sighting::parse("write x -"), None);
        assert_eq!(Sighting::parse("error 5 -"), None);
    }

    #[test]
    fn an_acknowledged_write_and_a_stale_read_are_found() {
        let register = [(100, 1), (200, 2), (300, 3)];
        let read = |began_us, value| Sighting::Read { began_us, value: Some(value) };
        let seen = [
            read(150, 1),
            Sighting::Role { at_us: 160, leads: Some(true) },
            // Sent before 2 was acknowledged: either value is right.
            read(199, 1),
            read(210, 2),
            read(310, 2),
            Sighting::Write { began_us: 320, acknowledged: Some("id".to_owned()) },
            Sighting::Write { began_us: 321, acknowledged: None },
            // No answer is no word of its own.
            Sighting::Role { at_us: 340, leads: None },
            Sighting::Role { at_us: 350, leads: Some(false) },
            read(205 + LEASE_US + 1, 3),
        ];
        let conduct = judge(&seen, 205, &register);
        let expected = Conduct {
            good_before: 2,
            writes: 2,
            writes_acknowledged: 1,
            reads: 3,
            reads_answered: 3,
            reads_answered_late: 1,
            reads_stale: 1,
            stepped_down_us: Some(145),
        };
        assert_eq!(conduct, expected);
    }
}
