//! Many writers, started and stopped together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_client::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::timeline::Timeline;
use super::writer::{Tally, Writer};
use crate::error::HarnessError;
use crate::ledger::Ledger;

/// Writers, running or at rest.
pub struct Workload {
    ledger: Arc<Ledger>,
    timeline: Arc<Timeline>,
    resting: Vec<Writer>,
    running: JoinSet<Writer>,
    stop: watch::Sender<bool>,
}

/// What the writers did, all together.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that may or may not have happened.
    pub unknown: u64,
    /// Writes that failed and did not happen.
    pub not_applied: u64,
    /// Answers that contradict earlier acknowledgements.
    pub contradictions: Vec<String>,
}

impl Workload {
    /// `writers` writers at rest, sharing the handle `client`.
    #[must_use]
    pub fn new(client: &Client, writers: usize, seed: u64) -> Workload {
        let (ledger, timeline) = (Arc::new(Ledger::new()), Arc::new(Timeline::default()));
        let writer =
            |number| Writer::new(number, client.clone(), Arc::clone(&ledger), Arc::clone(&timeline), seed);
        let resting = (0..writers).map(writer).collect();
        Workload { ledger, timeline, resting, running: JoinSet::new(), stop: watch::Sender::new(false) }
    }

    /// What was acknowledged.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// When it was.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Sets all resting writers to work.
    pub fn start(&mut self) {
        self.stop.send_replace(false);
        for mut writer in self.resting.drain(..) {
            let stop = self.stop.subscribe();
            self.running.spawn(async move {
                while !*stop.borrow() {
                    writer.step().await;
                }
                writer
            });
        }
    }

    /// Lets every writer finish its operation and rest.
    pub async fn rest(&mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            match ended {
                Ok(writer) => self.resting.push(writer),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
    }

    /// Waits until `count` writes were acknowledged after now.
    ///
    /// # Errors
    /// They were not in time.
    pub async fn wait_acknowledged(&self, count: usize, within: Duration) -> Result<(), HarnessError> {
        let before = self.timeline.len();
        let deadline = Instant::now() + within;
        loop {
            let done = self.timeline.len() - before;
            if done >= count {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("{count} writes are acknowledged");
                return Err(HarnessError::Deadline { what, within, seen: format!("{done} were") });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What the resting writers did.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for writer in &self.resting {
            let Tally { acknowledged, unknown, not_applied } = writer.tally;
            counts.acknowledged += acknowledged;
            counts.unknown += unknown;
            counts.not_applied += not_applied;
            counts.contradictions.extend(writer.contradictions.iter().cloned());
        }
        counts
    }
}
