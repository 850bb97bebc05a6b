//! This node's copy of the replicated state: consensus applies to it, everyone else reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use quorate_state::{Changes, ClusterTime, Fence, Frozen, State};
use tokio::sync::watch;

use super::lock_waits::LockWaits;
use super::types::{LogId, SnapshotMeta, StoredMembership};

/// The state together with its place in the log; both always change under one lock.
pub(crate) struct Applied {
    pub(crate) state: State,
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl Applied {
    pub(crate) fn index(&self) -> u64 {
        self.log_id.as_ref().map_or(0, |id| id.index)
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.log_id, last_membership: self.membership.clone() }
    }
}

/// A consistent view of the state and of what changed since the last one.
pub(crate) struct View {
    pub(crate) meta: SnapshotMeta,
    pub(crate) frozen: Frozen,
    pub(crate) changes: Changes,
    /// [`Replica::bytes_applied`] at this view.
    pub(crate) bytes_applied: u64,
}

/// Shared by the state machine (writes) and everyone who reads.
pub(crate) struct Replica {
    applied: RwLock<Applied>,
    applied_index: watch::Sender<u64>,
    /// What the session store on disk holds: Raft's "snapshot".
    persisted: Mutex<SnapshotMeta>,
    /// Payload bytes applied since the process started.
    bytes_applied: AtomicU64,
    /// When the first lock for which somebody waits lapses.
    lock_lapse: watch::Sender<Option<ClusterTime>>,
    lock_waits: Arc<LockWaits>,
}

impl Replica {
    /// Starts from what the session store held.
    pub(crate) fn new(applied: Applied) -> Self {
        Replica {
            applied_index: watch::Sender::new(applied.index()),
            persisted: Mutex::new(applied.meta()),
            lock_lapse: watch::Sender::new(applied.state.next_lock_lapse()),
            lock_waits: Arc::default(),
            applied: RwLock::new(applied),
            bytes_applied: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Applied> {
        self.applied.read()
    }

    /// For the state machine alone. Call [`Self::publish`] once the guard is gone.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Applied> {
        self.applied.write()
    }

    /// Wakes those who wait for `index`.
    pub(crate) fn publish(&self, index: u64, payload_bytes: u64) {
        self.bytes_applied.fetch_add(payload_bytes, Ordering::Relaxed);
        self.applied_index.send_replace(index);
    }

    /// Tells what has become of locks: whose turn has come, and when the next lapses.
    pub(crate) fn publish_locks(&self, woken: &[Fence], lapse: Option<ClusterTime>) {
        self.lock_waits.wake(woken);
        let is_news = |known: &mut Option<ClusterTime>| std::mem::replace(known, lapse) != lapse;
        self.lock_lapse.send_if_modified(is_news);
    }

    /// Who waits for a lock on this node.
    pub(crate) fn lock_waits(&self) -> &Arc<LockWaits> {
        &self.lock_waits
    }

    /// Follows when the first lock for which somebody waits lapses.
    pub(crate) fn watch_lock_lapse(&self) -> watch::Receiver<Option<ClusterTime>> {
        self.lock_lapse.subscribe()
    }

    pub(crate) fn applied_index(&self) -> u64 {
        *self.applied_index.borrow()
    }

    pub(crate) fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied_index.subscribe()
    }

    /// Payload bytes applied since the process started: the measure of what waits for the session store.
    pub(crate) fn bytes_applied(&self) -> u64 {
        self.bytes_applied.load(Ordering::Relaxed)
    }

    /// Freezes the state and takes its changes since the last cut.
    pub(crate) fn cut(&self) -> View {
        let mut applied = self.applied.write();
        let bytes_applied = self.bytes_applied();
        View {
            meta: applied.meta(),
            bytes_applied,
            changes: applied.state.take_changes(),
            frozen: applied.state.freeze(),
        }
    }

    /// A view for a Raft snapshot: at or above what is persisted, leaves the changes alone.
    pub(crate) fn view(&self) -> (SnapshotMeta, Frozen) {
        let applied = self.applied.read();
        (applied.meta(), applied.state.freeze())
    }

    pub(crate) fn persisted(&self) -> SnapshotMeta {
        self.persisted.lock().clone()
    }

    /// The session store stands at `meta` now, unless it stands further already.
    pub(crate) fn raise_persisted(&self, meta: SnapshotMeta) {
        let mut persisted = self.persisted.lock();
        if persisted.last_log_id < meta.last_log_id {
            *persisted = meta;
        }
    }

    pub(crate) fn persisted_index(&self) -> u64 {
        self.persisted.lock().last_log_id.as_ref().map_or(0, |id| id.index)
    }
}
