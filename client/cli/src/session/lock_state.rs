//! Lock state: how a lock that somebody holds is shown.

use quorate_client::LockState;
use serde::Serialize;

use crate::output::{duration, millis};

/// A lock for programs.
#[derive(Debug, Serialize)]
pub(crate) struct LockReport {
    owner: String,
    age_ms: u64,
    remaining_ms: u64,
    waiting: u32,
}

impl LockReport {
    pub(crate) fn of(lock: &LockState) -> LockReport {
        LockReport {
            owner: lock.owner.clone(),
            age_ms: millis(lock.age),
            remaining_ms: millis(lock.remaining),
            waiting: lock.waiting,
        }
    }

    /// A lock for people.
    pub(crate) fn cell(&self) -> String {
        let owner = if self.owner.is_empty() { String::new() } else { format!("by {}, ", self.owner) };
        let (age, left) = (duration(Some(self.age_ms)), duration(Some(self.remaining_ms)));
        format!("{owner}for {age}, lease ends in {left}, {} waiting", self.waiting)
    }
}
