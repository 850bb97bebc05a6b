//! Standstills: told as they happen, not found out afterwards.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use super::timeline::{Gap, Timeline};

/// Writes have stopped when none was acknowledged for this long, with all writers at work.
pub const STALL_MIN: Duration = Duration::from_millis(50);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What happened to the stream of acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This was the last acknowledgement, [`STALL_MIN`] ago.
    Stopped(Instant),
    /// There are acknowledgements again, after this long without.
    WentOn(Gap),
}

/// Where the stream stands.
#[derive(Debug, Default)]
struct Watch {
    stopped: Option<Instant>,
}

impl Watch {
    /// `next` is the first acknowledgement after the one at which writes had stopped.
    fn look(
        &mut self,
        now: Instant,
        last: Instant,
        next: impl Fn(Instant) -> Option<Instant>,
    ) -> Option<Turn> {
        if let Some(from) = self.stopped {
            let to = next(from)?;
            self.stopped = None;
            return Some(Turn::WentOn(Gap { from, to }));
        }
        if now.saturating_duration_since(last) < STALL_MIN {
            return None;
        }
        self.stopped = Some(last);
        Some(Turn::Stopped(last))
    }
}

/// Tells each turn when it happens, for as long as it is polled: while all writers are at work.
pub async fn watch_turns(timeline: &Timeline, tell: impl Fn(Turn)) -> Infallible {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(last) = timeline.last() else { continue };
        if let Some(turn) = watch.look(Instant::now(), last, |from| timeline.next_after(from)) {
            tell(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_is_told_at_its_beginning_and_at_its_end() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let acknowledged = [0, 40, 300, 301].map(at);
        let next = |from: Instant| acknowledged.iter().copied().find(|moment| *moment > from);
        let mut watch = Watch::default();
        assert_eq!(watch.look(at(30), at(0), next), None);
        assert_eq!(watch.look(at(89), at(40), |_| None), None);
        assert_eq!(watch.look(at(92), at(40), |_| None), Some(Turn::Stopped(at(40))));
        assert_eq!(watch.look(at(97), at(40), |_| None), None, "told once");
        let over = Gap { from: at(40), to: at(300) };
        assert_eq!(watch.look(at(302), at(301), next), Some(Turn::WentOn(over)));
        assert_eq!(watch.look(at(307), at(301), next), None);
    }
}
