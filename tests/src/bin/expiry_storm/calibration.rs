//! When the cluster's clock shows what, by the clock of this process.

use std::time::{Duration, Instant};

use quorate_client::{AttributeSelection, Client, Error, GetOptions, NewSession};

/// Cluster time may be slewed to wall time by one part in so many, either way.
const SLEW_PART: u32 = 1_000;

/// The cluster's clock showed `created_ms` at some moment between `sent` and `acknowledged`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calibration {
    created_ms: u64,
    sent: Instant,
    acknowledged: Instant,
}

impl Calibration {
    /// Has the cluster stamp something.
    ///
    /// # Errors
    /// The cluster cannot be reached.
    pub(crate) async fn take(client: &Client) -> Result<Calibration, Error> {
        let sent = Instant::now();
        let id = client.create(NewSession::new()).await?.id;
        let acknowledged = Instant::now();
        let looking =
            GetOptions { touch: false, attributes: AttributeSelection::None, ..GetOptions::default() };
        let created_ms = client.get_with(&id, looking).await?.created_ms;
        client.delete(&id).await?;
        Ok(Calibration { created_ms, sent, acknowledged })
    }

    /// What the cluster's clock shows in a while from now, at least.
    pub(crate) fn shown_in(&self, a_while: Duration) -> u64 {
        let since = (Instant::now() + a_while).saturating_duration_since(self.acknowledged);
        self.created_ms.saturating_add(to_ms(since - since / SLEW_PART))
    }

    /// The absolute timeout with which a session created now, or later, lives until the clock shows `cluster_ms`, or
    /// until as much later as its creation takes, and [`Self::slack`].
    pub(crate) fn timeout_until(&self, cluster_ms: u64) -> Duration {
        Duration::from_millis(cluster_ms.saturating_sub(self.shown_in(Duration::ZERO)))
    }

    /// How much more than [`Self::shown_in`] the clock may show now.
    pub(crate) fn slack(&self) -> Duration {
        let slewed = self.sent.elapsed() / SLEW_PART * 2;
        slewed + self.acknowledged.saturating_duration_since(self.sent) + Duration::from_millis(1)
    }

    /// The clock does not show `cluster_ms` before.
    pub(crate) fn earliest(&self, cluster_ms: u64) -> Instant {
        // The stamp is in whole milliseconds, rounded down.
        let until = Duration::from_millis(cluster_ms.saturating_sub(self.created_ms).saturating_sub(1));
        self.sent + (until - until / SLEW_PART)
    }

    /// The clock shows `cluster_ms` by then.
    pub(crate) fn latest(&self, cluster_ms: u64) -> Instant {
        let until = Duration::from_millis(cluster_ms.saturating_sub(self.created_ms));
        self.acknowledged + until + until / (SLEW_PART - 1)
    }
}

fn to_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_known_but_for_what_the_stamp_took() {
        let sent = Instant::now();
        let acknowledged = sent + Duration::from_millis(5);
        let calibration = Calibration { created_ms: 1_000, sent, acknowledged };
        // A thousandth of two seconds less or more, for the slew.
        assert_eq!(calibration.earliest(3_000), sent + Duration::from_micros(1_999_000 - 1_999));
        let latest = calibration.latest(3_000).duration_since(sent);
        assert!((2_007_002..2_007_003).contains(&latest.as_micros()), "{latest:?}");
        let timeout = calibration.timeout_until(61_000);
        assert!(timeout <= Duration::from_secs(60) && timeout > Duration::from_secs(55), "{timeout:?}");
    }
}
