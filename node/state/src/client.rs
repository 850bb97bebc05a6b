//! What is remembered of one client handle, so that a retry is answered and not run again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::{ClientId, RequestId};
use crate::digest::{Digest, Kind};
use crate::outcome::{Outcome, Refusal};
use crate::policy::Limits;
use crate::time::{ClusterTime, Millis};

/// The grain in which a client's last use is kept, so that most requests do not change it.
const MINUTE_MS: Millis = 60_000;

/// A full hour after the last minute of use.
const IDLE_MINUTES: u64 = 1 + Limits::CLIENT_IDLE_MS / MINUTE_MS;

/// A full five minutes after the last minute of use.
const SPARED_MINUTES: u64 = 1 + Limits::CLIENT_SPARED_MS / MINUTE_MS;

/// Whether a client that counts as unused from `idle_minute` on may be forgotten at `minute` already, to make room.
pub(crate) fn is_spare(idle_minute: u64, minute: u64) -> bool {
    idle_minute <= minute.saturating_add(IDLE_MINUTES - SPARED_MINUTES)
}

/// A client handle's part of the retry table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The lowest sequence whose outcome may still be asked for.
    pub(crate) lowest: u64,
    /// Cluster time of the last use, in whole minutes.
    pub(crate) used_minute: u64,
    /// By sequence, from `lowest` on.
    outcomes: BTreeMap<u64, Remembered>,
}

/// An outcome and which operation it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    fingerprint: u128,
    outcome: Outcome,
}

/// What to do with a request.
pub(crate) enum Admission {
    /// It is new: run it and remember the outcome.
    Run,
    /// It ran before: this was the outcome.
    Answered(Outcome),
    /// It may not run.
    Refused(Refusal),
}

/// A client with its share of the digest.
#[derive(Clone)]
pub(crate) struct ClientEntry {
    pub(crate) id: ClientId,
    pub(crate) client: Client,
    pub(crate) digest: Digest,
}

impl Client {
    /// The lowest sequence whose outcome may still be asked for.
    #[must_use]
    pub fn lowest(&self) -> u64 {
        self.lowest
    }

    /// How many outcomes are remembered.
    #[must_use]
    pub fn outcomes(&self) -> usize {
        self.outcomes.len()
    }

    /// The minute from which on it counts as unused for long enough: a full hour after the last minute of use.
    pub(crate) fn idle_minute(&self) -> u64 {
        self.used_minute.saturating_add(IDLE_MINUTES)
    }
}

/// The minute of a cluster time.
pub(crate) fn minute(now: ClusterTime) -> u64 {
    now.0 / MINUTE_MS
}

impl ClientEntry {
    pub(crate) fn open(id: ClientId, now: ClusterTime) -> Self {
        Self::restore(id, Client { lowest: 0, used_minute: minute(now), outcomes: BTreeMap::new() })
    }

    pub(crate) fn restore(id: ClientId, client: Client) -> Self {
        let mut entry = ClientEntry { id, client, digest: Digest::default() };
        entry.digest = entry.head();
        for (sequence, remembered) in &entry.client.outcomes {
            entry.digest.add(item(id, *sequence, remembered));
        }
        entry
    }

    /// Judges a request. A refusal changes nothing but, perhaps, the lowest sequence. `full`: so many outcomes are kept
    /// of all clients that only the spared of each are to be added.
    pub(crate) fn admit(&mut self, request: RequestId, fingerprint: u128, full: bool) -> Admission {
        let lowest = self.client.lowest.max(request.lowest_unanswered);
        if request.sequence < lowest {
            return Admission::Refused(Refusal::StaleRequest);
        }
        self.raise(lowest);
        match self.client.outcomes.get(&request.sequence) {
            Some(known) if known.fingerprint == fingerprint => Admission::Answered(known.outcome.clone()),
            Some(_) => Admission::Refused(Refusal::RequestMismatch),
            None if request.sequence - lowest >= Limits::OUTCOMES_MAX => {
                Admission::Refused(Refusal::TooManyOutstanding { max: Limits::OUTCOMES_MAX })
            }
            None if full && self.client.outcomes.len() as u64 >= Limits::OUTCOMES_SPARED => {
                Admission::Refused(Refusal::TooManyOutcomes { max: Limits::OUTCOMES_TOTAL_MAX })
            }
            None => Admission::Run,
        }
    }

    /// Keeps the outcome of an admitted request.
    pub(crate) fn remember(&mut self, sequence: u64, fingerprint: u128, outcome: Outcome) {
        let remembered = Remembered { fingerprint, outcome };
        self.digest.add(item(self.id, sequence, &remembered));
        self.client.outcomes.insert(sequence, remembered);
    }

    pub(crate) fn use_at(&mut self, minute: u64) {
        self.digest.remove(self.head());
        self.client.used_minute = minute;
        self.digest.add(self.head());
    }

    /// Outcomes below `lowest` are no longer waited for.
    fn raise(&mut self, lowest: u64) {
        if lowest <= self.client.lowest {
            return;
        }
        self.digest.remove(self.head());
        self.client.lowest = lowest;
        self.digest.add(self.head());
        while let Some(first) = self.client.outcomes.first_entry().filter(|first| *first.key() < lowest) {
            let (sequence, remembered) = first.remove_entry();
            self.digest.remove(item(self.id, sequence, &remembered));
        }
    }

    fn head(&self) -> Digest {
        Digest::of(Kind::Client, &(self.id, self.client.lowest, self.client.used_minute))
    }
}

fn item(id: ClientId, sequence: u64, remembered: &Remembered) -> Digest {
    Digest::of(Kind::Remembered, &(id, sequence, remembered))
}
