//! What a run found, for people and for programs.

use std::time::Duration;

use quorate_tests::Digests;
use serde_json::{Value, json};

use crate::population::{GRACE, Looks};
use crate::window::Window;

/// Of the writes that a window should have had, at least so many in a hundred must have been acknowledged.
const ACKNOWLEDGED_PERCENT_MIN: u64 = 90;
/// Fewer writes in a window prove nothing.
const WRITES_MIN: u64 = 100;

/// See the module.
pub(crate) struct Report {
    /// Sessions that were to expire.
    pub(crate) sessions: u64,
    /// Sessions that were not.
    pub(crate) others: u64,
    pub(crate) samples_min: usize,
    /// Writes per second.
    pub(crate) rate_max: f64,
    pub(crate) rate: f64,
    pub(crate) window: Duration,
    pub(crate) quiet: Window,
    pub(crate) storm: Window,
    /// All deadlines lie within this.
    pub(crate) spread: Duration,
    pub(crate) looks: Looks,
    /// Live sessions by Status shortly before the deadline (`None`: no answer came in time), and at the end.
    pub(crate) live_before: Option<u64>,
    pub(crate) live_after: u64,
    /// From the first deadline until Status counts only the others as live; `None`: never.
    pub(crate) live_down: Option<Duration>,
    /// From the first deadline until the log grows by ticks alone: nothing is left to reap then.
    pub(crate) reaped: Option<Duration>,
    /// Leaderships that ended during the run.
    pub(crate) terms: u64,
    pub(crate) nodes: Vec<u64>,
    pub(crate) digests: Digests,
}

impl Report {
    /// Promises that were broken.
    pub(crate) fn violations(&self) -> Vec<String> {
        let Looks { early, late, revived, .. } = self.looks;
        let mut found = Vec::new();
        let mut report = |count: u64, what: &str| {
            if count > 0 {
                found.push(format!("{count} {what}"));
            }
        };
        let count = |sessions: usize| u64::try_from(sessions).unwrap_or(u64::MAX);
        report(count(early), "sampled sessions were gone before their deadline");
        report(count(late), &format!("sampled sessions were seen more than {GRACE:?} after their deadline"));
        report(count(revived), "sampled sessions were seen again after they were gone");
        report(self.quiet.gone + self.storm.gone, "writes found a session gone that does not expire");
        let before = self.sessions + self.others;
        if let Some(live) = self.live_before.filter(|live| *live != before) {
            found.push(format!("{live} sessions lived before the deadline, not {before}"));
        }
        if self.live_after != self.others {
            found.push(format!("{} sessions live at the end, not {}", self.live_after, self.others));
        }
        if self.reaped.is_none() {
            found.push("what has expired was not reaped in time".to_owned());
        }
        if !self.digests.are_equal() || !self.digests.are_of(&self.nodes) {
            found.push(format!("digests {}", self.digests));
        }
        found
    }

    /// Why the run proves nothing.
    pub(crate) fn too_little(&self) -> Vec<String> {
        let mut found = Vec::new();
        match self.live_before {
            None => found.push("the sessions were not counted before the deadline".to_owned()),
            Some(live) if live <= self.live_after => found.push("nothing expired".to_owned()),
            Some(_) => {}
        }
        let Looks { samples, unseen, .. } = self.looks;
        if samples == 0 || samples < self.samples_min || unseen > 0 {
            found.push(format!("of {samples} samples {unseen} were not seen both alive and gone"));
        }
        for (name, window) in [("quiet", &self.quiet), ("storm", &self.storm)] {
            let enough = window.intended >= WRITES_MIN
                && window.acknowledged * 100 >= window.intended * ACKNOWLEDGED_PERCENT_MIN;
            if !enough {
                found.push(format!("{name}: {} of {} writes", window.acknowledged, window.intended));
            }
        }
        found
    }

    /// How many times longer the slowest thousandth takes in the storm.
    fn p999_ratio(&self) -> f64 {
        self.storm.ms(0.999) / self.quiet.ms(0.999).max(0.001)
    }

    /// Lines for people.
    pub(crate) fn print(&self) {
        let ms =
            |time: Option<Duration>| time.map_or("never".to_owned(), |time| time.as_millis().to_string());
        let Looks { samples, reads, unanswered, early, late, revived, unseen, last_alive } = self.looks;
        println!("rate_max={:.0} rate={:.0} window_s={}", self.rate_max, self.rate, self.window.as_secs());
        println!("quiet: {}", self.quiet.line());
        println!("storm: {}", self.storm.line());
        println!("quiet: {}", self.quiet.seconds());
        println!("storm: {}", self.storm.seconds());
        println!(
            "p99.9_ratio={:.2} longest_stall_ms={}",
            self.p999_ratio(),
            self.storm.longest_stall.as_millis()
        );
        println!(
            "sessions={} deadlines_within_ms={} live_before={} live_after={} live_down_ms={} reaped_by_ms={} terms={}",
            self.sessions,
            self.spread.as_millis(),
            self.live_before.map_or("unknown".to_owned(), |live| live.to_string()),
            self.live_after,
            ms(self.live_down),
            ms(self.reaped),
            self.terms
        );
        println!(
            "samples={samples} reads={reads} unanswered={unanswered} early={early} late={late} revived={revived} \
             unseen={unseen} last_alive_ms={} digests={}",
            ms(last_alive),
            self.digests.word()
        );
    }

    /// The same as JSON.
    pub(crate) fn json(&self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let Looks { samples, reads, unanswered, early, late, revived, unseen, last_alive } = self.looks;
        json!({
            "sessions": self.sessions,
            "other_sessions": self.others,
            "rate_max": self.rate_max,
            "rate": self.rate,
            "window_s": self.window.as_secs_f64(),
            "quiet": self.quiet.json(),
            "storm": self.storm.json(),
            "p999_ratio": self.p999_ratio(),
            "deadlines_within_ms": ms(self.spread),
            "live_before": self.live_before,
            "live_after": self.live_after,
            "live_down_ms": self.live_down.map(ms),
            "reaped_by_ms": self.reaped.map(ms),
            "terms": self.terms,
            "samples": samples,
            "reads": reads,
            "unanswered": unanswered,
            "early": early,
            "late": late,
            "revived": revived,
            "unseen": unseen,
            "last_alive_ms": last_alive.map(ms),
            "digests": self.digests.word(),
            "violations": self.violations(),
            "too_little": self.too_little(),
        })
    }
}
