//! Decides when the session store catches up with memory, and tells Raft what it may purge.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_state::Frozen;
use quorate_storage::{AppliedPosition, Cut, RaftLog, WriteBehind};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::payload::encode_meta;
use super::replica::Replica;
use super::types::{Raft, SnapshotMeta};

/// A cut is taken this long after the last one, or earlier when [`CUT_BYTES`] have changed.
const CUT_INTERVAL: Duration = Duration::from_secs(1);
const CUT_BYTES: u64 = 64 << 20;
/// How often the bytes are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often the log's syncs are looked at by a cut that waits for them.
const SYNC_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// A stopping node gives its last cut this long.
const LAST_CUT_TIMEOUT: Duration = Duration::from_secs(5);
/// Back-pressure begins at this share of the log budget.
const SLOW_NUMERATOR: u64 = 9;
const SLOW_DENOMINATOR: u64 = 10;

/// Owns the way to the session store.
pub(crate) struct Persister {
    write_behind: WriteBehind,
    log: RaftLog,
    /// Rung by the session store's thread each time a batch is synced.
    persisted: Arc<Notify>,
    /// True while the log waiting to be persisted is near its budget: proposals and appends wait.
    over_budget: watch::Sender<bool>,
    budget_bytes: u64,
    /// [`Replica::bytes_applied`] at the last persisted cut.
    bytes_persisted: AtomicU64,
    /// Held while a cut is on its way to the store.
    persisting: tokio::sync::Mutex<()>,
}

fn position(meta: &SnapshotMeta) -> AppliedPosition {
    AppliedPosition {
        index: meta.last_log_id.as_ref().map_or(0, |id| id.index),
        meta: encode_meta(meta.last_log_id.as_ref(), &meta.last_membership),
    }
}

impl Persister {
    pub(crate) fn new(
        write_behind: WriteBehind,
        log: RaftLog,
        persisted: Arc<Notify>,
        budget_bytes: u64,
    ) -> Self {
        let over_budget = watch::Sender::new(false);
        Persister {
            write_behind,
            log,
            persisted,
            over_budget,
            budget_bytes,
            bytes_persisted: AtomicU64::new(0),
            persisting: tokio::sync::Mutex::new(()),
        }
    }

    /// Replaces what the session store holds; durable when it returns.
    pub(crate) async fn install(&self, meta: &SnapshotMeta, frozen: Frozen) -> Result<(), io::Error> {
        let write_behind = self.write_behind.clone();
        let position = position(meta);
        tokio::task::spawn_blocking(move || write_behind.install(position, frozen))
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)
    }

    /// Waits while the log that waits for the session store is near its budget.
    pub(crate) async fn within_budget(&self) {
        if *self.over_budget.borrow() {
            let mut over = self.over_budget.subscribe();
            // The sender lives as long as `self`: there is always an answer.
            let _ = over.wait_for(|over| !over).await;
        }
    }

    /// Asks raft for a snapshot, which [`Self::persist`] makes, each [`CUT_INTERVAL`] or [`CUT_BYTES`]. Runs until
    /// `stop`; then a last cut is written, so that the next start has nothing to replay.
    pub(crate) async fn run(
        self: Arc<Self>,
        replica: Arc<Replica>,
        raft: Raft,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut last = Instant::now();
        loop {
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(POLL_INTERVAL) => false,
            };
            let waiting_bytes = self.measure_budget(&replica);
            let behind = replica.applied_index() > replica.persisted_index();
            if stopping {
                if behind && tokio::time::timeout(LAST_CUT_TIMEOUT, self.persist(&replica)).await.is_err() {
                    tracing::info!("the last cut was not written in time: the log replays it");
                }
                return;
            }
            let due = last.elapsed() >= CUT_INTERVAL || waiting_bytes >= CUT_BYTES;
            if behind && due && self.persisting.try_lock().is_ok() {
                last = Instant::now();
                if let Err(error) = raft.trigger().snapshot().await {
                    tracing::debug!(%error, "raft has stopped");
                }
            }
        }
    }

    /// Cuts, waits until the log has synced what was cut, and until the session store has it on disk. Returns what
    /// was cut: Raft's snapshot.
    pub(crate) async fn persist(&self, replica: &Replica) -> (SnapshotMeta, Frozen) {
        let _one_at_a_time = self.persisting.lock().await;
        let view = replica.cut();
        let index = view.meta.last_log_id.as_ref().map_or(0, |id| id.index);
        // Applied may run ahead of the local log's syncs; a store beyond the log could not be opened again.
        while self.log.last().is_some_and(|last| last.index >= index)
            && self.log.synced().is_none_or(|synced| synced.index < index)
        {
            tokio::time::sleep(SYNC_POLL_INTERVAL).await;
        }
        self.write_behind.submit(Cut {
            position: position(&view.meta),
            frozen: view.frozen.clone(),
            changes: view.changes,
        });
        while self.write_behind.persisted() < index {
            // The poll covers a bell rung between the look and the wait.
            drop(tokio::time::timeout(POLL_INTERVAL, self.persisted.notified()).await);
        }
        self.bytes_persisted.fetch_max(view.bytes_applied, Ordering::Relaxed);
        replica.raise_persisted(view.meta.clone());
        (view.meta, view.frozen)
    }

    /// Opens or closes the gate; returns the bytes that wait.
    fn measure_budget(&self, replica: &Replica) -> u64 {
        let waiting_bytes =
            replica.bytes_applied().saturating_sub(self.bytes_persisted.load(Ordering::Relaxed));
        let over = waiting_bytes >= self.budget_bytes / SLOW_DENOMINATOR * SLOW_NUMERATOR;
        let changed = self.over_budget.send_if_modified(|current| std::mem::replace(current, over) != over);
        if changed && over {
            tracing::warn!(
                waiting_bytes,
                budget_bytes = self.budget_bytes,
                "the log waiting for the session store is near its budget: writes wait"
            );
        } else if changed {
            tracing::info!("the log is within its budget again");
        }
        waiting_bytes
    }

    /// Drains and closes the session store.
    pub(crate) async fn close(&self) {
        let write_behind = self.write_behind.clone();
        if tokio::task::spawn_blocking(move || write_behind.close()).await.is_err() {
            tracing::error!("the session store's thread panicked while closing");
        }
    }
}
