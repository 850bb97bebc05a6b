//! The ledger: every acknowledged write, and the check that it is still there.
//!
//! Per session it holds the fates that are possible. An acknowledged write leaves one. A write whose outcome is unknown
//! leaves two, with and without it; its writer then leaves that session alone, so both stay possible until a check sees
//! the later one, from when on nothing else is right.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use quorate_client::{Client, Consistency, Error, ErrorKind, GetOptions, Position, SessionId};

use crate::error::HarnessError;

const READS_AT_ONCE: usize = 256;
/// Violations that are described; all are counted.
const DESCRIBED_MAX: usize = 20;

/// What may have become of a session.
#[derive(Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is there, with this version and these attributes.
    Alive {
        /// Counts its changes.
        version: u64,
        /// All of them.
        attributes: BTreeMap<String, Bytes>,
    },
    /// Never there, deleted, or renamed to another id.
    Gone,
}

impl fmt::Debug for Fate {
    /// Shows the version and the values' sizes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Gone => f.write_str("gone"),
            Fate::Alive { version, attributes } => {
                write!(f, "version {version} with")?;
                attributes.iter().try_for_each(|(name, value)| {
                    let sum = quorate_storage::checksum(value);
                    write!(f, " {name}:{} bytes #{sum:08x}", value.len())
                })
            }
        }
    }
}

/// Where a check reads.
#[derive(Clone, Debug)]
pub enum Source {
    /// Linearizable reads, answered by the leader.
    Leader,
    /// One node's own memory, once it has applied the ledger's last position.
    Node(String),
}

struct Entry {
    id: SessionId,
    /// What the harness calls it: an id is a secret even here.
    name: String,
    /// The earlier first.
    possible: Vec<Fate>,
}

#[derive(Default)]
struct Book {
    entries: HashMap<String, Entry>,
    position: Option<Position>,
}

/// All sessions the writers ever made. Shared by them.
#[derive(Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Sessions read.
    pub checked: usize,
    /// There by the ledger, not there by the cluster.
    pub lost: usize,
    /// Ended by the ledger, there by the cluster.
    pub revived: usize,
    /// There, with another version or other attributes.
    pub wrong: usize,
    /// Not readable: neither there nor gone. A check with any has failed.
    pub unreadable: usize,
    /// The first few violations, in words.
    pub described: Vec<String>,
}

impl Verdict {
    /// Whether everything acknowledged was found as it was acknowledged, and something was checked at all.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.checked > 0 && self.violations() == 0
    }

    /// All that is not as it should be.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.lost + self.revived + self.wrong + self.unreadable
    }

    /// Adds another check's findings.
    pub fn add(&mut self, other: Verdict) {
        self.checked += other.checked;
        self.lost += other.lost;
        self.revived += other.revived;
        self.wrong += other.wrong;
        self.unreadable += other.unreadable;
        self.described.extend(other.described);
        self.described.truncate(DESCRIBED_MAX);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { checked, lost, revived, wrong, unreadable, described } = self;
        write!(f, "checked={checked} lost={lost} revived={revived} wrong={wrong} unreadable={unreadable}")?;
        described.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// A new random session id.
#[must_use]
pub fn new_id() -> SessionId {
    SessionId::random()
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// Sessions on record.
    #[must_use]
    pub fn len(&self) -> usize {
        self.book.lock().entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position of the last acknowledged write.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.book.lock().position
    }

    /// A write of `id` was acknowledged: its fate is this and no other.
    pub fn acknowledged(&self, id: &SessionId, name: &str, fate: Fate, position: Position) {
        let mut book = self.book.lock();
        let later = book.position.is_none_or(|known| known.index < position.index);
        if later {
            book.position = Some(position);
        }
        let entry = Entry { id: id.clone(), name: name.to_owned(), possible: vec![fate] };
        book.entries.insert(id.reveal().to_owned(), entry);
    }

    /// A write of `id` may or may not have happened: `fate` is possible too. The session must be left alone from now on.
    pub fn unknown(&self, id: &SessionId, name: &str, fate: Fate) {
        let mut book = self.book.lock();
        let entry = book.entries.entry(id.reveal().to_owned()).or_insert_with(|| Entry {
            id: id.clone(),
            name: name.to_owned(),
            possible: vec![Fate::Gone],
        });
        if !entry.possible.contains(&fate) {
            entry.possible.push(fate);
        }
    }

    /// Reads every session and compares. Writers must be stopped.
    ///
    /// # Errors
    /// Nothing was acknowledged yet. What cannot be read counts as `unreadable` in the verdict.
    pub async fn check(&self, client: &Client, source: &Source) -> Result<Verdict, HarnessError> {
        let (sessions, position) = {
            let book = self.book.lock();
            let sessions: Vec<_> = book
                .entries
                .values()
                .map(|entry| (entry.id.clone(), entry.name.clone(), entry.possible.clone()))
                .collect();
            (sessions, book.position)
        };
        let position =
            position.ok_or_else(|| HarnessError::Unreadable("nothing was acknowledged".to_owned()))?;
        let options = match source {
            Source::Leader => GetOptions { touch: false, ..GetOptions::default() },
            Source::Node(endpoint) => GetOptions {
                touch: false,
                consistency: Consistency::AtLeast(position),
                node: Some(endpoint.clone()),
                ..GetOptions::default()
            },
        };
        let reads = futures_util::stream::iter(sessions).map(|(id, name, possible)| {
            let options = options.clone();
            async move {
                let seen = match client.get_with(&id, options).await {
                    Ok(session) => {
                        Ok(Fate::Alive { version: session.version, attributes: session.attributes })
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(Fate::Gone),
                    Err(error) => Err(error),
                };
                (id, name, possible, seen)
            }
        });
        let mut verdict = Verdict::default();
        let mut reads = std::pin::pin!(reads.buffer_unordered(READS_AT_ONCE));
        while let Some((id, name, possible, seen)) = reads.next().await {
            self.judge(&mut verdict, &id, &name, &possible, seen);
        }
        Ok(verdict)
    }

    fn judge(
        &self,
        verdict: &mut Verdict,
        id: &SessionId,
        name: &str,
        possible: &[Fate],
        seen: Result<Fate, Error>,
    ) {
        verdict.checked += 1;
        let fault = match seen {
            Ok(seen) if possible.contains(&seen) => {
                // What was seen with the unknown write in it cannot be without it any more.
                if possible.len() > 1
                    && possible.last() == Some(&seen)
                    && let Some(entry) = self.book.lock().entries.get_mut(id.reveal())
                {
                    entry.possible = vec![seen];
                }
                return;
            }
            Ok(Fate::Gone) => {
                verdict.lost += 1;
                format!("lost: session {name} is gone, expected {possible:?}")
            }
            Ok(seen) if possible == [Fate::Gone] => {
                verdict.revived += 1;
                format!("revived: session {name} is gone by the ledger, but there: {seen:?}")
            }
            Ok(seen) => {
                verdict.wrong += 1;
                format!("wrong: session {name} is {seen:?}, expected {possible:?}")
            }
            Err(error) => {
                verdict.unreadable += 1;
                format!("unreadable: session {name}: {error}")
            }
        };
        if verdict.described.len() < DESCRIBED_MAX {
            verdict.described.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(version: u64) -> Fate {
        Fate::Alive { version, attributes: BTreeMap::new() }
    }

    fn judged(ledger: &Ledger, id: &SessionId, seen: Fate) -> Verdict {
        let mut verdict = Verdict::default();
        let possible = ledger.book.lock().entries[id.reveal()].possible.clone();
        ledger.judge(&mut verdict, id, "s", &possible, Ok(seen));
        verdict
    }

    fn at(index: u64) -> Position {
        Position { cluster: 1, index }
    }

    #[test]
    fn a_lost_a_revived_and_a_wrong_session_are_told_apart() {
        let (ledger, id) = (Ledger::new(), new_id());
        ledger.acknowledged(&id, "s", alive(2), at(5));
        assert!(judged(&ledger, &id, alive(2)).is_clean());
        assert_eq!(judged(&ledger, &id, Fate::Gone).lost, 1);
        assert_eq!(judged(&ledger, &id, alive(1)).wrong, 1);
        ledger.acknowledged(&id, "s", Fate::Gone, at(6));
        assert!(judged(&ledger, &id, Fate::Gone).is_clean());
        assert_eq!(judged(&ledger, &id, alive(2)).revived, 1);
        assert_eq!(ledger.position(), Some(at(6)));
    }

    #[test]
    fn an_unknown_write_once_seen_must_stay() {
        let (ledger, id) = (Ledger::new(), new_id());
        ledger.acknowledged(&id, "s", alive(1), at(5));
        ledger.unknown(&id, "s", alive(2));
        assert!(judged(&ledger, &id, alive(1)).is_clean());
        assert!(judged(&ledger, &id, alive(2)).is_clean());
        assert_eq!(judged(&ledger, &id, alive(1)).wrong, 1, "the unknown write was seen and went away again");
    }

    #[test]
    fn an_unknown_create_may_be_there_or_not() {
        let (ledger, id) = (Ledger::new(), new_id());
        ledger.unknown(&id, "s", alive(1));
        assert!(judged(&ledger, &id, Fate::Gone).is_clean());
        assert!(judged(&ledger, &id, alive(1)).is_clean());
        assert_eq!(judged(&ledger, &id, Fate::Gone).lost, 1);
    }

    #[test]
    fn a_check_of_nothing_is_not_clean() {
        assert!(!Verdict::default().is_clean());
    }
}
