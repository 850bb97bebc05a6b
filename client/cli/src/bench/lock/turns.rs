//! Turns: callers that take turns with the lock of one session. Who has it gives it back at once and asks for it again, so
//! that all others wait in line.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_client::{AttributeSelection, Client, Error, GetOptions, LockGuard, LockOptions, SessionId};
use tokio::task::JoinSet;

use super::witness::{HandOvers, Witness};
use crate::bench::plan::Plan;
use crate::bench::progress::Line;
use crate::failure::Failure;

/// How long a call waits in line: as long as the cluster allows.
const WAIT: Duration = Duration::from_secs(60);
/// Long enough that no lock is renewed in a run: a caller confirms a lock after a third of its lease in line, which is
/// above [`WAIT`], and holds it for no time at all.
const LEASE: Duration = Duration::from_secs(240);
/// How long the line may take to form.
const FILL_MAX: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Fewer hand-overs give no figures: ten for each caller,
const TURNS_MIN: u64 = 10;
/// but no fewer than the 99th percentile needs at the least, and no more than serve for the 99.9th.
const HAND_OVERS_MIN: std::ops::RangeInclusive<u64> = 100..=1_000;

/// A measurement under way.
struct Turns {
    id: SessionId,
    witness: Mutex<Witness>,
}

/// Measures hand-overs of the lock of a session made for it, which is gone afterwards.
///
/// # Errors
///
/// [`Failure::Client`] with the first call that failed; [`Failure::Disorder`] when the lock was at two places at once, or
/// out of turn; [`Failure::NotMeasured`] when the line did not form, or made too few hand-overs.
pub(crate) async fn measure(clients: &[Client], plan: &Plan) -> Result<HandOvers, Failure> {
    let Some(client) = clients.first() else {
        return Err(Failure::NotMeasured("there is no client".to_owned()));
    };
    let value = plan.values().into_iter().next().unwrap_or_default();
    let id = client.create(plan.new_session(value)).await?.id;
    let turns = Arc::new(Turns { id: id.clone(), witness: Mutex::default() });
    let measured = turns.run(clients, client, plan).await;
    // Ends the line too. Should it fail, the session expires.
    let _ = client.delete(&id).await;
    let counted = measured?;
    let (made, needed) = (counted.latencies_ns.len(), needed(plan.callers));
    if made < needed {
        let told = format!("{made} hand-overs are too few for figures, which take {needed} or more");
        return Err(Failure::NotMeasured(told));
    }
    Ok(counted)
}

fn needed(callers: u32) -> u64 {
    (TURNS_MIN * u64::from(callers)).clamp(*HAND_OVERS_MIN.start(), *HAND_OVERS_MIN.end())
}

fn waiting_in_line() -> LockOptions {
    LockOptions::new().lease(LEASE).wait(WAIT).owner("quorate bench")
}

impl Turns {
    /// Until the time is over, Ctrl-C, or the first failure.
    async fn run(
        self: &Arc<Self>,
        clients: &[Client],
        first: &Client,
        plan: &Plan,
    ) -> Result<HandOvers, Failure> {
        let guard = self.take(first).await?;
        let mut callers = JoinSet::new();
        for (client, _) in clients.iter().cycle().zip(1..plan.callers) {
            callers.spawn(Arc::clone(self).call(client.clone(), None));
        }
        let mut line = Line::new();
        line.show("waiting for the line to form");
        tokio::select! {
            formed = self.formed(first, plan.callers.saturating_sub(1)) => formed?,
            ended = failed(&mut callers) => return Err(ended),
        }
        let from = Instant::now() + plan.warmup;
        self.witness().count(from, from + plan.measured);
        callers.spawn(Arc::clone(self).call(first.clone(), guard));
        self.watch(&mut callers, &mut line).await?;
        Ok(std::mem::take(&mut *self.witness()).finish())
    }

    /// Shows how it goes until a caller finds that the time is over.
    async fn watch(
        &self,
        callers: &mut JoinSet<Result<(), Failure>>,
        line: &mut Line,
    ) -> Result<(), Failure> {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut before = 0;
        let ended = loop {
            tokio::select! {
                ended = callers.join_next() => break ended,
                _ = tokio::signal::ctrl_c() => self.witness().end(Instant::now()),
                _ = seconds.tick() => {
                    let (hand_overs, begun) = {
                        let witness = self.witness();
                        (witness.hand_overs(), witness.has_begun(Instant::now()))
                    };
                    let rate = hand_overs - before;
                    before = hand_overs;
                    match begun {
                        false => line.show("warming up"),
                        true => line.show(&format!("{rate} hand-overs in the last second")),
                    }
                }
            }
        };
        line.clear();
        match ended {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => Ok(()),
        }
    }

    /// One caller: takes the lock, gives it back, asks for it again. `held`: it has it to begin with.
    async fn call(self: Arc<Self>, client: Client, mut held: Option<LockGuard>) -> Result<(), Failure> {
        loop {
            let guard = match held.take() {
                Some(guard) => guard,
                None => match self.take(&client).await? {
                    Some(guard) => guard,
                    None => return Ok(()),
                },
            };
            // Held for a moment in which another one that was given the lock too would be seen.
            tokio::task::yield_now().await;
            self.witness().releases(Instant::now());
            guard.unlock().await?;
        }
    }

    /// Waits for the lock; `None` when the time is over.
    async fn take(&self, client: &Client) -> Result<Option<LockGuard>, Failure> {
        self.witness().asks();
        let guard = client.lock(&self.id, waiting_in_line()).await?;
        let now = Instant::now();
        let goes_on = self.witness().takes(guard.fence(), now)?;
        Ok(goes_on.then_some(guard))
    }

    /// Returns once so many stand in line, as the cluster sees it.
    async fn formed(&self, client: &Client, waiters: u32) -> Result<(), Failure> {
        let given_up = Instant::now() + FILL_MAX;
        loop {
            let waiting = self.waiting(client).await?;
            if waiting >= waiters {
                return Ok(());
            }
            if Instant::now() >= given_up {
                let told = format!("{waiting} of {waiters} stood in line after {FILL_MAX:?}");
                return Err(Failure::NotMeasured(told));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn waiting(&self, client: &Client) -> Result<u32, Error> {
        let look = GetOptions { touch: false, attributes: AttributeSelection::None, ..GetOptions::default() };
        let session = client.get_with(&self.id, look).await?;
        Ok(session.lock.map_or(0, |lock| lock.waiting))
    }

    /// What it holds is whole after each call: a caller that panicked left nothing half done.
    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the first of them ended that did before its time.
async fn failed(callers: &mut JoinSet<Result<(), Failure>>) -> Failure {
    match callers.join_next().await {
        Some(Ok(Err(failure))) => failure,
        Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
        Some(Ok(Ok(()))) | None => Failure::NotMeasured("a caller left the line".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_take_ten_hand_overs_a_caller_but_a_hundred_to_a_thousand() {
        assert_eq!([2, 10, 11, 100, 1_025].map(needed), [100, 100, 110, 1_000, 1_000]);
    }
}
