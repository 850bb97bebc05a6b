//! Time as the state machine knows it: it comes in with the proposals, never from a clock.
//!
//! Two clocks advance together. *Cluster time* is the wall clock's successor: absolute timeouts count on it.
//! *Served time* leaves out the stretches in which nobody was served, so an outage costs no user their idle time.

use serde::{Deserialize, Serialize};

/// A duration in milliseconds.
pub type Millis = u64;

/// An outage longer than this does not count as served time.
pub const OUTAGE_MS: Millis = 5_000;

/// One proposal's stamp advances cluster time by at most this much.
pub const ADVANCE_MS_MAX: Millis = 60_000;

/// Milliseconds since the Unix epoch, by the cluster's own clock. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterTime(pub u64);

/// Milliseconds during which the cluster was serving. Never goes back, never runs ahead of cluster time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServedTime(pub u64);

/// Both clocks, as of the last applied proposal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// Judges absolute timeouts and tombstones.
    pub cluster: ClusterTime,
    /// Judges idle timeouts.
    pub served: ServedTime,
}

impl Clocks {
    /// The clocks once a proposal stamped `stamp` applies: never back, at most [`ADVANCE_MS_MAX`] ahead (except
    /// from zero, where a new cluster starts), and a stretch longer than [`OUTAGE_MS`] is not served time.
    #[must_use]
    pub fn advanced_to(self, stamp: ClusterTime) -> Clocks {
        let elapsed = stamp.0.saturating_sub(self.cluster.0);
        if self.cluster.0 == 0 {
            return Clocks { cluster: stamp, served: ServedTime(stamp.0) };
        }
        let elapsed = elapsed.min(ADVANCE_MS_MAX);
        let served = if elapsed > OUTAGE_MS { 0 } else { elapsed };
        Clocks { cluster: ClusterTime(self.cluster.0 + elapsed), served: ServedTime(self.served.0 + served) }
    }

    /// The clocks once an outage of `by_ms` is counted: none of it is served time. A clock that would go beyond its
    /// end stays there.
    #[must_use]
    pub fn jumped(self, by_ms: Millis) -> Clocks {
        Clocks { cluster: ClusterTime(self.cluster.0.saturating_add(by_ms)), served: self.served }
    }
}
