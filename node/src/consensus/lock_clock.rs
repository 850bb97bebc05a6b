//! What the leader does for those who wait for locks: it passes lapsed locks on, and sees to it that the cluster's
//! apply version allows locks at all. And what each node does: it wakes who waits here when it leads no longer.

use std::time::Duration;

use quorate_state::{APPLY_VERSION, Command, Limits, SessionKey, State};
use tokio::sync::watch;

use super::error::ProposeError;
use super::handle::Consensus;

/// How often a node looks whether it leads.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How often while an entry of its own is due that nobody waits for.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(10);

impl Consensus {
    /// Serves those who wait for locks. Runs until `stop`.
    pub(crate) async fn run_locks(self, mut stop: watch::Receiver<bool>) {
        // Side by side: without a quorum a proposal waits for ever, and those who wait must be told of that.
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.pass_locks_on() => {}
            () = self.watch_leadership() => {}
        }
    }

    fn is_leader(&self) -> bool {
        self.leader().is_some_and(|leader| leader.is_self)
    }

    /// Whoever waits on a node that leads no longer goes to the next leader, where the line stands as it stood here.
    async fn watch_leadership(&self) {
        loop {
            if !self.is_leader() {
                self.lock_waits().wake_all();
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn pass_locks_on(&self) {
        let mut lapse = self.inner.replica.watch_lock_lapse();
        let mut passed_on = Vec::new();
        loop {
            lapse.borrow_and_update();
            let before = std::mem::take(&mut passed_on);
            if self.is_leader() {
                match self.pass_on_lapsed().await {
                    Ok(keys) => passed_on = keys,
                    Err(error) => tracing::debug!(%error, "lapsed locks were not passed on"),
                }
            }
            // Sessions that are gone themselves keep their lines until they are reaped.
            let in_vain = !passed_on.is_empty() && passed_on == before;
            let pause = if in_vain { LOOK_INTERVAL } else { self.until_next_lapse() };
            tokio::select! {
                // Gone with the replica, which this holds.
                _ = lapse.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Passes on what has lapsed, at most as much as one entry may; gives what that was.
    async fn pass_on_lapsed(&self) -> Result<Vec<SessionKey>, ProposeError> {
        if self.with_state(State::apply_version) < APPLY_VERSION {
            self.propose(Command::RaiseApplyVersion { version: APPLY_VERSION }).await?;
        }
        let now = self.now().cluster;
        let keys = self.with_state(|state| state.lapsed_locks(now, Limits::REAP_MAX));
        if !keys.is_empty() {
            self.propose(Command::SettleLocks { keys: keys.clone() }).await?;
        }
        Ok(keys)
    }

    fn until_next_lapse(&self) -> Duration {
        let (lapse, version) = self.with_state(|state| (state.next_lock_lapse(), state.apply_version()));
        if !self.is_leader() {
            return if version < APPLY_VERSION { LOOK_INTERVAL_MIN } else { LOOK_INTERVAL };
        }
        let now = self.now().cluster;
        let until = lapse.map_or(LOOK_INTERVAL, |lapse| Duration::from_millis(lapse.0.saturating_sub(now.0)));
        // Not at once again: what could not be proposed just now cannot be now.
        until.clamp(Duration::from_millis(1), LOOK_INTERVAL)
    }
}
