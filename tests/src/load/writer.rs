//! One writer. It alone changes its sessions, one operation after the other, so it knows what each must be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::{Client, Error, NewSession, Patch, Position, SessionId, Write};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::timeline::Timeline;
use crate::ledger::{Fate, Ledger, new_id};

/// Fewer sessions than this: create another.
const SESSIONS_MIN: usize = 8;
/// As many as this: create no more.
const SESSIONS_MAX: usize = 200;
/// Longer than any run, so that nothing expires.
const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A session as its writer knows it.
struct Live {
    id: SessionId,
    name: String,
    version: u64,
    attributes: BTreeMap<String, Bytes>,
}

impl Live {
    fn fate(&self) -> Fate {
        Fate::Alive { version: self.version, attributes: self.attributes.clone() }
    }
}

/// What a writer has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) not_applied: u64,
}

/// One writer and its sessions.
pub struct Writer {
    number: usize,
    client: Client,
    ledger: Arc<Ledger>,
    timeline: Arc<Timeline>,
    random: StdRng,
    live: Vec<Live>,
    made: u64,
    values: u64,
    pub(crate) tally: Tally,
    /// Business refusals that contradict what was acknowledged.
    pub(crate) contradictions: Vec<String>,
}

/// How a change came out.
enum Outcome<T> {
    Acknowledged(T),
    Unknown,
    NotApplied,
}

impl Writer {
    /// Writer `number`; what it does is chosen by `seed`.
    #[must_use]
    pub fn new(
        number: usize,
        client: Client,
        ledger: Arc<Ledger>,
        timeline: Arc<Timeline>,
        seed: u64,
    ) -> Writer {
        Writer {
            number,
            client,
            ledger,
            timeline,
            random: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            live: Vec::new(),
            made: 0,
            values: 0,
            tally: Tally::default(),
            contradictions: Vec::new(),
        }
    }

    /// One operation, to its end.
    pub async fn step(&mut self) {
        let roll = self.random.random_range(0..100);
        let sessions = self.live.len();
        if sessions < SESSIONS_MIN || (sessions < SESSIONS_MAX && roll < 20) {
            return self.create().await;
        }
        let chosen = self.random.random_range(0..sessions);
        // Taken out: it comes back when its fate is certain.
        let session = self.live.swap_remove(chosen);
        match roll {
            0..75 => self.patch(session).await,
            75..85 => self.replace(session).await,
            85..92 => self.regenerate(session).await,
            _ => self.delete(session).await,
        }
    }

    /// A value never written before.
    fn value(&mut self) -> Bytes {
        self.values += 1;
        let text = format!("{}-{}-", self.number, self.values);
        let length = self.random.random_range(40..400);
        Bytes::from(text.bytes().cycle().take(length).collect::<Vec<u8>>())
    }

    async fn create(&mut self) {
        self.made += 1;
        let name = format!("{}/{}", self.number, self.made);
        let attributes = BTreeMap::from([
            ("name".to_owned(), Bytes::from(name.clone())),
            ("a".to_owned(), self.value()),
            ("b".to_owned(), self.value()),
        ]);
        let session = Live { id: new_id(), name, version: 1, attributes };
        let new = NewSession::new()
            .id(session.id.clone())
            .attributes(session.attributes.clone())
            .idle_timeout(IDLE_TIMEOUT);
        let result = self.client.create(new).await.map(|created| (created.version, created.position));
        self.settle(None, session, result);
    }

    async fn patch(&mut self, session: Live) {
        let name = ["a", "b", "c", "d"].get(self.random.random_range(0..4)).copied().unwrap_or("a");
        let mut attributes = session.attributes.clone();
        let patch = if attributes.contains_key(name) && self.random.random_range(0..5) == 0 {
            attributes.remove(name);
            Patch::new().remove(name)
        } else {
            let value = self.value();
            attributes.insert(name.to_owned(), value.clone());
            Patch::new().set(name, value)
        };
        let result =
            self.client.patch(&session.id, patch).await.map(|written| (written.version, written.position));
        let changed = Live {
            id: session.id.clone(),
            name: session.name.clone(),
            version: session.version + 1,
            attributes,
        };
        self.settle(Some(session), changed, result);
    }

    /// All attributes, on condition of the version.
    async fn replace(&mut self, session: Live) {
        let attributes = BTreeMap::from([("a".to_owned(), self.value()), ("e".to_owned(), self.value())]);
        let write = Write::replace(attributes.clone()).if_version(session.version);
        let result =
            self.client.write(&session.id, write).await.map(|written| (written.version, written.position));
        let changed = Live {
            id: session.id.clone(),
            name: session.name.clone(),
            version: session.version + 1,
            attributes,
        };
        self.settle(Some(session), changed, result);
    }

    /// Notes a create or a write. `changed` is what it makes of `before`.
    fn settle(&mut self, before: Option<Live>, changed: Live, result: Result<(u64, Position), Error>) {
        match self.outcome(&changed.name, result) {
            Outcome::Acknowledged((version, position)) => {
                if version != changed.version {
                    self.contradictions.push(format!(
                        "session {}: version {version} was acknowledged, {} is right",
                        changed.name, changed.version
                    ));
                }
                self.ledger.acknowledged(&changed.id, &changed.name, changed.fate(), position);
                self.timeline.note();
                self.live.push(changed);
            }
            Outcome::Unknown => self.ledger.unknown(&changed.id, &changed.name, changed.fate()),
            Outcome::NotApplied => self.live.extend(before),
        }
    }

    async fn regenerate(&mut self, session: Live) {
        let result = self.client.regenerate(&session.id).await;
        let fate = |version| Fate::Alive { version, attributes: session.attributes.clone() };
        match self.outcome(&session.name, result) {
            Outcome::Acknowledged(created) => {
                if created.version != session.version + 1 {
                    self.contradictions
                        .push(format!("session {}: a version was skipped or repeated", session.name));
                }
                self.ledger.acknowledged(&session.id, &session.name, Fate::Gone, created.position);
                self.ledger.acknowledged(&created.id, &session.name, fate(created.version), created.position);
                self.timeline.note();
                self.live.push(Live { id: created.id, version: created.version, ..session });
            }
            // The new id is lost with the answer; the old session may be there or not.
            Outcome::Unknown => self.ledger.unknown(&session.id, &session.name, Fate::Gone),
            Outcome::NotApplied => self.live.push(session),
        }
    }

    async fn delete(&mut self, session: Live) {
        let result = self.client.delete(&session.id).await;
        match self.outcome(&session.name, result) {
            Outcome::Acknowledged(position) => {
                self.ledger.acknowledged(&session.id, &session.name, Fate::Gone, position);
                self.timeline.note();
            }
            Outcome::Unknown => self.ledger.unknown(&session.id, &session.name, Fate::Gone),
            Outcome::NotApplied => self.live.push(session),
        }
    }

    /// Sorts a result. A failure that is neither retryable nor unknown is the cluster's verdict on the operation, and
    /// nothing this writer asks for can be refused unless something acknowledged was lost or done twice.
    fn outcome<T>(&mut self, session: &str, result: Result<T, Error>) -> Outcome<T> {
        match result {
            Ok(value) => {
                self.tally.acknowledged += 1;
                Outcome::Acknowledged(value)
            }
            Err(error) if error.may_have_taken_effect() => {
                tracing::debug!(session, %error, "outcome unknown");
                self.tally.unknown += 1;
                Outcome::Unknown
            }
            Err(error) => {
                if !error.is_retryable() {
                    self.contradictions.push(format!("session {session}: {error}"));
                }
                self.tally.not_applied += 1;
                Outcome::NotApplied
            }
        }
    }
}
