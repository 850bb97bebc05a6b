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

    /// Cuts, waits until the log has synced what was cut, hands it to the session store, tells Raft. Runs until
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
            let due = last.elapsed() >= CUT_INTERVAL || waiting_bytes >= CUT_BYTES;
            if behind && (due || stopping) {
                last = Instant::now();
                self.persist(&replica, &raft, stopping).await;
            }
            if stopping {
                return;
            }
        }
    }

    async fn persist(&self, replica: &Replica, raft: &Raft, stopping: bool) {
        let view = replica.cut();
        let index = view.meta.last_log_id.as_ref().map_or(0, |id| id.index);
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.log.synced().is_none_or(|synced| synced.index < index) {
            // Applied may run ahead of the local log; a store beyond the log could not be opened again.
            if stopping && Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let written = self.persisted.notified();
        self.write_behind.submit(Cut {
            position: position(&view.meta),
            frozen: view.frozen,
            changes: view.changes,
        });
        tokio::pin!(written);
        while self.write_behind.persisted() < index {
            tokio::select! {
                () = &mut written => written.set(self.persisted.notified()),
                () = tokio::time::sleep(POLL_INTERVAL) => { self.measure_budget(replica); },
            }
        }
        self.bytes_persisted.store(view.bytes_applied, Ordering::Relaxed);
        replica.set_persisted(view.meta);
        if !stopping && let Err(error) = raft.trigger().snapshot().await {
            tracing::debug!(%error, "raft stopped before it was told of the persisted position");
        }
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
