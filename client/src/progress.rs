//! How long a call may take, and how far it has come.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::handle::Opener;
use crate::presence::Presence;

/// A try that has no answer after this is made again, at another node if one leads by then.
pub(crate) const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// No call takes longer, whatever its caller asks for: times must add up.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    /// All tries together.
    pub(crate) deadline: Duration,
    /// How much longer, because the servers are asked to wait for something.
    pub(crate) wait: Duration,
}

impl Time {
    /// As long, and so much longer.
    pub(crate) fn waiting(self, wait: Duration) -> Time {
        Time { wait: wait.min(CALL_MAX), ..self }
    }

    /// In all.
    pub(crate) fn longest(self) -> Duration {
        self.deadline.min(CALL_MAX) + self.wait.min(CALL_MAX)
    }
}

/// How far a call has come.
pub(crate) struct Progress {
    pub(crate) until: Instant,
    /// No try that was taken is made again before this and [`TRY_TIMEOUT`] are over.
    pub(crate) wait: Duration,
    backoff: Backoff,
    /// Of whoever waits for the outcome.
    pub(crate) presence: Presence,
    /// A try was sent and may have been taken.
    pub(crate) maybe_applied: bool,
    pub(crate) last: Option<Error>,
    /// Who else is told of `last`.
    pub(crate) opener: Option<Opener>,
}

impl Progress {
    pub(crate) fn new(time: Time) -> Self {
        let until = Instant::now() + time.longest();
        let backoff = Backoff::new();
        let presence = Presence::given();
        Progress { until, wait: time.wait, backoff, presence, maybe_applied: false, last: None, opener: None }
    }

    /// There will be another try after `error`.
    pub(crate) fn note(&mut self, error: Error) {
        if let Some(opener) = &self.opener {
            opener.note(&error);
        }
        self.last = Some(error);
    }

    /// Waits before the next try, no less than the node asks for; fails when the time is up by then.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        let pause = self.backoff.pause().max(error.retry_after().unwrap_or_default());
        self.note(error);
        let next = Instant::now() + pause;
        if next >= self.until {
            return Err(self.expired());
        }
        tokio::time::sleep_until(next).await;
        Ok(())
    }

    /// Whether it is no use to go on: nobody waits for the outcome, and there is nothing to be ended.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.presence.has_gone() && !self.maybe_applied
    }

    pub(crate) fn expired(&mut self) -> Error {
        Error::deadline(self.last.take(), self.maybe_applied)
    }
}
