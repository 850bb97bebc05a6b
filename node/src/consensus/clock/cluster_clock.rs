//! What this node knows of cluster time, and the stamps of a leader.

use std::time::Duration;

use parking_lot::Mutex;
use quorate_state::{ADVANCE_MS_MAX, Clocks, ClusterTime};
use tokio::sync::watch;

use super::anchor::Anchor;
use super::machine::Clock;
use super::walls::{OUTAGE_MS_MAX, TickedAt, WallReading, Walls};

/// Two nodes' clocks part by at most one part in so many (0.125 %): a leader's slew, and the drift of both crystals.
const DRIFT_PART: u32 = 800;

/// What keeps a leader from stamping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Nothing: the estimate is within one stamp's reach of the state's clock.
    None,
    /// This node does not know what time it is.
    Unanchored,
    /// It knows, but the state's clock is further behind than a stamp may advance it: nobody led for a while. Only a
    /// jump closes that. (Were proposals stamped in the meantime, what they create would be taken for older than it is.)
    Behind {
        /// How far.
        by_ms: u64,
    },
}

/// What a leader has given away.
#[derive(Clone, Copy)]
struct Lead {
    term: u64,
    /// The state's clocks once all that was stamped so far is applied.
    issued: Clocks,
}

/// How near this node's anchor is to one leader's: only what a leader has stamped can be dated by that leader's anchor.
#[derive(Clone, Copy)]
struct Tie {
    term: u64,
    /// The anchor here was behind the leader's by at most so much
    behind_max: Duration,
    /// at this moment of the boot clock.
    boottime: Duration,
}

impl Tie {
    fn behind_max(&self, boottime: Duration) -> Duration {
        self.behind_max.saturating_add(boottime.saturating_sub(self.boottime) / DRIFT_PART)
    }
}

#[derive(Default)]
struct Keeper {
    anchor: Option<Anchor>,
    /// To the last leader that told this node the time; to itself while it leads.
    tie: Option<Tie>,
    /// The last Tick applied: the term of its leader, and what it set the state's clock to.
    tick: Option<(u64, ClusterTime)>,
    /// All that was acknowledged before this moment of the boot clock is applied here.
    fresh: Option<Duration>,
    lead: Option<Lead>,
    /// While leading: what a majority's wall clocks said last.
    walls: Option<Walls>,
    /// The last Tick that this process has applied, replay included.
    ticked: Option<TickedAt>,
}

impl Keeper {
    /// Finds out when the last Tick was made: not before what the anchor and its tie to that Tick's leader say.
    fn date_tick(&mut self, boottime: Duration) {
        let (Some(anchor), Some(tie), Some((term, cluster))) = (self.anchor, self.tie, self.tick) else {
            return;
        };
        if tie.term != term {
            return;
        }
        let since = anchor.exactly(boottime).saturating_sub(Duration::from_millis(cluster.0));
        let age = since.saturating_add(tie.behind_max(boottime));
        // `None` is before the machine's boot.
        self.fresh = self.fresh.max(boottime.checked_sub(age));
    }

    /// The clocks once all that the leader of `term` has stamped is applied, and the estimate.
    fn lead(&mut self, term: u64, applied: Clocks, boottime: Duration) -> (&mut Clocks, Option<ClusterTime>) {
        let known = self.lead.filter(|lead| lead.term == term).map_or(applied, |lead| lead.issued);
        let issued =
            Clocks { cluster: known.cluster.max(applied.cluster), served: known.served.max(applied.served) };
        // Applied beyond the estimate: what an earlier leader stamped came in only now. Time goes on from there.
        let now = self.anchor.as_mut().map(|anchor| {
            anchor.raise(issued.cluster, boottime);
            anchor.at(boottime)
        });
        self.tie = Some(Tie { term, behind_max: Duration::ZERO, boottime });
        (&mut self.lead.insert(Lead { term, issued }).issued, now)
    }
}

/// How far the estimate is out of reach. A new cluster starts wherever its first stamp is.
fn gap(issued: Clocks, now: Option<ClusterTime>) -> Gap {
    let Some(now) = now else { return Gap::Unanchored };
    let by_ms = now.0.saturating_sub(issued.cluster.0);
    if by_ms <= ADVANCE_MS_MAX || issued.cluster.0 == 0 {
        return Gap::None;
    }
    Gap::Behind { by_ms: by_ms.min(OUTAGE_MS_MAX) }
}

/// This node's estimate of cluster time. It is ahead of cluster time by at most [one part in 800](DRIFT_PART) of the time
/// since a leader told it, and behind by at most that and as much as the answer took.
pub(crate) struct ClusterClock {
    clock: Box<dyn Clock>,
    keeper: Mutex<Keeper>,
    /// Changes when a leader that could not stamp may be able to.
    settled: watch::Sender<()>,
}

impl ClusterClock {
    pub(crate) fn new(clock: Box<dyn Clock>) -> Self {
        ClusterClock { clock, keeper: Mutex::default(), settled: watch::Sender::new(()) }
    }

    /// Time since the machine's boot, its sleep included.
    pub(crate) fn boottime(&self) -> Duration {
        self.clock.boottime()
    }

    /// How far the machine's sleep has moved the boot clock from the monotonic one.
    pub(crate) fn slept(&self) -> Duration {
        self.clock.boottime().saturating_sub(self.clock.monotonic())
    }

    /// This node's wall clock: one vote in a median, and nothing by itself.
    pub(crate) fn wall(&self) -> WallReading {
        let asked = self.clock.boottime();
        WallReading { wall_ms: self.clock.wall_ms(), asked, answered: self.clock.boottime() }
    }

    /// Cluster time now, on any node; `None` when not anchored.
    pub(crate) fn estimate(&self) -> Option<ClusterTime> {
        let boottime = self.clock.boottime();
        self.keeper.lock().anchor.map(|anchor| anchor.at(boottime))
    }

    /// How old what this node has applied may be: the time since the last Tick that it has applied was made, whatever
    /// other contact there was, and never less than that. `None` when it has applied none that it can date.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        let boottime = self.clock.boottime();
        self.keeper.lock().fresh.map(|fresh| boottime.saturating_sub(fresh))
    }

    /// It is at least what `anchor` says: from another member's anchor, or from wall clocks where nobody has one.
    pub(crate) fn adopt(&self, anchor: Anchor) {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        match &mut keeper.anchor {
            Some(own) => own.raise(anchor.at(boottime), boottime),
            none => *none = Some(anchor),
        }
        drop(keeper);
        self.settled.send_replace(());
    }

    /// The leader of `term` has told the time: the answer's `anchor` is behind its own by at most `behind_max`. Unlike
    /// what Ticks say this also lowers the estimate, which would run ahead with a fast crystal.
    pub(crate) fn told(&self, term: u64, anchor: Anchor, behind_max: Duration) {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        // Who leads goes by its own; and whoever was deposed since knows less than the Ticks do.
        if keeper.lead.is_some() || keeper.tick.is_some_and(|(ticked, _)| ticked > term) {
            return;
        }
        keeper.tie = Some(Tie { term, behind_max, boottime: anchor.boottime() });
        keeper.anchor = Some(anchor);
        keeper.date_tick(boottime);
        drop(keeper);
        self.settled.send_replace(());
    }

    /// Whether the leader that made the last Tick has told this node the time.
    pub(crate) fn is_told(&self) -> bool {
        let keeper = self.keeper.lock();
        keeper.tie.is_some_and(|tie| keeper.tick.is_none_or(|(term, _)| term <= tie.term))
    }

    /// The term in which this node leads, if all that earlier leaders stamped is applied here: its estimate does not
    /// jump any more, and its Ticks can be dated by it.
    pub(crate) fn leads(&self) -> Option<u64> {
        let keeper = self.keeper.lock();
        keeper
            .lead
            .map(|lead| lead.term)
            .filter(|term| keeper.tick.is_some_and(|(ticked, _)| ticked == *term))
    }

    /// A Tick of the leader of `term` was applied and set the state's clock to `cluster`.
    ///
    /// It raises an anchor; it never makes one, and never lowers one. Nothing in an entry says that it is new: while this
    /// process was stopped, entries waited in its sockets together with what the leader said was committed at that
    /// time, and having applied all of it proves nothing. What cluster time is at most, a node learns from an answer to a
    /// question of its own, whose age it knows (see `timekeeping`).
    pub(crate) fn ticked(&self, term: u64, cluster: ClusterTime, wall_ms: u64) {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        keeper.ticked = Some(TickedAt { cluster, wall_ms });
        keeper.tick = Some((term, cluster));
        if let Some(anchor) = &mut keeper.anchor {
            anchor.raise(cluster, boottime);
        }
        keeper.date_tick(boottime);
    }

    /// A time jump by `by_ms` was applied and set the state's clock to `cluster`.
    pub(crate) fn jumped(&self, by_ms: u64, cluster: ClusterTime) {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        if let Some(ticked) = &mut keeper.ticked {
            // As the state does: see `Command::TimeJump`.
            ticked.cluster = ClusterTime(ticked.cluster.0.saturating_add(by_ms));
            ticked.wall_ms = ticked.wall_ms.saturating_add(by_ms);
        }
        if let Some(anchor) = &mut keeper.anchor {
            anchor.raise(cluster, boottime);
        }
        drop(keeper);
        self.settled.send_replace(());
    }

    /// The last Tick, for a state whose clock and last Tick's wall clock are these.
    pub(crate) fn last_tick(&self, clock: ClusterTime, wall_ms: u64) -> TickedAt {
        self.keeper.lock().ticked.unwrap_or_else(|| TickedAt::before(clock, wall_ms))
    }

    /// This node does not lead: it goes by its boot clock and by other leaders' Ticks.
    pub(crate) fn rest(&self) {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        if keeper.lead.take().is_some() {
            keeper.walls = None;
            if let Some(anchor) = &mut keeper.anchor {
                anchor.steer(None, boottime);
            }
        }
    }

    /// What a majority's wall clocks say. Kept while this node leads.
    pub(crate) fn set_walls(&self, walls: Walls) {
        let mut keeper = self.keeper.lock();
        keeper.walls = keeper.lead.map(|_| walls);
    }

    /// The clocks now, for the leader of `term` whose state's clocks are `applied`. What is stamped and not applied yet
    /// counts: however long applying takes, it is no outage. A leader that is not anchored knows of no later time than
    /// the state's.
    pub(crate) fn now(&self, term: u64, applied: Clocks) -> Clocks {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        let (issued, now) = keeper.lead(term, applied, boottime);
        now.map_or(*issued, |now| issued.advanced_to(now))
    }

    /// What keeps the leader of `term` from stamping.
    pub(crate) fn gap(&self, term: u64, applied: Clocks) -> Gap {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        let (issued, now) = keeper.lead(term, applied, boottime);
        gap(*issued, now)
    }

    /// As [`Self::now`], for a proposal that is about to be made. `None` while there is a gap.
    pub(crate) fn stamp(&self, term: u64, applied: Clocks) -> Option<ClusterTime> {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        let (issued, now) = keeper.lead(term, applied, boottime);
        if gap(*issued, now) != Gap::None {
            return None;
        }
        *issued = issued.advanced_to(now?);
        Some(issued.cluster)
    }

    /// The stamp that advances nothing, for a time jump of the leader of `term`.
    pub(crate) fn standing(&self, term: u64, applied: Clocks) -> ClusterTime {
        let boottime = self.clock.boottime();
        self.keeper.lock().lead(term, applied, boottime).0.cluster
    }

    /// The wall clock for a Tick that the leader is about to propose; slews by what the wall clocks say. `applied` and
    /// `last_wall_ms` are the state's. Never this node's own wall clock: by what Ticks say an outage will be measured,
    /// and one wrong clock must not reach beyond the life of its node. Between two clocks it is the later one: an outage
    /// may be counted as shorter than it was, never as longer.
    pub(crate) fn tick_wall_ms(&self, applied: ClusterTime, last_wall_ms: u64) -> u64 {
        let boottime = self.clock.boottime();
        let mut keeper = self.keeper.lock();
        let Keeper { anchor, walls, ticked, .. } = &mut *keeper;
        let now = anchor.as_mut().map_or(applied, |anchor| {
            anchor.steer(walls.as_ref(), boottime);
            anchor.at(boottime)
        });
        if let Some(walls) = walls {
            return walls.high_ms(boottime);
        }
        // Just elected: as the last leader said, and as much later as it is now.
        let ticked = ticked.unwrap_or_else(|| TickedAt::before(applied, last_wall_ms));
        match ticked.wall_ms {
            // Before its first Tick a cluster's time is that of its wall clocks.
            0 => now.0,
            wall_ms => wall_ms.saturating_add(now.0.saturating_sub(ticked.cluster.0)),
        }
    }

    /// Changes whenever a leader that had a gap may have none any more.
    pub(crate) fn watch_settled(&self) -> watch::Receiver<()> {
        self.settled.subscribe()
    }
}
