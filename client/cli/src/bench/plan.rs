//! Plan: what to do and for how long.

use std::time::Duration;

use bytes::Bytes;
use quorate_client::NewSession;
use rand::{RngCore, SeedableRng, rngs::StdRng};

/// The one attribute of each session.
pub(crate) const ATTRIBUTE: &str = "value";

/// Different values in use: enough that no two neighbours are equal, few enough to stay in the cache.
const VALUES: usize = 16;

/// What each operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Creates a session.
    Create,
    /// Replaces the attributes of a session.
    Write,
    /// Reads a session, linearizably, without touching it.
    Read,
}

impl Kind {
    /// Its name, as on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Write => "write",
            Kind::Read => "read",
        }
    }
}

/// A measurement to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) callers: u32,
    pub(crate) clients: usize,
    pub(crate) value_bytes: u32,
    /// Sessions created beforehand, where the operations need them.
    pub(crate) sessions: u32,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    pub(crate) idle: Duration,
}

impl Plan {
    /// A few random values of the planned size: random, so that nothing on the way can compress them.
    pub(crate) fn values(&self) -> Vec<Bytes> {
        let mut random = StdRng::from_os_rng();
        let size = usize::try_from(self.value_bytes).unwrap_or(usize::MAX);
        let value = |_| {
            let mut value = vec![0; size];
            random.fill_bytes(&mut value);
            Bytes::from(value)
        };
        (0..VALUES).map(value).collect()
    }

    /// A session to create.
    pub(crate) fn new_session(&self, value: Bytes) -> NewSession {
        NewSession::new().attribute(ATTRIBUTE, value).idle_timeout(self.idle)
    }
}
