//! Load: the callers, in a closed loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_client::{AttributeSelection, Client, Consistency, Error, GetOptions, SessionId, Write};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use super::plan::{ATTRIBUTE, Kind, Plan};
use super::progress::Line;
use super::tally::{Measured, Tally};
use crate::failure::verdict;

/// A measurement under way.
pub(crate) struct Load {
    kind: Kind,
    plan: Plan,
    sessions: Vec<SessionId>,
    values: Vec<Bytes>,
    tally: Tally,
    stop: AtomicBool,
}

impl Load {
    /// A measurement over these sessions, not begun.
    pub(crate) fn new(kind: Kind, plan: Plan, sessions: Vec<SessionId>) -> Load {
        let values = plan.values();
        Load { kind, plan, sessions, values, tally: Tally::default(), stop: AtomicBool::new(false) }
    }

    /// Runs all callers, sharing `clients`, until the time is over or Ctrl-C, and returns what they measured.
    pub(crate) async fn run(self: Arc<Self>, clients: Vec<Client>) -> Measured {
        let measured_from = Instant::now() + self.plan.warmup;
        let mut callers = JoinSet::new();
        for (client, number) in clients.iter().cycle().zip(0..self.plan.callers) {
            let load = Arc::clone(&self);
            let client = client.clone();
            callers.spawn(async move { load.call(&client, number, measured_from).await });
        }
        let mut line = Line::new();
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut before = 0;
        loop {
            tokio::select! {
                ended = callers.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                    None => break,
                },
                _ = tokio::signal::ctrl_c() => self.stop.store(true, Ordering::Relaxed),
                _ = seconds.tick() => {
                    let (successes, errors) = self.tally.counts();
                    let rate = successes - before;
                    before = successes;
                    match measured_from.checked_duration_since(Instant::now()) {
                        Some(_) => line.show("warming up"),
                        None => line.show(&format!("{rate} operations in the last second, {errors} errors")),
                    }
                }
            }
        }
        line.clear();
        self.tally.finish(Instant::now().saturating_duration_since(measured_from))
    }

    /// One caller: an operation, its answer, the next operation.
    async fn call(&self, client: &Client, number: u32, measured_from: Instant) {
        let until = measured_from + self.plan.measured;
        let mut random = StdRng::from_os_rng();
        loop {
            let begun = Instant::now();
            if begun >= until || self.stop.load(Ordering::Relaxed) {
                return;
            }
            let result = self.operate(client, &mut random).await;
            let latency = begun.elapsed();
            if begun < measured_from {
                continue;
            }
            match result {
                Ok(()) => self.tally.succeeded(number, latency),
                Err(error) => self.tally.failed(number, verdict(&error).name(), || error.to_string()),
            }
        }
    }

    async fn operate(&self, client: &Client, random: &mut StdRng) -> Result<(), Error> {
        let value = pick(&self.values, random).cloned().unwrap_or_default();
        // `prepare` made at least one session for the workloads that need one.
        match (self.kind, pick(&self.sessions, random)) {
            (Kind::Write, Some(id)) => {
                let attributes = BTreeMap::from([(ATTRIBUTE.to_owned(), value)]);
                client.write(id, Write::replace(attributes)).await?;
            }
            (Kind::Read, Some(id)) => {
                let options = GetOptions {
                    touch: false,
                    attributes: AttributeSelection::All,
                    consistency: Consistency::Linearizable,
                    node: None,
                };
                client.get_with(id, options).await?;
            }
            (Kind::Create, _) | (_, None) => {
                client.create(self.plan.new_session(value)).await?;
            }
        }
        Ok(())
    }
}

/// A random element.
fn pick<'a, T>(from: &'a [T], random: &mut StdRng) -> Option<&'a T> {
    match from.len() {
        0 => None,
        length => from.get(random.random_range(0..length)),
    }
}
