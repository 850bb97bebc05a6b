//! When a call arrived, and until when it is worth an answer. Stamped before its message has been received: the
//! transport's own clock starts there too, and when it is the first to strike, the caller learns nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::executor::{TIMEOUT_DEFAULT, TIMEOUT_MAX, deadline_from};
use super::failure::Failure;
use super::reasons::{self, Stake};

/// A call that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    at: Instant,
    /// What its caller allows it, less than the transport does.
    timeout: Option<Duration>,
    /// Its message is complete and it has been begun.
    begun: Arc<AtomicBool>,
}

impl Arrival {
    /// A call with these headers has arrived now.
    pub(crate) fn now(headers: &HeaderMap) -> Self {
        Arrival { at: Instant::now(), timeout: timeout(headers), begun: Arc::default() }
    }

    /// Begins the call, whose message is complete; its deadline. A caller that names no timeout is not charged for the
    /// time that sending the message took.
    pub(crate) fn begin(&self) -> Instant {
        self.begun.store(true, Ordering::Relaxed);
        match self.timeout {
            None => deadline_from(Instant::now(), None),
            timeout => deadline_from(self.at, timeout),
        }
    }

    /// When the call is cut off, if it has not ended by its own deadline.
    pub(crate) fn cut_off(&self) -> Instant {
        // Between our deadline and the transport's.
        let late = |timeout: Duration| timeout + margin(timeout) / 2;
        self.at + self.timeout.map_or(CALL_MAX, late).min(CALL_MAX)
    }

    /// Why it was cut off.
    pub(crate) fn overdue(&self) -> Failure {
        if self.begun.load(Ordering::Relaxed) {
            reasons::deadline(true, Stake::Mutation)
        } else {
            reasons::deadline(false, Stake::Read)
        }
    }
}

/// No call takes longer: its message as long as the longest operation, and then an operation of usual length.
const CALL_MAX: Duration = TIMEOUT_MAX.saturating_add(TIMEOUT_DEFAULT).saturating_add(Duration::from_secs(1));

/// How much earlier than the transport we answer.
fn margin(timeout: Duration) -> Duration {
    (timeout / 10).min(Duration::from_millis(20))
}

/// The caller's `grpc-timeout`, a little shortened: the transport cuts the call off at the full time, and would say
/// nothing of what became of it.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let timeout = match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    };
    Some(timeout.saturating_sub(margin(timeout)).max(Duration::from_nanos(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value.parse().unwrap())])
    }

    #[test]
    fn grpc_timeouts_are_understood_and_shortened() {
        let with_timeout = |value| timeout(&headers(value));
        assert_eq!(with_timeout("1S"), Some(Duration::from_millis(980)));
        assert_eq!(with_timeout("100m"), Some(Duration::from_millis(90)));
        assert_eq!(with_timeout("2M"), Some(Duration::from_millis(119_980)));
        assert_eq!(with_timeout("99999999H").map(|d| d.as_secs() / 3_600), Some(99_999_998));
        for bad in ["", "S", "1", "1x", "-1S", "123456789S"] {
            assert_eq!(with_timeout(bad), None, "{bad}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn a_call_ends_by_its_deadline_then_is_cut_off_then_would_be_by_the_transport() {
        for (given, full) in [("1S", 1_000), ("50m", 50), ("59S", 59_000)] {
            let arrival = Arrival::now(&headers(given));
            let transport = arrival.at + Duration::from_millis(full);
            assert!(arrival.begin() < arrival.cut_off() && arrival.cut_off() < transport, "{given}");
        }
        for given in ["2M", "99999999H"] {
            let arrival = Arrival::now(&headers(given));
            assert!(arrival.begin() < arrival.cut_off());
        }
        let unbounded = Arrival::now(&HeaderMap::new());
        assert!(!unbounded.overdue().maybe_applied && unbounded.overdue().retryable);
        assert!(unbounded.begin() < unbounded.cut_off() && unbounded.overdue().maybe_applied);
    }
}
