//! Notices what the store's thread cannot: sled notes the errors of its I/O threads aside, and whoever waits for
//! them may wait for ever.

use std::time::{Duration, Instant};

use crate::error::StorageError;
use crate::sessions::store::Health;
use crate::sessions::write_behind::Shared;

/// How long an error may go unnoticed. (A node must be gone within 2 s of a failed write.)
const INTERVAL: Duration = Duration::from_millis(250);

/// Runs until the store's thread is gone or a failure was told.
pub(crate) fn run(shared: &Shared, health: &Health) {
    while !shared.ended_by(Instant::now() + INTERVAL) {
        if let Err(error) = health() {
            return shared.fail(&error);
        }
        if shared.is_stalled() {
            return shared.fail(&StorageError::Refused {
                path: "sessions".into(),
                detail: "the session store has been stuck in one write for too long".into(),
                remedy: "check the disk: it may hang; then start the node again",
            });
        }
    }
}
