//! Timers: how soon a dead leader is noticed, and how long a silent peer is waited for.

use std::time::Duration;

use crate::config::Timing;

/// All timers of consensus, in one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_ms_min: u64,
    /// Also the leader's lease: a follower votes for nobody within this time after the leader's last sign.
    pub(crate) election_ms_max: u64,
    /// A follower that answers no append within this is unreachable.
    pub(crate) append_deadline: Duration,
    /// Sending and installing a whole snapshot.
    pub(crate) snapshot_deadline: Duration,
    pub(crate) reconnect_pause: Duration,
}

impl Timers {
    pub(crate) fn of(profile: Timing) -> Self {
        let lan = Timers {
            heartbeat_ms: 20,
            election_ms_min: 60,
            election_ms_max: 100,
            append_deadline: Duration::from_secs(1),
            snapshot_deadline: Duration::from_secs(600),
            reconnect_pause: Duration::from_millis(20),
        };
        match profile {
            Timing::Lan => lan,
            Timing::Wan => Timers {
                heartbeat_ms: lan.heartbeat_ms * 10,
                election_ms_min: lan.election_ms_min * 10,
                election_ms_max: lan.election_ms_max * 10,
                append_deadline: lan.append_deadline * 10,
                snapshot_deadline: lan.snapshot_deadline * 10,
                reconnect_pause: lan.reconnect_pause * 10,
            },
        }
    }

    /// How long after a leader's last sign no other can have been elected.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.election_ms_max)
    }
}
