//! Brings consensus up: opens the storage, asks the peers who they are, starts raft, serves the peer listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::errors::{InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use quorate_proto::peer::v1 as peer;
use quorate_proto::peer::v1::peer_server::PeerServer;
use quorate_state::{Member, NodeId, State};
use quorate_storage::{
    DataDir, Floor, LogOptions, RaftLog, SessionOptions, SledStore, StorageError, WriteBehind,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::{ClusterClock, SystemClock};
use super::handle::{Consensus, Inner};
use super::identity::{Identity, replaced_message};
use super::in_flight::InFlight;
use super::log_store::LogStore;
use super::network::Network;
use super::payload::decode_meta;
use super::peer_service::{Core, ForwardHandler, PeerService};
use super::peers::{MESSAGE_BYTES_MAX, Peers, Traffic};
use super::persister::Persister;
use super::replica::{Applied, Replica};
use super::state_machine::StateMachine;
use super::timers::Timers;
use super::types::{PeerNode, Raft, StoredMembership, log_id_to_storage};
use crate::config::Settings;
use crate::connections;

/// Calls in progress from one node, above all those it has forwarded, which its own budget of bytes in flight bounds.
const STREAMS_PER_PEER_MAX: u32 = 1 << 20;
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// The peer listener of a node that stops has this long for the answers that are on their way.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a node did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory was refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the data directory holds cannot be read.
    #[error("the data directory {path}: {error}")]
    Undecodable {
        /// Where.
        path: String,
        /// What is wrong.
        error: String,
    },
    /// The settings contradict each other or the data directory.
    #[error("{0}")]
    Settings(String),
    /// The cluster knows this node id by another data directory.
    #[error("{0}")]
    Replaced(String),
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {error}: choose a free address (is another node running here?)")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// openraft refused to start.
    #[error("consensus did not start: {0}")]
    Raft(String),
}

/// Consensus, up and running on one node.
pub struct Running {
    /// The handle for the rest of the node.
    pub consensus: Consensus,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    failed: watch::Receiver<Option<String>>,
    /// Holds the data directory's lock as long as the node runs.
    _dir: DataDir,
}

/// What the storage held.
struct Opened {
    log: RaftLog,
    replica: Arc<Replica>,
    persister: Arc<Persister>,
    dir: DataDir,
}

/// The cluster's id as it is founded: the same on every node that is given the same name and members, and on no
/// other. From then on it lives in the data directories, so that members may move to other addresses.
fn cluster_id(settings: &Settings, members: &BTreeMap<NodeId, String>) -> u64 {
    use std::fmt::Write as _;
    let mut founding = settings.cluster_name.clone();
    for (node, address) in members {
        // Writing to a string does not fail.
        let _ = write!(founding, "\n{node}={address}");
    }
    let half = |text: &str| quorate_storage::checksum(text.as_bytes()) >> 32;
    quorate_storage::cluster_id(half(&settings.cluster_name), half(&founding))
}

fn open(settings: &Settings, cluster: u64) -> Result<Opened, StartError> {
    let started = Instant::now();
    let undecodable = |error: &dyn std::fmt::Display| StartError::Undecodable {
        path: settings.data_dir.display().to_string(),
        error: error.to_string(),
    };
    let identity = quorate_storage::Identity { cluster_id: cluster, node_id: settings.node_id };
    let dir = DataDir::open(&settings.data_dir, identity, rand::random::<u64>() | 1)?;
    let floor = Floor::open(&dir)?;
    let log = RaftLog::open(
        &dir,
        &floor,
        LogOptions {
            prefill_bytes: settings.log_prefill_bytes,
            purge_threshold_bytes: settings.log_budget_bytes,
            ..LogOptions::default()
        },
    )?;
    let options = SessionOptions { cache_bytes: settings.session_cache_bytes };
    let (store, loaded) = SledStore::open(&dir, &floor, options)?;
    let applied = match loaded {
        None => Applied { state: State::new(), log_id: None, membership: StoredMembership::default() },
        Some(loaded) => {
            let (log_id, membership) =
                decode_meta(&loaded.position.meta).map_err(|error| undecodable(&error))?;
            Applied { state: loaded.state, log_id, membership }
        }
    };
    if let (Some(purged), index) = (log.last_purged(), applied.index())
        && purged.index > index
    {
        return Err(undecodable(&format!(
            "the sessions stand at log index {index}, but the log begins after {}: entries between are missing; \
             empty the directory and bring the node back under a new id",
            purged.index
        )));
    }
    if let Some(applied) = applied.log_id.as_ref().map(log_id_to_storage)
        && log.agree_with(applied)?
    {
        tracing::info!(
            index = applied.index,
            "emptied the log, which a snapshot had replaced when the process ended"
        );
    }
    tracing::info!(
        sessions = applied.state.live_sessions(),
        applied_index = applied.index(),
        last_log_index = log.last().map_or(0, |id| id.index),
        incarnation = format!("{:016x}", dir.incarnation()),
        took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "opened the data directory; the log after the applied index is replayed once the cluster confirms it"
    );
    let replica = Arc::new(Replica::new(applied));
    let persisted = Arc::new(Notify::new());
    let bell = Arc::clone(&persisted);
    let write_behind = WriteBehind::start(store, Box::new(move |_| bell.notify_waiters()));
    let budget_bytes = settings.log_budget_bytes;
    let persister = Persister::new(write_behind, log.clone(), persisted, budget_bytes, budget_bytes);
    let persister = Arc::new(persister);
    Ok(Opened { log, replica, persister, dir })
}

fn raft_config(cluster: u64, timers: Timers, log_entries_kept: u64) -> Result<Arc<Config>, StartError> {
    let config = Config {
        cluster_name: format!("{cluster:016x}"),
        heartbeat_interval: timers.heartbeat_ms,
        election_timeout_min: timers.election_ms_min,
        election_timeout_max: timers.election_ms_max,
        enable_pre_vote: Some(true),
        // A restarted leader has promised nothing it remembers: it stands for election like everyone.
        enable_leader_restore: Some(false),
        // Switched on after one lease; see `join`.
        enable_elect: false,
        install_snapshot_timeout: u64::try_from(timers.snapshot_deadline.as_millis()).unwrap_or(u64::MAX),
        max_payload_entries: 1000,
        // The persister announces what the session store has synced; openraft never asks for a snapshot itself.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: log_entries_kept,
        replication_lag_threshold: u64::MAX / 2,
        purge_batch_size: 1024,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| StartError::Raft(error.to_string()))
}

/// The members by the settings; without any, this node alone.
fn founding_members(settings: &Settings, own: &Member) -> Result<BTreeMap<NodeId, String>, StartError> {
    let mut members = settings.members.clone();
    if members.is_empty() {
        members.insert(settings.node_id, own.peer_address.clone());
    }
    if !members.contains_key(&settings.node_id) {
        return Err(StartError::Settings(format!(
            "members does not name node {}: add {}=HOST:PORT to it",
            settings.node_id, settings.node_id
        )));
    }
    Ok(members)
}

/// Opens the storage, which may take long, on a thread of its own.
async fn open_storage(settings: &Settings, cluster: u64) -> Result<Opened, StartError> {
    let settings = settings.clone();
    let opened = tokio::task::spawn_blocking(move || open(&settings, cluster)).await;
    opened.map_err(|error| StartError::Raft(error.to_string()))?
}

/// Starts raft on the storage. It neither votes nor stands for election yet.
async fn start_raft(
    settings: &Settings,
    storage: &Opened,
    identity: Arc<Identity>,
    peers: Arc<Peers>,
) -> Result<Consensus, StartError> {
    let Opened { log, replica, persister, .. } = storage;
    let timers = Timers::of(settings.timing);
    let clock = SystemClock { wall_offset_ms: settings.clock_offset_ms };
    let clock = Arc::new(ClusterClock::new(Box::new(clock)));
    let raft = Raft::new(
        settings.node_id,
        raft_config(identity.cluster, timers, settings.log_entries_kept)?,
        Network { identity: Arc::clone(&identity), peers: Arc::clone(&peers), timers },
        LogStore::new(log.clone()),
        StateMachine::new(Arc::clone(replica), Arc::clone(persister), Arc::clone(&clock)),
    );
    let inner = Inner {
        raft: raft.await.map_err(|error| StartError::Raft(error.to_string()))?,
        replica: Arc::clone(replica),
        persister: Arc::clone(persister),
        identity,
        peers,
        log: log.clone(),
        clock,
        timers,
        in_flight: InFlight::new(settings.in_flight_bytes),
        read_mode: settings.read_mode,
        confirmed: Mutex::new(None),
        leader_heard: Mutex::new(None),
        recovered: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
    };
    Ok(Consensus { inner: Arc::new(inner) })
}

impl Consensus {
    /// Starts what every node does unasked, until `stop`.
    fn run(&self, tasks: &mut JoinSet<()>, member: Member, stop: &watch::Sender<bool>) {
        tasks.spawn(self.clone().run_timekeeping(stop.subscribe()));
        tasks.spawn(self.clone().run_clock(stop.subscribe()));
        tasks.spawn(self.clone().run_locks(stop.subscribe()));
        tasks.spawn(self.clone().run_announcement(member, stop.subscribe()));
    }
}

impl Running {
    /// Opens the data directory, joins the cluster, serves `listener`. `member` is what this node announces
    /// (its incarnation is filled in), `forward` runs what other nodes forward.
    ///
    /// # Errors
    /// [`StartError`]: nothing is left running.
    pub async fn start(
        settings: &Settings,
        listener: TcpListener,
        member: Member,
        forward: impl FnOnce(Consensus) -> Arc<dyn ForwardHandler>,
    ) -> Result<Running, StartError> {
        let members = founding_members(settings, &member)?;
        let timers = Timers::of(settings.timing);
        let storage = open_storage(settings, cluster_id(settings, &members)).await?;
        let opened = Instant::now();
        let votes_from = opened + timers.lease();
        let (cluster, incarnation) = (storage.dir.cluster_id(), storage.dir.incarnation());
        let identity = Identity::new(cluster, settings.node_id, incarnation, Arc::clone(&storage.replica));
        let identity = Arc::new(identity);
        let peers = Peers::new(Arc::clone(&storage.replica), members.clone(), timers.append_deadline);
        let peers = Arc::new(peers);
        let stop = watch::Sender::new(false);
        let failed = watch::Sender::new(None);
        let running_failed = failed.subscribe();
        let mut tasks = JoinSet::new();
        let service = PeerService::new(Arc::clone(&identity), Arc::clone(&peers));
        tasks.spawn(serve_peers(service.clone(), listener, timers, stop.subscribe(), failed.clone()));
        ask_peers(&identity, &peers, members.keys(), &member.peer_address).await?;

        let last = storage.log.last().map_or(0, |id| id.index);
        let replay = Replay { from: storage.replica.applied_index(), to: last, opened };
        let consensus = start_raft(settings, &storage, identity, peers).await?;
        let inner = &consensus.inner;
        let (raft, persister) = (inner.raft.clone(), Arc::clone(&inner.persister));
        service.open(Core {
            raft: raft.clone(),
            consensus: consensus.clone(),
            persister: Arc::clone(&persister),
            forward: forward(consensus.clone()),
            votes_from,
        });
        tasks.spawn(watch_failures(raft.clone(), inner.identity.watch_stopped(), failed, stop.subscribe()));
        let (replica, peers) = (Arc::clone(&inner.replica), Arc::clone(&inner.peers));
        tasks.spawn(persister.run(replica, raft, peers, stop.subscribe()));
        consensus.run(&mut tasks, Member { incarnation, ..member }, &stop);
        tasks.spawn(join(consensus.clone(), members, votes_from, replay, stop.subscribe()));
        Ok(Running { consensus, stop, tasks, failed: running_failed, _dir: storage.dir })
    }

    /// Resolves with the reason when this node can go on no longer.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The watcher is gone: the node is being stopped.
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops raft, writes a last cut to the session store, closes the storage.
    pub async fn stop(mut self) {
        let inner = &self.consensus.inner;
        // First of all: a leader that still sends heartbeats keeps the others from electing one that serves.
        if let Err(error) = inner.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop in order");
        }
        // Nobody's turn comes here any more.
        self.consensus.lock_waits().wake_all();
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        inner.persister.last_cut(&inner.replica).await;
        inner.persister.close().await;
        let log = inner.log.clone();
        if tokio::task::spawn_blocking(move || log.close()).await.is_err() {
            tracing::error!("the log's thread panicked while closing");
        }
    }
}

/// Asks every peer that answers what it knows of this node, and tells it where this node is now. A node that lost its
/// disk learns it here.
async fn ask_peers(
    identity: &Arc<Identity>,
    peers: &Arc<Peers>,
    members: impl Iterator<Item = &NodeId>,
    peer_address: &str,
) -> Result<(), StartError> {
    let mut hellos = JoinSet::new();
    for node in members.copied().filter(|node| *node != identity.node) {
        let client = peers.client(node, Traffic::Control);
        let mut client = client.map_err(|error| StartError::Settings(format!("members: {error}")))?;
        let envelope = Some(identity.envelope(node));
        let request = peer::HelloRequest { envelope, peer_address: peer_address.to_owned() };
        hellos.spawn(async move { (node, tokio::time::timeout(HELLO_TIMEOUT, client.hello(request)).await) });
    }
    while let Some(hello) = hellos.join_next().await {
        match hello {
            Ok((peer, Ok(Ok(answer)))) => {
                let recorded = answer.into_inner().your_incarnation;
                if recorded == 0 || recorded == identity.incarnation {
                    continue;
                }
                let message = replaced_message(identity.node, recorded, identity.incarnation);
                if !identity.is_recorded() {
                    return Err(StartError::Replaced(message));
                }
                // This directory knows from the cluster itself that it is the right one: the peer is behind.
                tracing::warn!(peer, "a peer knows this node by another data directory: {message}");
            }
            Ok((_, Ok(Err(status)))) if status.code() == tonic::Code::FailedPrecondition => {
                return Err(StartError::Settings(status.message().to_owned()));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn serve_peers(
    service: PeerService,
    listener: TcpListener,
    timers: Timers,
    mut stop: watch::Receiver<bool>,
    failed: watch::Sender<Option<String>>,
) {
    let server = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    // However this ends.
    let close = CancellationToken::new();
    let _closes = close.clone().drop_guard();
    let mut stopping = stop.clone();
    let stopped = async move { drop(stopping.wait_for(|stop| *stop).await) };
    let serving = tonic::transport::Server::builder()
        // The default is 200: so many forwarded calls that wait for locks would let nothing through that gives one back.
        .max_concurrent_streams(STREAMS_PER_PEER_MAX)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        // A peer that vanished without a word must not leave half a snapshot behind for ever.
        .http2_keepalive_interval(Some(timers.append_deadline))
        .http2_keepalive_timeout(Some(timers.append_deadline * 5))
        .add_service(server)
        .serve_with_incoming_shutdown(connections::incoming::<()>(listener, close.clone()), stopped);
    // Raft has stopped by then: what other nodes have forwarded here is answered at once, or not any more.
    let drained = async {
        let _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        () = drained => {}
        result = serving => {
            if *stop.borrow() {
                return;
            }
            let reason = result.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            failed.send_replace(Some(format!("the peer listener stopped: {reason}")));
        }
    }
}

/// Watches for what a node cannot outlive: a fatal error of raft, or proof that its disk was replaced.
async fn watch_failures(
    raft: Raft,
    mut stopped: watch::Receiver<Option<String>>,
    failed: watch::Sender<Option<String>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut metrics = raft.metrics();
    let reason = loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            Ok(reason) = stopped.wait_for(Option::is_some) => break reason.clone().unwrap_or_default(),
            changed = openraft::type_config::async_runtime::watch::WatchReceiver::changed(&mut metrics) => {
                let state = openraft::type_config::async_runtime::watch::WatchReceiver::borrow_watched(&metrics)
                    .running_state
                    .clone();
                match (state, changed) {
                    (Err(fatal), _) => break format!("consensus stopped: {fatal}"),
                    (Ok(()), Err(_)) => break "consensus stopped".to_owned(),
                    (Ok(()), Ok(())) => {}
                }
            }
        }
    };
    failed.send_replace(Some(reason));
}

/// What a start has to apply again.
#[derive(Clone, Copy)]
struct Replay {
    /// The index that the session store holds.
    from: u64,
    /// The log's last index.
    to: u64,
    /// When the data directory had been opened.
    opened: Instant,
}

/// Forms the cluster if this node is pristine (every node does; the result is the same), lets it stand for election
/// after one lease, and waits until it has applied what its log held.
async fn join(
    consensus: Consensus,
    members: BTreeMap<NodeId, String>,
    votes_from: Instant,
    replay: Replay,
    mut stop: watch::Receiver<bool>,
) {
    let raft = consensus.inner.raft.clone();
    let nodes: BTreeMap<NodeId, PeerNode> =
        members.into_iter().map(|(node, address)| (node, PeerNode { address })).collect();
    match raft.initialize(nodes).await {
        Ok(()) => tracing::info!("formed the cluster from the members in the settings"),
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
        Err(error) => tracing::error!(%error, "the cluster was not formed"),
    }
    tokio::time::sleep_until(votes_from).await;
    raft.runtime_config().elect(true);
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return,
        () = has_recovered(&consensus, replay) => {}
    }
    consensus.inner.recovered.store(true, Ordering::Release);
    let applied_index = consensus.applied_index();
    tracing::info!(
        sessions = consensus.with_state(State::live_sessions),
        loaded_index = replay.from,
        replayed = replay.to.min(applied_index).saturating_sub(replay.from),
        applied_index,
        took_ms = u64::try_from(replay.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
        "recovered: loaded the session store and replayed the log"
    );
}

/// All that the log held at start is applied; or the cluster has decided against its end, and what it holds now is.
async fn has_recovered(consensus: &Consensus, replay: Replay) {
    let raft = &consensus.inner.raft;
    // A cluster that never had an entry has recovered once it has a first one.
    let target = replay.to.max(1);
    let mut applied = consensus.inner.replica.watch_applied();
    let decided = async {
        while let Err(error) = raft.wait_for_recovery(Some(Duration::from_secs(60))).await {
            tracing::info!(%error, "still waiting for the cluster to confirm this node's log");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        Ok(_) = applied.wait_for(|applied| *applied >= target) => {}
        () = decided => {}
    }
}
