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
use super::peers::Peers;
use super::replica::Replica;
use super::types::{Fatal, Raft, SnapshotMeta};

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
    /// When the log takes more than this on disk, what only a node that is behind would read is purged.
    kept_bytes_max: u64,
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
    /// `log_bytes`: below this the log reclaims nothing.
    pub(crate) fn new(
        write_behind: WriteBehind,
        log: RaftLog,
        persisted: Arc<Notify>,
        budget_bytes: u64,
        log_bytes: u64,
    ) -> Self {
        let over_budget = watch::Sender::new(false);
        Persister {
            write_behind,
            log,
            persisted,
            over_budget,
            budget_bytes,
            // Room for what is purged already and waits to be reclaimed.
            kept_bytes_max: log_bytes / 4 * 5,
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
    /// `stop`.
    pub(crate) async fn run(
        self: Arc<Self>,
        replica: Arc<Replica>,
        raft: Raft,
        peers: Arc<Peers>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            let waiting_bytes = self.measure_budget(&replica);
            let behind = replica.applied_index() > replica.persisted_index();
            let due = last.elapsed() >= CUT_INTERVAL || waiting_bytes >= CUT_BYTES;
            if !behind || !due || self.persisting.try_lock().is_err() {
                continue;
            }
            last = Instant::now();
            if peers.is_sending_snapshot() && self.log.bytes() < self.kept_bytes_max * 2 {
                // Raft purges when it has a snapshot: a node that is being sent one would find the log gone that it
                // needs next, and be sent another, for as long as the load lasts.
                let (this, replica) = (Arc::clone(&self), Arc::clone(&replica));
                tokio::spawn(async move { this.persist(&replica).await.map(drop) });
            } else if let Err(error) = self.snapshot(&raft).await {
                tracing::debug!(%error, "raft has stopped");
            }
        }
    }

    /// Has raft make a snapshot, and purge what is kept beyond [`Self::kept_bytes_max`].
    async fn snapshot(&self, raft: &Raft) -> Result<(), Fatal> {
        raft.trigger().snapshot().await?;
        if self.log.bytes() > self.kept_bytes_max
            && let (Some(first), Some(last)) = (self.log.first_index(), self.log.last())
        {
            // Half at a time, so that a node which is only a little behind still finds what it needs.
            raft.trigger().purge_log(first + last.index.saturating_sub(first) / 2).await?;
        }
        Ok(())
    }

    /// Writes a last cut, so that the next start has nothing to replay. Raft has stopped.
    pub(crate) async fn last_cut(self: &Arc<Self>, replica: &Arc<Replica>) {
        if replica.applied_index() <= replica.persisted_index() {
            return;
        }
        match tokio::time::timeout(LAST_CUT_TIMEOUT, self.persist(replica)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::info!(%error, "the last cut was not written: the log replays it"),
            Err(_) => tracing::info!("the last cut was not written in time: the log replays it"),
        }
    }

    /// Cuts, waits until the log has synced what was cut, and until the session store has it on disk. Returns what
    /// was cut: Raft's snapshot. Goes on when its caller gives up: it has taken changes along that no later cut holds.
    ///
    /// # Errors
    /// The session store was closed meanwhile, or has failed.
    pub(crate) async fn persist(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
    ) -> Result<(SnapshotMeta, Frozen), io::Error> {
        let (this, replica) = (Arc::clone(self), Arc::clone(replica));
        tokio::spawn(async move { this.persist_to_its_end(&replica).await })
            .await
            .map_err(io::Error::other)?
    }

    async fn persist_to_its_end(&self, replica: &Replica) -> Result<(SnapshotMeta, Frozen), io::Error> {
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
            if self.write_behind.has_ended() {
                return Err(io::Error::other("the session store is closed"));
            }
            // The poll covers a bell rung between the look and the wait.
            drop(tokio::time::timeout(POLL_INTERVAL, self.persisted.notified()).await);
        }
        self.bytes_persisted.fetch_max(view.bytes_applied, Ordering::Relaxed);
        replica.raise_persisted(view.meta.clone());
        Ok((view.meta, view.frozen))
    }

    /// All that is applied is in the session store: a snapshot was installed.
    pub(crate) fn note_persisted(&self, replica: &Replica) {
        self.bytes_persisted.fetch_max(replica.bytes_applied(), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use quorate_state::{ClusterTime, Command, Proposal, State};
    use quorate_storage::{
        DataDir, Floor, Health, Identity, LogId, LogOptions, LogRecord, MemoryStore, StateStore,
        StorageError, WriteReport,
    };
    use tempfile::TempDir;

    use super::super::replica::Applied;
    use super::super::types::{StoredMembership, log_id_from_storage};
    use super::*;

    const BUDGET: u64 = 1_000;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Keeps a cut once the test says so.
    struct Slow {
        memory: MemoryStore,
        go_on: Receiver<()>,
    }

    impl StateStore for Slow {
        fn index(&self) -> u64 {
            self.memory.index()
        }

        fn write(&mut self, cut: Cut) -> Result<WriteReport, StorageError> {
            self.go_on.recv().expect("the test lives");
            self.memory.write(cut)
        }

        fn install(
            &mut self,
            position: AppliedPosition,
            frozen: Frozen,
        ) -> Result<WriteReport, StorageError> {
            self.memory.install(position, frozen)
        }

        fn close(&mut self) {}

        fn health(&self) -> Health {
            Box::new(|| Ok(()))
        }
    }

    struct Rig {
        _dir: TempDir,
        log: RaftLog,
        replica: Arc<Replica>,
        persister: Arc<Persister>,
        go_on: Sender<()>,
        memory: MemoryStore,
    }

    fn rig() -> Rig {
        let temporary = TempDir::new().unwrap();
        let identity = Identity { cluster_id: 1, node_id: 1 };
        let dir = DataDir::open(&temporary.path().join("node"), identity, 7).unwrap();
        let floor = Floor::open(&dir).unwrap();
        let log =
            RaftLog::open(&dir, &floor, LogOptions { prefill_bytes: 0, ..LogOptions::default() }).unwrap();
        let state = Applied { state: State::new(), log_id: None, membership: StoredMembership::default() };
        let (memory, (go_on, wait)) = (MemoryStore::default(), channel());
        let write_behind = WriteBehind::start(Slow { memory: memory.clone(), go_on: wait }, Box::new(|_| {}));
        let persister = Persister::new(write_behind, log.clone(), Arc::default(), BUDGET, 1 << 30);
        let replica = Arc::new(Replica::new(state));
        Rig { _dir: temporary, log, replica, persister: Arc::new(persister), go_on, memory }
    }

    impl Rig {
        /// Logs and applies one entry that counts for `bytes`.
        async fn apply(&self, index: u64, bytes: u64) {
            let id = LogId { term: 1, node: 1, index };
            let (done, synced) = tokio::sync::oneshot::channel();
            let record = LogRecord { id, bytes: bytes::Bytes::from_static(b"entry") };
            self.log.append(vec![record], Box::new(move |result| drop(done.send(result))));
            synced.await.unwrap().unwrap();
            {
                let mut applied = self.replica.write();
                let command = Command::OpenClient { client: index };
                applied.state.apply(index, Proposal { stamp: ClusterTime(index), command });
                applied.log_id = Some(log_id_from_storage(id));
            }
            self.replica.publish(index, bytes);
            self.persister.measure_budget(&self.replica);
        }

        fn is_held_back(&self) -> bool {
            use futures_util::FutureExt as _;
            self.persister.within_budget().now_or_never().is_none()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writes_wait_while_the_session_store_is_behind_its_budget() {
        let rig = rig();
        rig.apply(1, BUDGET / 2).await;
        assert!(!rig.is_held_back());
        rig.apply(2, BUDGET / 2).await;
        assert!(rig.is_held_back());
        let persisting = tokio::spawn({
            let (persister, replica) = (Arc::clone(&rig.persister), Arc::clone(&rig.replica));
            async move { persister.persist(&replica).await.map(drop) }
        });
        assert!(rig.is_held_back(), "nothing is in the store yet");
        rig.go_on.send(()).unwrap();
        persisting.await.unwrap().unwrap();
        rig.persister.measure_budget(&rig.replica);
        tokio::time::timeout(PATIENCE, rig.persister.within_budget()).await.unwrap();
        assert_eq!(rig.memory.index(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_installed_snapshot_brings_the_session_store_within_its_budget() {
        let rig = rig();
        rig.apply(1, BUDGET).await;
        assert!(rig.is_held_back());
        let (meta, frozen) = rig.replica.view();
        rig.persister.install(&meta, frozen).await.unwrap();
        rig.persister.note_persisted(&rig.replica);
        rig.persister.measure_budget(&rig.replica);
        assert!(!rig.is_held_back());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_caller_that_gives_up_takes_no_changes_along() {
        let rig = rig();
        rig.apply(1, 1).await;
        let given_up =
            tokio::time::timeout(Duration::from_millis(1), rig.persister.persist(&rig.replica)).await;
        assert!(given_up.is_err(), "the store was not told to go on");
        rig.apply(2, 1).await;
        rig.go_on.send(()).unwrap();
        rig.go_on.send(()).unwrap();
        rig.persister.persist(&rig.replica).await.unwrap();
        let loaded = rig.memory.load().unwrap().unwrap();
        assert_eq!(loaded.state.digest(), rig.replica.read().state.digest());
    }
}
