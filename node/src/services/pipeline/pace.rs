//! Whether a client takes its answers. One that takes next to none for long is given up: what waits for it is held in
//! memory, and would be for as long as it likes.

use std::time::Duration;

use tokio::time::Instant;

/// While answers wait, a client must take [`BYTES_MIN`] of them, or all, within each such stretch of time.
const STRETCH: Duration = Duration::from_secs(10);
/// 100 KiB/s. More than one message, so that taking one at the last moment is not enough for ever.
const BYTES_MIN: usize = 1 << 20;

/// How fast a client takes what it is sent.
#[derive(Debug)]
pub(super) struct Pace {
    stretch: Duration,
    /// The current stretch: since when answers wait, or the stretch before was passed.
    since: Option<Instant>,
    /// Bytes taken in it.
    taken: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new(STRETCH)
    }
}

impl Pace {
    pub(super) fn new(stretch: Duration) -> Self {
        Pace { stretch, since: None, taken: 0 }
    }

    /// So many bytes have been taken.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes);
    }

    /// Whether answers wait at the moment.
    pub(super) fn waiting(&mut self, waiting: bool, now: Instant) {
        if !waiting {
            self.since = None;
        } else if self.since.is_none() {
            (self.since, self.taken) = (Some(now), 0);
        }
    }

    /// When [`Self::keeps_up`] is to be asked.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.stretch)
    }

    /// At the deadline: whether enough was taken. If so, the next stretch begins.
    pub(super) fn keeps_up(&mut self, now: Instant) -> bool {
        let enough = self.taken >= BYTES_MIN;
        (self.since, self.taken) = (Some(now), 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_in_each_stretch_is_not_enough_and_an_empty_queue_always_is() {
        let mut pace = Pace::default();
        let began = Instant::now();
        assert_eq!(pace.deadline(), None);
        pace.waiting(true, began);
        assert_eq!(pace.deadline(), Some(began + STRETCH));
        pace.taken(BYTES_MIN);
        assert!(pace.keeps_up(began + STRETCH));
        pace.taken(BYTES_MIN - 1);
        assert!(!pace.keeps_up(began + 2 * STRETCH));
        pace.waiting(false, began);
        assert_eq!(pace.deadline(), None);
    }
}
