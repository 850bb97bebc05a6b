//! Who asks whom what time it is, and when; and what waits for the answer.
//!
//! ```text
//! anchored        goes by its own anchor, and asks the leader now and then; the leader asks for wall clocks, to slew
//! not anchored    has just started: asks everybody until one answers who is anchored
//!   and leads     asks a majority; if nobody of it is anchored, the whole cluster was down: the wall clocks decide
//! ```
//!
//! Until a leader knows the time it neither stamps nor reads: its callers wait. (To stamp with the state's own clock
//! instead would make what is created then look as old as the outage was long, and end it early.) A failover waits for
//! nothing: whoever has run for longer than its first question took is anchored. What waits is a leader that has just
//! been restarted, as long as one round to a majority takes, and one more commit after an outage of all.

use std::time::Duration;

use openraft::impls::ProgressResponder;
use quorate_proto::peer::v1 as peer;
use quorate_state::{Clocks, ClusterTime, Command, NodeId, Proposal, State};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::clock::{Anchor, Gap, WallReading, Walls, outage_ms};
use super::error::ProposeError;
use super::handle::Consensus;
use super::peers::Traffic;
use super::types::{LeaderId, Payload};

/// How often a node without an anchor looks whether it leads: then others wait for it.
const PAUSE_UNANCHORED: Duration = Duration::from_millis(20);
/// How often it asks while it does not; and one whose leader has not told it the time yet.
const ANCHOR_INTERVAL: Duration = Duration::from_millis(200);
/// How often a node asks the leader that has told it. In between two nodes' clocks part by 12.5 ms at most.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);
/// How often a node with one looks whether there is anything to do.
const PAUSE: Duration = Duration::from_millis(100);
/// An answer that took longer, by the boot clock, says too little: it may have been given when it was asked for, or now.
const ANSWER_AGE_MAX: Duration = Duration::from_millis(500);
/// Once enough have answered, the others are given this long: three wall clocks say more than two.
const GRACE: Duration = Duration::from_millis(100);
/// The leader asks for wall clocks so often.
const WALLS_INTERVAL: Duration = Duration::from_secs(60);
/// And, when no majority answered, again after this.
const WALLS_RETRY: Duration = Duration::from_secs(2);
/// Callers wait at most this long for a leader to know the time; then they are told to come back later.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(1);

/// What was asked for, and when to ask next, by the boot clock.
#[derive(Default)]
struct Due {
    /// When this node asked last for the time.
    asked: Option<Duration>,
    /// For wall clocks, in this term; in another one, at once.
    walls: Option<(u64, Duration)>,
}

/// What one member says.
struct Reading {
    node: NodeId,
    /// Its estimate, as of when its answer came: later than it says, by at most what the answer took.
    estimate: Option<Anchor>,
    leads_in_term: Option<u64>,
    wall: WallReading,
}

impl Consensus {
    /// The clocks now: the leader's estimate, elsewhere the state's own.
    #[must_use]
    pub fn now(&self) -> Clocks {
        let clocks = self.with_state(State::clocks);
        match self.leadership() {
            Ok(leadership) => self.inner.clock.now(leadership.term, clocks),
            Err(_) => clocks,
        }
    }

    /// How far what this node has applied may be behind: the time since the last Tick that it has applied was made.
    /// Everything acknowledged before that is visible here. Contact with a leader does not count: it may be deposed.
    /// `None` when this node has applied no Tick whose leader has told it the time.
    ///
    /// May be too low by a thousandth of itself, for a leader slews; and by whatever a hypervisor hides from
    /// `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.inner.clock.staleness()
    }

    /// Proposes a Tick and waits until it is applied: for a read that finds a deadline passed by [`Self::now`] but
    /// not yet by the state's clock.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn tick(&self) -> Result<(), ProposeError> {
        // Its wall clock belongs to the time of its stamp: whatever the stamp has to wait for comes first.
        self.settled().await.ok_or_else(|| self.not_leader())?;
        let (clock, wall_ms) = self.with_state(|state| (state.clocks().cluster, state.last_tick_wall_ms()));
        let wall_ms = self.inner.clock.tick_wall_ms(clock, wall_ms);
        self.propose(Command::Tick { wall_ms }).await.map(drop)
    }

    /// Cluster time for a proposal of this leader, once it knows it.
    pub(super) async fn stamp(&self) -> Result<ClusterTime, ProposeError> {
        let stamp = self.once_settled(|term, clocks| self.inner.clock.stamp(term, clocks)).await;
        stamp.ok_or_else(|| self.not_leader())
    }

    /// Whether the leader of `term` knows the time.
    pub(super) fn is_settled(&self, term: u64) -> bool {
        self.inner.clock.gap(term, self.with_state(State::clocks)) == Gap::None
    }

    /// Waits until this leader knows the time; `None` when it does not lead, or does not learn it soon.
    pub(super) async fn settled(&self) -> Option<()> {
        self.once_settled(|term, clocks| (self.inner.clock.gap(term, clocks) == Gap::None).then_some(()))
            .await
    }

    async fn once_settled<T>(&self, attempt: impl Fn(u64, Clocks) -> Option<T>) -> Option<T> {
        let attempt = || Some(attempt(self.serving_term()?, self.with_state(State::clocks)));
        if let Some(done) = attempt()? {
            return Some(done);
        }
        let (settled, applied) = (self.inner.clock.watch_settled(), self.inner.replica.watch_applied());
        timeout(SETTLE_WAIT_MAX, repeated(attempt, settled, applied)).await.ok().flatten()
    }

    fn not_leader(&self) -> ProposeError {
        ProposeError::NotLeader { leader: self.leader().filter(|leader| !leader.is_self) }
    }

    /// Keeps this node's cluster time. Runs until `stop`.
    pub(crate) async fn run_timekeeping(self, mut stop: watch::Receiver<bool>) {
        let mut due = Due::default();
        loop {
            let anchored = self.inner.clock.estimate().is_some();
            let pause = if anchored { PAUSE } else { PAUSE_UNANCHORED };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
            // Without a quorum a jump waits for ever.
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.keep_time(&mut due) => {}
            }
        }
    }

    async fn keep_time(&self, due: &mut Due) {
        let boottime = self.inner.clock.boottime();
        if self.leadership().is_err() {
            self.inner.clock.rest();
            let interval = if self.inner.clock.is_told() { TOLD_INTERVAL } else { ANCHOR_INTERVAL };
            if due.asked.is_none_or(|asked| boottime >= asked + interval) {
                self.ask_for_the_time().await;
                due.asked = Some(self.inner.clock.boottime());
            }
            return;
        }
        let Some(term) = self.serving_term() else { return };
        if !self.is_settled(term) {
            if let Err(error) = self.settle(term).await {
                tracing::debug!(error, "this leader does not know the time yet");
            }
        } else if due.walls.is_none_or(|(asked, next)| asked != term || boottime >= next) {
            let readings = self.ask_members(|readings| self.is_majority(readings)).await;
            let heard = self.is_majority(&readings);
            if let Some(walls) = median(&readings, self.inner.clock.boottime()).filter(|_| heard) {
                self.inner.clock.set_walls(walls);
            }
            due.walls = Some((term, boottime + if heard { WALLS_INTERVAL } else { WALLS_RETRY }));
        }
    }

    /// Asks the leader; where there is no anchor yet, everybody.
    async fn ask_for_the_time(&self) {
        if self.inner.clock.estimate().is_none() {
            return self.ask_for_an_anchor().await;
        }
        let Some(leader) = self.leader().filter(|leader| !leader.is_self) else { return };
        if let Some(reading) = self.ask(leader.node).await {
            self.note_told(&reading);
        }
    }

    /// Takes the leader's estimate, or else the largest of those who answer. Any anchored member's will do for a start:
    /// cluster time goes on everywhere, also on a node that is cut off.
    async fn ask_for_an_anchor(&self) {
        let readings =
            self.ask_members(|readings| readings.iter().any(|reading| reading.estimate.is_some())).await;
        if readings.iter().any(|reading| self.note_told(reading)) {
            return;
        }
        if let Some(anchor) = largest(&readings, self.inner.clock.boottime()) {
            tracing::debug!("told the time by a member");
            self.inner.clock.adopt(anchor);
        }
    }

    /// Takes what a leader says; whether it was one.
    fn note_told(&self, reading: &Reading) -> bool {
        let (Some(term), Some(anchor)) = (reading.leads_in_term, reading.estimate) else { return false };
        // What it read came on the way here, and without a fraction of a millisecond.
        let took = reading.wall.answered.saturating_sub(reading.wall.asked);
        self.inner.clock.told(term, anchor, took + Duration::from_millis(1));
        true
    }

    /// Closes the gap that keeps the leader of `term` from stamping.
    async fn settle(&self, term: u64) -> Result<(), String> {
        loop {
            // Everything that earlier leaders have committed counts first, their jumps above all.
            self.confirm(term, self.inner.clock.slept()).await.map_err(|error| error.to_string())?;
            match self.inner.clock.gap(term, self.with_state(State::clocks)) {
                Gap::None => return Ok(()),
                Gap::Behind { by_ms } => {
                    tracing::info!(by_ms, "nobody led for a while: cluster time jumps");
                    self.jump(term, by_ms).await?;
                }
                Gap::Unanchored => self.find_time(term).await?,
            }
        }
    }

    /// Anchors a leader that has just been restarted.
    async fn find_time(&self, term: u64) -> Result<(), String> {
        let readings = self.ask_members(|readings| self.is_majority(readings)).await;
        if !self.is_majority(&readings) {
            return Err("no majority has told the time".into());
        }
        let clock = &self.inner.clock;
        let boottime = clock.boottime();
        if let Some(anchor) = largest(&readings, boottime) {
            tracing::info!("this leader was told the time by a member");
            clock.adopt(anchor);
            return Ok(());
        }
        let walls = median(&readings, boottime).ok_or("nobody has a wall clock")?;
        let (applied, last_wall_ms) =
            self.with_state(|state| (state.clocks().cluster, state.last_tick_wall_ms()));
        let start = if applied.0 == 0 {
            ClusterTime(walls.low_ms(boottime))
        } else {
            let ticked = clock.last_tick(applied, last_wall_ms);
            let by_ms = outage_ms(ticked, applied, walls.low_ms(boottime));
            tracing::info!(
                by_ms,
                clocks = readings.len(),
                "all nodes were down: cluster time jumps by the wall clocks"
            );
            if by_ms > 0 {
                self.jump(term, by_ms).await?;
            }
            ClusterTime(applied.0.saturating_add(by_ms))
        };
        clock.set_walls(walls);
        clock.adopt(Anchor::new(start, boottime));
        Ok(())
    }

    /// Proposes a time jump and waits until it is applied, or cannot be any more: no second one may be proposed while the
    /// fate of the first is open. How far to jump was found out in `term`; a leader of a later one must look again, since
    /// another may have jumped in between.
    async fn jump(&self, term: u64, by_ms: u64) -> Result<(), String> {
        let stamp = self.inner.clock.standing(term, self.with_state(State::clocks));
        let payload = Payload(Proposal { stamp, command: Command::TimeJump { by_ms } }.encode());
        let (responder, outcome) = ProgressResponder::complete_only();
        let leader = LeaderId { term, node_id: self.node_id() };
        let write = self.inner.raft.write(payload).with_leader(leader).responder(responder);
        write.await.map_err(|fatal| fatal.to_string())?;
        match outcome.await {
            Ok(applied) => applied.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("raft has stopped".into()),
        }
    }

    /// Asks all other voters at once, until all have answered or it took too long; once `is_enough` of what has come, a
    /// moment longer. This node's own reading is among them.
    async fn ask_members(&self, is_enough: impl Fn(&[Reading]) -> bool) -> Vec<Reading> {
        let wall = self.inner.clock.wall();
        let own = Reading { node: self.node_id(), estimate: None, leads_in_term: None, wall };
        let mut readings = vec![own];
        let mut asked = JoinSet::new();
        for node in self.voters().into_iter().filter(|node| *node != self.node_id()) {
            let this = self.clone();
            asked.spawn(async move { this.ask(node).await });
        }
        let mut until = Instant::now() + ANSWER_AGE_MAX;
        loop {
            if is_enough(&readings) {
                until = until.min(Instant::now() + GRACE);
            }
            match timeout_at(until, asked.join_next()).await {
                Ok(Some(reading)) => readings.extend(reading.ok().flatten()),
                Ok(None) | Err(_) => return readings,
            }
        }
    }

    async fn ask(&self, node: NodeId) -> Option<Reading> {
        let (clock, peers) = (&self.inner.clock, &self.inner.peers);
        let mut client = peers.client(node, Traffic::Control).ok()?;
        let request = peer::TimeRequest { envelope: Some(self.inner.identity.envelope(node)) };
        let asked = clock.boottime();
        let answer = timeout(ANSWER_AGE_MAX, client.time(request)).await;
        let boottime = clock.boottime();
        let Ok(Ok(answer)) = answer else {
            peers.note_failed(node, Traffic::Control);
            return None;
        };
        peers.note_answered(node, Traffic::Control);
        // The timeout is no proof: this process may have been stopped with the answer already there.
        if boottime.saturating_sub(asked) > ANSWER_AGE_MAX {
            return None;
        }
        let peer::TimeResponse { estimate_ms, wall_ms, leads_in_term } = answer.into_inner();
        let estimate = estimate_ms.map(|ms| Anchor::new(ClusterTime(ms), boottime));
        let wall = WallReading { wall_ms, asked, answered: boottime };
        Some(Reading { node, estimate, leads_in_term, wall })
    }

    fn voters(&self) -> Vec<NodeId> {
        self.inner.replica.read().membership.membership().voter_ids().collect()
    }

    /// Whether these are a majority of the voters; of both sets while the membership changes.
    fn is_majority(&self, readings: &[Reading]) -> bool {
        let applied = self.inner.replica.read();
        let configs = applied.membership.membership().get_joint_config();
        !configs.is_empty()
            && configs.iter().all(|voters| {
                readings.iter().filter(|reading| voters.contains(&reading.node)).count() > voters.len() / 2
            })
    }
}

/// Tries again whenever the clock was set, or something was applied: a gap closes by either. The attempt gives `None` when
/// there is no use in another one, `Some(None)` when there is.
async fn repeated<T>(
    attempt: impl Fn() -> Option<Option<T>>,
    mut settled: watch::Receiver<()>,
    mut applied: watch::Receiver<u64>,
) -> Option<T> {
    loop {
        if let Some(done) = attempt()? {
            return Some(done);
        }
        tokio::select! {
            changed = settled.changed() => changed.ok()?,
            changed = applied.changed() => changed.ok()?,
        }
    }
}

/// The largest estimate: an anchor is behind cluster time by what the Ticks take, and ahead of it by no more than a slew.
fn largest(readings: &[Reading], boottime: Duration) -> Option<Anchor> {
    readings.iter().filter_map(|reading| reading.estimate).max_by_key(|anchor| anchor.at(boottime))
}

fn median(readings: &[Reading], boottime: Duration) -> Option<Walls> {
    let walls: Vec<WallReading> = readings.iter().map(|reading| reading.wall).collect();
    Walls::median(&walls, boottime)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::*;

    /// Nobody told the time, nobody jumped: the state's clock has caught up by what was applied, and that is enough.
    #[tokio::test]
    async fn who_waits_for_the_time_goes_on_when_applying_has_caught_up() {
        let (settled, applied, gap) = (watch::Sender::new(()), watch::Sender::new(7), Cell::new(true));
        let attempt = || Some((!gap.get()).then_some(()));
        let mut waiting = Box::pin(repeated(attempt, settled.subscribe(), applied.subscribe()));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        gap.set(false);
        applied.send_replace(8);
        assert_eq!(waiting.as_mut().now_or_never(), Some(Some(())));
    }

    #[tokio::test]
    async fn who_waits_for_the_time_gives_up_when_this_node_leads_no_longer() {
        let (settled, applied, leads) = (watch::Sender::new(()), watch::Sender::new(7), Cell::new(true));
        let attempt = || leads.get().then_some(None::<()>);
        let mut waiting = Box::pin(repeated(attempt, settled.subscribe(), applied.subscribe()));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        leads.set(false);
        settled.send_replace(());
        assert_eq!(waiting.as_mut().now_or_never(), Some(None));
    }
}
