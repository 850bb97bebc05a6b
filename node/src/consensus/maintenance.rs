//! What the leader does unasked: the clock's ticks and the reaping of what has expired; and what each node does:
//! announce itself.

use std::time::Duration;

use quorate_proto::peer::v1 as peer;
use quorate_state::{Command, Member, Outcome, Refusal, State};
use tokio::sync::watch;
use tokio::time::Instant;

use super::handle::Consensus;
use super::peers::Traffic;

/// The leader ticks at least this often.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// And, when deadlines are near, at most this often.
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// What is reaped at once: no apply takes long.
const REAP_BATCH: usize = 256;
/// Reaping rests this many times as long as its last entry took to be applied here: the busier the cluster is with its
/// clients, the slower. What waits to be reaped is gone already, for everybody.
const REAP_REST: u32 = 4;
/// However quick or slow that was.
const REAP_REST_MIN: Duration = Duration::from_millis(4);
const REAP_REST_MAX: Duration = Duration::from_millis(100);
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long reaping rests after an entry that took so long from its proposal until it was applied.
fn rest_after(took: Duration) -> Duration {
    took.saturating_mul(REAP_REST).clamp(REAP_REST_MIN, REAP_REST_MAX)
}

impl Consensus {
    /// Ticks and reaps while this node leads. Runs until `stop`.
    pub(crate) async fn run_clock(self, mut stop: watch::Receiver<bool>) {
        let mut ticked: Option<Instant> = None;
        let mut rest = REAP_REST_MIN;
        loop {
            let pause = if self.leads() { self.until_next_tick(rest) } else { TICK_INTERVAL_MIN };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
            if !self.leads() {
                ticked = None;
                continue;
            }
            let expired = self.with_state(|state| state.reapable(REAP_BATCH));
            // However much there is to reap, the tick is due each second.
            let is_due = expired.is_empty() || ticked.is_none_or(|at| at.elapsed() >= TICK_INTERVAL);
            let propose = async {
                if !expired.is_empty() {
                    let began = Instant::now();
                    self.propose(Command::Reap { keys: expired }).await?;
                    rest = rest_after(began.elapsed());
                }
                if is_due { self.tick().await } else { Ok(()) }
            };
            // Without a quorum a proposal waits for ever.
            let proposed = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                proposed = propose => proposed,
            };
            match proposed {
                Ok(()) if is_due => ticked = Some(Instant::now()),
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "a tick was not applied"),
            }
        }
    }

    fn leads(&self) -> bool {
        self.leader().is_some_and(|leader| leader.is_self)
    }

    /// Until the earliest deadline, within bounds; no longer than `rest` when something waits to be reaped.
    fn until_next_tick(&self, rest: Duration) -> Duration {
        let now = self.now().cluster;
        let (due, reapable) = self.with_state(|state| (state.next_due(), !state.reapable(1).is_empty()));
        if reapable {
            return rest;
        }
        let until_due = due.map_or(TICK_INTERVAL, |due| Duration::from_millis(due.0.saturating_sub(now.0)));
        until_due.clamp(TICK_INTERVAL_MIN, TICK_INTERVAL)
    }

    /// Announces this node until the state says the same of it. Runs until done, `stop`, or a refusal.
    pub(crate) async fn run_announcement(self, member: Member, mut stop: watch::Receiver<bool>) {
        let node = self.node_id();
        while self.with_state(|state: &State| state.members().get(&node) != Some(&member)) {
            let announced = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                announced = self.announce(&member) => announced,
            };
            if let Err(error) = announced {
                tracing::debug!(error, "not announced yet");
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(ANNOUNCE_INTERVAL) => {}
            }
        }
        tracing::debug!("announced");
    }

    async fn announce(&self, member: &Member) -> Result<(), String> {
        let leader = self.leader().ok_or("no leader is known")?;
        if leader.is_self {
            let command = Command::Announce { node: leader.node, member: member.clone() };
            let applied = self.propose(command).await.map_err(|error| error.to_string())?;
            if let Outcome::Refused(Refusal::IncarnationMismatch { recorded }) = applied.outcome {
                self.inner.identity.set_replaced(recorded);
            }
            return Ok(());
        }
        let client = self.inner.peers.client(leader.node, Traffic::Control);
        let mut client = client.map_err(|error| error.to_string())?;
        let request = peer::AnnounceRequest {
            envelope: Some(self.inner.identity.envelope(leader.node)),
            announcement: Some(peer::Announcement {
                node: self.node_id(),
                incarnation: member.incarnation,
                client_address: member.client_address.clone(),
                peer_address: member.peer_address.clone(),
                admin_address: member.admin_address.clone(),
                version: member.version.clone(),
            }),
        };
        let answer = tokio::time::timeout(ANNOUNCE_TIMEOUT, client.announce(request)).await;
        answer.map_err(|_| "no answer".to_owned())?.map(drop).map_err(|status| status.message().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaping_slows_down_with_the_cluster_and_never_stops() {
        assert_eq!(rest_after(Duration::ZERO), REAP_REST_MIN);
        assert_eq!(rest_after(Duration::from_millis(5)), Duration::from_millis(20));
        assert_eq!(rest_after(Duration::from_secs(60)), REAP_REST_MAX);
        assert_eq!(rest_after(Duration::MAX), REAP_REST_MAX);
    }
}
