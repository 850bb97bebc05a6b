//! The sessions that expire together, and those of them that are looked at all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quorate_client::{AttributeSelection, Client, ErrorKind, GetOptions, NewSession, SessionId};
use quorate_tests::HarnessError;
use tokio::task::JoinSet;

use crate::calibration::Calibration;

/// Longer than any run: idleness ends nothing here.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// Each sampled session is read so often.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long after its deadline a session may still be seen. An absolute deadline has no granule.
pub(crate) const GRACE: Duration = Duration::from_millis(1_500);

/// One of the sessions that are looked at.
#[derive(Clone)]
pub(crate) struct Sample {
    id: SessionId,
    /// Its deadline is at most so long after the common one.
    creation: Duration,
}

/// What was created.
pub(crate) struct Population {
    pub(crate) samples: Vec<Sample>,
    /// All deadlines lie within so long after the common one.
    pub(crate) spread: Duration,
}

/// Creates sessions until there are `count`; `until_ms`: all expire when the cluster's clock shows that, else none does.
/// Every so many-th is a sample.
///
/// # Errors
/// A create failed for good.
pub(crate) async fn create(
    clients: &[Client],
    (count, samples): (usize, usize),
    callers: usize,
    until_ms: Option<(Calibration, u64)>,
) -> Result<Population, HarnessError> {
    let every = count.checked_div(samples).unwrap_or(usize::MAX).max(1);
    let next = Arc::new(AtomicUsize::new(0));
    let mut creators = JoinSet::new();
    for (client, _) in clients.iter().cycle().zip(0..callers) {
        let (client, next) = (client.clone(), Arc::clone(&next));
        creators.spawn(async move {
            let (mut kept, mut spread) = (Vec::new(), Duration::ZERO);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, HarnessError>((kept, spread));
                }
                let new = NewSession::new().attribute("n", number.to_string()).idle_timeout(IDLE);
                let new = match &until_ms {
                    Some((calibration, ms)) => new.absolute_timeout(calibration.timeout_until(*ms)),
                    None => new,
                };
                let slack = until_ms.map_or(Duration::ZERO, |(calibration, _)| calibration.slack());
                let sent = Instant::now();
                let id = client.create(new).await?.id;
                let creation = sent.elapsed() + slack;
                spread = spread.max(creation);
                if number.is_multiple_of(every) {
                    kept.push(Sample { id, creation });
                }
            }
        });
    }
    let mut population = Population { samples: Vec::new(), spread: Duration::ZERO };
    while let Some(created) = creators.join_next().await {
        let created = created.map_err(|error| HarnessError::Unreadable(error.to_string()))?;
        let (kept, spread) = created?;
        population.samples.extend(kept);
        population.spread = population.spread.max(spread);
    }
    Ok(population)
}

impl Sample {
    /// Its id, for who writes to it.
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }
}

/// When a session was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// When the last read that saw it was sent.
    alive: Option<Instant>,
    /// When the first read that did not was answered.
    gone: Option<Instant>,
    /// Seen again after it was gone.
    revived: bool,
}

/// What looking at all samples showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// Sessions looked at.
    pub(crate) samples: usize,
    /// Reads that were answered.
    pub(crate) reads: usize,
    /// Reads that failed: neither there nor gone.
    pub(crate) unanswered: usize,
    /// Sessions gone before their deadline.
    pub(crate) early: usize,
    /// Sessions seen later than deadline and grace.
    pub(crate) late: usize,
    /// Sessions seen again after they were gone.
    pub(crate) revived: usize,
    /// Sessions that were never seen alive, or never gone.
    pub(crate) unseen: usize,
    /// The latest moment at which one was seen, after the earliest deadline.
    pub(crate) last_alive: Option<Duration>,
}

impl Looks {
    /// Adds one session's: its deadline lies between `earliest` and `latest`.
    fn add(&mut self, seen: Seen, earliest: Instant, latest: Instant) {
        self.samples += 1;
        self.early += usize::from(seen.gone.is_some_and(|gone| gone < earliest));
        self.late += usize::from(seen.alive.is_some_and(|alive| alive > latest + GRACE));
        self.revived += usize::from(seen.revived);
        self.unseen += usize::from(seen.alive.is_none() || seen.gone.is_none());
        let after = seen.alive.map(|alive| alive.saturating_duration_since(earliest));
        self.last_alive = self.last_alive.max(after);
    }
}

/// Looks at every sample, again and again, until `until`. The common deadline lies between `earliest` and `latest`.
pub(crate) async fn look(
    clients: &[Client],
    samples: Vec<Sample>,
    (earliest, latest): (Instant, Instant),
    until: Instant,
) -> Looks {
    let mut lookers = JoinSet::new();
    let step = LOOK_INTERVAL / u32::try_from(samples.len().max(1)).unwrap_or(u32::MAX);
    for ((client, sample), number) in clients.iter().cycle().zip(samples).zip(0_u32..) {
        let client = client.clone();
        lookers.spawn(async move {
            // Spread over the interval.
            tokio::time::sleep(step * number).await;
            let (seen, reads, unanswered) = look_at(&client, &sample, until).await;
            (seen, latest + sample.creation, reads, unanswered)
        });
    }
    let mut looks = Looks::default();
    while let Some(looked) = lookers.join_next().await {
        // A task that panicked was no look: its session counts as unseen.
        let (seen, latest, reads, unanswered) = looked.unwrap_or((Seen::default(), latest, 0, 0));
        looks.add(seen, earliest, latest);
        looks.reads += reads;
        looks.unanswered += unanswered;
    }
    looks
}

async fn look_at(client: &Client, sample: &Sample, until: Instant) -> (Seen, usize, usize) {
    let (mut seen, mut reads, mut unanswered) = (Seen::default(), 0, 0);
    let looking = GetOptions { touch: false, attributes: AttributeSelection::None, ..GetOptions::default() };
    while Instant::now() < until {
        let sent = Instant::now();
        match client.get_with(&sample.id, looking.clone()).await {
            Ok(_) => {
                seen.alive = Some(sent);
                seen.revived |= seen.gone.is_some();
                reads += 1;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                seen.gone.get_or_insert_with(Instant::now);
                reads += 1;
            }
            Err(_) => unanswered += 1,
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    (seen, reads, unanswered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_late_revived_and_unseen_sessions_are_told_apart() {
        let earliest = Instant::now();
        let latest = earliest + Duration::from_millis(10);
        let at = |ms: u64| Some(earliest + Duration::from_millis(ms));
        let look = |alive, gone, revived| {
            let mut looks = Looks::default();
            looks.add(Seen { alive, gone, revived }, earliest, latest);
            (looks.early, looks.late, looks.revived, looks.unseen)
        };
        assert_eq!(look(at(1_510), at(1_600), false), (0, 0, 0, 0), "in the last moment of the grace");
        assert_eq!(look(at(1_511), at(1_600), false), (0, 1, 0, 0));
        let before = earliest.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(look(Some(before), Some(before), false), (1, 0, 0, 0));
        assert_eq!(look(at(20), at(15), true), (0, 0, 1, 0));
        assert_eq!(look(None, at(20), false), (0, 0, 0, 1));
        assert_eq!(look(at(0), None, false), (0, 0, 0, 1));
    }
}
