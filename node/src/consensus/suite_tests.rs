//! openraft's own storage suite on the real store: necessary, not sufficient (it passes on a store that never syncs).

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use quorate_state::State;
use quorate_storage::{
    DataDir, Floor, Identity, LogOptions, RaftLog, SessionOptions, SledStore, WriteBehind,
};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::clock::{ClusterClock, SystemClock};
use super::log_store::LogStore;
use super::persister::Persister;
use super::replica::{Applied, Replica};
use super::state_machine::StateMachine;
use super::types::{StoredMembership, TypeConfig};

struct RealStores;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for RealStores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let temporary = TempDir::new().unwrap();
        let identity = Identity { cluster_id: 1, node_id: 1 };
        let dir = DataDir::open(&temporary.path().join("node"), identity, 7).unwrap();
        let floor = Floor::open(&dir).unwrap();
        let options = LogOptions { prefill_bytes: 0, file_bytes: 1 << 20, ..LogOptions::default() };
        let log = RaftLog::open(&dir, &floor, options).unwrap();
        let (store, loaded) = SledStore::open(&dir, &floor, SessionOptions { cache_bytes: 1 << 20 }).unwrap();
        assert!(loaded.is_none());
        let state = Applied { state: State::new(), log_id: None, membership: StoredMembership::default() };
        let replica = Arc::new(Replica::new(state));
        let write_behind = WriteBehind::start(store, Box::new(|_| {}));
        let persister = Persister::new(write_behind, log.clone(), Arc::new(Notify::new()), 1 << 30, 1 << 30);
        let clock = Arc::new(ClusterClock::new(Box::new(SystemClock { wall_offset_ms: 0 })));
        Ok((temporary, LogStore::new(log), StateMachine::new(replica, Arc::new(persister), clock)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes_on_the_real_store() {
    Suite::test_all(RealStores).await.unwrap();
}
