//! Whether timeouts and attributes are within what the namespace allows.

use crate::outcome::Refusal;
use crate::policy::{Limits, Policy};
use crate::session::Timeouts;
use crate::time::Millis;

/// Checks the timeouts that a caller gave; `None` is none of its business.
pub(super) fn check_timeouts(given: Timeouts, policy: &Policy) -> Result<(), Refusal> {
    check_timeout(given.idle_ms, policy.idle_ms_max)?;
    check_timeout(given.absolute_ms, policy.absolute_ms_max)
}

fn check_timeout(given_ms: Option<Millis>, max_ms: Millis) -> Result<(), Refusal> {
    let min_ms = Limits::TIMEOUT_MS_MIN;
    match given_ms {
        Some(given_ms) if !(min_ms..=max_ms).contains(&given_ms) => {
            Err(Refusal::TimeoutOutOfRange { given_ms, min_ms, max_ms })
        }
        _ => Ok(()),
    }
}

/// Checks how many attributes a session would have, and their names and values together.
pub(super) fn check_size(count: usize, bytes: u64, policy: &Policy) -> Result<(), Refusal> {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    if count > u64::from(policy.attributes_max) {
        return Err(Refusal::TooManyAttributes { count, max: u64::from(policy.attributes_max) });
    }
    if bytes > policy.session_bytes_max {
        return Err(Refusal::SessionTooLarge { bytes, max: policy.session_bytes_max });
    }
    Ok(())
}
