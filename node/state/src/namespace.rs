//! A namespace: one application's sessions.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::policy::{MorePolicy, NamespaceId, Policy};

/// A namespace under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Stands for the name in records.
    pub id: NamespaceId,
    /// What it allows.
    pub policy: Policy,
    /// What has happened in it.
    pub counters: Counters,
}

/// What has happened in a namespace since it was created. A mass operation counts as it is reaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Sessions created.
    pub created: u64,
    /// Sessions expired.
    pub expired: u64,
    /// Sessions ended otherwise.
    pub deleted: u64,
    /// Lock requests that had to wait in line.
    pub lock_waits: u64,
}

/// What a namespace takes now. Follows from its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sessions in memory; those that ended and are not reaped yet count.
    pub sessions: u64,
    /// Their attribute names and values together.
    pub bytes: u64,
}

impl Namespace {
    /// Its share of the digest, without the counters, which change with nearly every entry.
    pub(crate) fn digest(&self, name: &str) -> Digest {
        let Policy { default_timeouts, idle_ms_max, absolute_ms_max, session_bytes_max, .. } = &self.policy;
        let Policy { attributes_max, tombstone_ms, more, .. } = &self.policy;
        // The shape of the first format: a digest of then is one of now.
        let policy =
            (default_timeouts, idle_ms_max, absolute_ms_max, session_bytes_max, attributes_max, tombstone_ms);
        let mut digest = Digest::of(Kind::Namespace, &(name, (self.id, policy)));
        if *more != MorePolicy::default() {
            digest.add(Digest::of(Kind::MorePolicy, &(self.id, more)));
        }
        digest
    }

    /// The counters' share.
    pub(crate) fn counters_digest(&self) -> Digest {
        if self.counters == Counters::default() {
            return Digest::default();
        }
        Digest::of(Kind::Counters, &(self.id, self.counters))
    }
}
