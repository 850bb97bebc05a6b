//! The handle through which the rest of the node uses consensus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, ServerState};
use parking_lot::Mutex;
use quorate_proto::peer::v1 as peer;
use quorate_proto::v1;
use quorate_state::{Command, NodeId, Operation, Outcome, Proposal, State};
use quorate_storage::RaftLog;

use super::clock::ClusterClock;
use super::error::{ForwardError, ProposeError, ReadError, WaitError};
use super::identity::Identity;
use super::in_flight::{self, Held, InFlight};
use super::lock_waits::LockWaits;
use super::peers::{Peers, Traffic};
use super::persister::Persister;
use super::replica::Replica;
use super::status::{MemberStatus, Status};
use super::timers::Timers;
use super::types::{Payload, Raft};
use crate::config::ReadMode;

/// A leader that has heard from no quorum for this many leases serves nobody.
const ISOLATED_LEASES: u32 = 5;
/// A command waits at most this long for the session store to catch up; then its caller is told to come back later.
const BUDGET_WAIT_MAX: Duration = Duration::from_secs(1);
/// A read index round takes at most this long.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(2);

/// A command that has been applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its log index.
    pub index: u64,
    /// Its outcome, refusals included.
    pub outcome: Outcome,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub node: NodeId,
    /// Whether it is this node.
    pub is_self: bool,
    /// Where clients reach it; empty until it has announced itself.
    pub client_address: String,
}

/// Consensus, as the rest of the node sees it. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) raft: Raft,
    pub(super) replica: Arc<Replica>,
    pub(super) persister: Arc<Persister>,
    pub(super) identity: Arc<Identity>,
    pub(super) peers: Arc<Peers>,
    pub(super) log: RaftLog,
    pub(super) clock: Arc<ClusterClock>,
    pub(super) timers: Timers,
    pub(super) in_flight: InFlight,
    pub(super) read_mode: ReadMode,
    /// The term whose leadership was confirmed by a read index, and the machine's sleep at that time.
    pub(super) confirmed: Mutex<Option<(u64, Duration)>>,
    /// When the leader that this node follows was last heard.
    pub(super) leader_heard: Mutex<Option<std::time::Instant>>,
    /// Set once everything in the log at start has been applied again.
    pub(super) recovered: AtomicBool,
    /// Set when the node begins to stop: it is not ready any more, and reads by lease no more.
    pub(super) stopping: AtomicBool,
}

/// This node's leadership, as its raft core last reported it.
pub(super) struct Leadership {
    pub(super) term: u64,
    quorum_age: Option<Duration>,
    sole_voter: bool,
}

impl Consensus {
    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.inner.identity.cluster
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.identity.node
    }

    /// Who leads, as far as this node knows. A leader that has lost its quorum does not count itself.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        let node = match self.leadership() {
            Ok(leadership) => self.serves(&leadership).then(|| self.node_id())?,
            // A follower keeps its leader's vote when the leader falls silent: nobody knows then who leads.
            Err(leader) => leader.filter(|_| self.hears_leader())?,
        };
        let applied = self.inner.replica.read();
        let client_address = applied
            .state
            .members()
            .get(&node)
            .map(|member| member.client_address.clone())
            .unwrap_or_default();
        Some(Leader { node, is_self: node == self.node_id(), client_address })
    }

    /// Whether this node has recovered its state, is on record by its incarnation (from then on another data
    /// directory under its id is refused), knows the time, and knows a leader and how clients reach it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.recovered.load(Ordering::Acquire)
            && !self.inner.stopping.load(Ordering::Acquire)
            && self.inner.identity.is_recorded()
            // Nodes are restarted one by one, each once the last is ready: there must always be one who knows the time.
            && self.inner.clock.estimate().is_some()
            && self.leader().is_some_and(|leader| !leader.client_address.is_empty())
    }

    /// Reads the state under a shared lock: briefly, never across an await.
    pub fn with_state<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.inner.replica.read().state)
    }

    /// As [`Self::with_state`], together with the index of the last entry applied to it.
    pub fn with_applied<R>(&self, read: impl FnOnce(&State, u64) -> R) -> R {
        let applied = self.inner.replica.read();
        read(&applied.state, applied.index())
    }

    /// Who waits for a lock on this node.
    pub(crate) fn lock_waits(&self) -> &Arc<LockWaits> {
        self.inner.replica.lock_waits()
    }

    /// This node's copy of the state, held or not.
    #[cfg(test)]
    pub(crate) fn weak_state(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.inner.replica)
    }

    /// The index of the last applied entry.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.inner.replica.applied_index()
    }

    /// Enqueues commands in order (that is all it awaits), then streams their outcomes in the same order. What has been
    /// enqueued goes on, and counts as in flight, also when the stream is dropped.
    ///
    /// # Errors
    /// [`ProposeError`] when nothing was enqueued; in the stream, for each command.
    pub async fn submit(
        &self,
        commands: Vec<Command>,
    ) -> Result<BoxStream<'static, Result<Applied, ProposeError>>, ProposeError> {
        if commands.iter().any(is_throttled) {
            let within_budget = self.inner.persister.within_budget();
            if tokio::time::timeout(BUDGET_WAIT_MAX, within_budget).await.is_err() {
                return Err(ProposeError::Overloaded);
            }
        }
        let budget = self.inner.in_flight.budget(&commands);
        let payloads = self.payloads(commands).await?;
        let (count, bytes) =
            (payloads.len(), in_flight::bytes_of(payloads.iter().map(|payload| payload.0.len())));
        let permit = budget.take(bytes).ok_or(ProposeError::Overloaded)?;
        Ok(Held::new(self.enqueue(payloads).await?, count, permit).boxed())
    }

    /// Commands as entries hold them.
    async fn payloads(&self, commands: Vec<Command>) -> Result<Vec<Payload>, ProposeError> {
        let stamp = self.stamp().await?;
        Ok(commands.into_iter().map(|command| Payload(Proposal { stamp, command }.encode())).collect())
    }

    async fn enqueue(
        &self,
        payloads: Vec<Payload>,
    ) -> Result<BoxStream<'static, Result<Applied, ProposeError>>, ProposeError> {
        let results = self
            .inner
            .raft
            .client_write_many(payloads)
            .await
            .map_err(|fatal| ProposeError::Stopped(fatal.to_string()))?;
        let this = self.clone();
        Ok(results
            .map(move |result| match result {
                Ok(Ok(written)) => Ok(Applied {
                    index: written.log_id.index,
                    outcome: written.response.unwrap_or(Outcome::Done),
                }),
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => {
                    Err(ProposeError::NotLeader { leader: this.leader().filter(|leader| !leader.is_self) })
                }
                Ok(Err(error)) => Err(ProposeError::Unknown(error.to_string())),
                Err(fatal) => Err(ProposeError::Stopped(fatal.to_string())),
            })
            .boxed())
    }

    /// Proposes one command and waits for its outcome. For the node's own: ticks, expiry, announcements wait for no budget.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        let mut results = self.enqueue(self.payloads(vec![command]).await?).await?;
        results.next().await.unwrap_or_else(|| Err(ProposeError::Unknown("no result came back".into())))
    }

    /// Once this returns, a read of this node's state is linearizable with respect to all that came before the call.
    ///
    /// By lease: a quorum has acknowledged this leader within nine tenths of a lease, in a term for which a read
    /// index was awaited once, and the machine has not slept since. Right because no other leader can exist within
    /// the lease, and because writes are answered after they are applied here. (Raft thesis, 6.4.1.)
    ///
    /// # Errors
    /// [`ReadError`]: nothing happened.
    pub async fn linearizable(&self) -> Result<(), ReadError> {
        let leadership = self.leadership().map_err(|_| ReadError::NotLeader { leader: self.leader() })?;
        // A leader that does not know the time cannot tell what has expired.
        if !self.is_settled(leadership.term) {
            self.settled().await.ok_or(ReadError::NoQuorum)?;
        }
        let slept = self.inner.clock.slept();
        // Before leadership is handed over the voters' leases are cancelled: from then on nothing holds by lease.
        let by_lease =
            self.inner.read_mode == ReadMode::Lease && !self.inner.stopping.load(Ordering::Acquire);
        if by_lease && self.lease_holds(&leadership, slept) {
            return Ok(());
        }
        self.confirm(leadership.term, slept).await
    }

    fn lease_holds(&self, leadership: &Leadership, slept: Duration) -> bool {
        let confirmed = *self.inner.confirmed.lock();
        let Some((term, slept_then)) = confirmed else { return false };
        // The two clocks are read one after the other: allow for that.
        let awake = slept.abs_diff(slept_then) < Duration::from_millis(5);
        let fresh = leadership.quorum_age.is_some_and(|age| age < self.inner.timers.lease().mul_f32(0.9));
        term == leadership.term && awake && (fresh || leadership.sole_voter)
    }

    /// Asks a quorum whether this node still leads, and waits until all committed before is applied.
    pub(super) async fn confirm(&self, term: u64, slept: Duration) -> Result<(), ReadError> {
        let round = async {
            let linearizer = match self.inner.raft.get_read_linearizer(openraft::ReadPolicy::ReadIndex).await
            {
                Ok(linearizer) => linearizer,
                Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                    return Err(ReadError::NotLeader {
                        leader: self.leader().filter(|leader| !leader.is_self),
                    });
                }
                Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                    return Err(ReadError::NoQuorum);
                }
                Err(RaftError::Fatal(fatal)) => return Err(ReadError::Stopped(fatal.to_string())),
            };
            match linearizer.try_await_ready(&self.inner.raft, Some(READ_INDEX_TIMEOUT)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(ReadError::NoQuorum),
                Err(fatal) => Err(ReadError::Stopped(fatal.to_string())),
            }
        };
        tokio::time::timeout(READ_INDEX_TIMEOUT, round).await.unwrap_or(Err(ReadError::NoQuorum))?;
        *self.inner.confirmed.lock() = Some((term, slept));
        Ok(())
    }

    /// Waits until this node has applied `index`.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn wait_applied(&self, index: u64, timeout: Duration) -> Result<(), WaitError> {
        let mut applied = self.inner.replica.watch_applied();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(WaitError::Stopped("its state machine is gone".into())),
            Err(_) => Err(WaitError::Timeout { applied: self.applied_index() }),
        }
    }

    /// Sends an operation to the leader: one hop. It says itself how much time it has there; `remaining` is how long
    /// this node waits.
    ///
    /// # Errors
    /// [`ForwardError`] says whether the operation may have been applied.
    pub async fn forward(
        &self,
        operation: v1::Operation,
        remaining: Duration,
    ) -> Result<v1::Answer, ForwardError> {
        let leader = self.leader().filter(|leader| !leader.is_self).ok_or(ForwardError::NoLeader)?.node;
        let peers = &self.inner.peers;
        let client = peers.client(leader, Traffic::Forward);
        let mut client = client.map_err(|error| ForwardError::Unreachable(error.to_string()))?;
        let request = peer::ForwardRequest {
            envelope: Some(self.inner.identity.envelope(leader)),
            operation: Some(operation),
        };
        match tokio::time::timeout(remaining, client.forward(request)).await {
            Ok(Ok(response)) => {
                peers.note_answered(leader, Traffic::Forward);
                response.into_inner().answer.ok_or_else(|| ForwardError::Lost("an empty answer".into()))
            }
            Ok(Err(status)) => {
                peers.note_failed(leader, Traffic::Forward);
                let message = status.message().to_owned();
                Err(if never_sent(&status) { ForwardError::Unreachable } else { ForwardError::Lost }(message))
            }
            Err(_) => {
                peers.note_unanswered(leader, Traffic::Forward, remaining);
                Err(ForwardError::Deadline)
            }
        }
    }

    /// This node's view of itself and the cluster.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched().clone();
        let role = match metrics.state {
            ServerState::Leader if self.leader().is_some() => "leader",
            ServerState::Leader => "isolated",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner | ServerState::Shutdown => "learner",
        };
        let membership = metrics.membership_config.membership().clone();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let applied = self.inner.replica.read();
        let members = membership
            .nodes()
            .map(|(node, peer)| MemberStatus {
                node: *node,
                peer_address: peer.address.clone(),
                voter: voters.contains(node),
                announced: applied.state.members().get(node).cloned(),
                matched_index: metrics
                    .replication
                    .as_ref()
                    .and_then(|replication| replication.get(node).cloned().flatten())
                    .map(|id| id.index),
            })
            .collect();
        Status {
            term: metrics.current_term,
            role,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: applied.index(),
            persisted_index: self.inner.replica.persisted_index(),
            purged_index: self.inner.log.last_purged().map_or(0, |id| id.index),
            members,
        }
    }

    pub(super) fn leadership(&self) -> Result<Leadership, Option<NodeId>> {
        let leader = self.inner.raft.as_leader().map_err(|forward| forward.leader_id)?;
        let quorum_age = leader.last_quorum_acked().map(|acked| acked.elapsed());
        let sole_voter = self.inner.replica.read().membership.membership().voter_ids().count() == 1;
        Ok(Leadership { term: leader.leader_id().term, quorum_age, sole_voter })
    }

    /// Whether a leader has heard from a quorum recently enough to take requests.
    fn serves(&self, leadership: &Leadership) -> bool {
        let limit = self.inner.timers.lease() * ISOLATED_LEASES;
        leadership.sole_voter || leadership.quorum_age.is_some_and(|age| age < limit)
    }

    /// Notes that the leader has just been heard.
    pub(super) fn note_leader_heard(&self) {
        *self.inner.leader_heard.lock() = Some(std::time::Instant::now());
    }

    /// Whether the leader has been heard recently enough to believe that it still leads.
    fn hears_leader(&self) -> bool {
        let limit = self.inner.timers.lease() * ISOLATED_LEASES;
        self.inner.leader_heard.lock().is_some_and(|heard| heard.elapsed() < limit)
    }

    /// The term in which this node leads, if it does and may take requests.
    pub(super) fn serving_term(&self) -> Option<u64> {
        let leadership = self.leadership().ok()?;
        self.serves(&leadership).then_some(leadership.term)
    }

    /// Begins to stop: this node is not ready from now on. A leader hands its leadership to the node that is furthest,
    /// and this returns once that leads, or after a while without success.
    pub async fn begin_stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        let Some(successor) = self.successor() else { return };
        if let Err(error) = self.inner.raft.trigger().transfer_leader(successor).await {
            tracing::debug!(%error, "raft has stopped");
            return;
        }
        let gave_up = tokio::time::Instant::now() + self.inner.timers.lease() * ISOLATED_LEASES;
        let mut metrics = self.inner.raft.metrics();
        let handed_over = async {
            while metrics.borrow_watched().current_leader == Some(self.node_id()) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        match tokio::time::timeout_at(gave_up, handed_over).await {
            Ok(()) => tracing::info!(successor, "handed leadership over"),
            Err(_) => tracing::info!(successor, "leadership was not taken over in time"),
        }
        // Whoever waits here for a lock goes to the successor while this node can still say so.
        self.lock_waits().wake_all();
    }

    /// Who should lead when this node, the leader, stops: the other voter whose log reaches furthest.
    fn successor(&self) -> Option<NodeId> {
        self.leadership().ok()?;
        let voters: Vec<NodeId> = self.inner.replica.read().membership.membership().voter_ids().collect();
        let metrics = self.inner.raft.metrics();
        let matched = metrics.borrow_watched().replication.clone()?;
        let others = matched.into_iter().filter(|(node, _)| *node != self.node_id() && voters.contains(node));
        others.max_by_key(|(_, matched)| *matched).map(|(node, _)| node)
    }
}

/// Whether a command waits for the log budget. What gives a lock back does not: others wait for it. What ends sessions
/// does, though it frees memory: it is an entry all the same, also where there is nothing to end, and nothing else would
/// bound how many of them wait for the session store.
pub(crate) fn is_throttled(command: &Command) -> bool {
    match command {
        Command::Operate { operation, .. } => {
            !matches!(operation, Operation::Unlock(_) | Operation::BreakLock { .. })
        }
        Command::OpenClient { .. } => true,
        _ => false,
    }
}

/// Whether a failed call never reached the services of the other node: there was no connection, or it refused the
/// envelope.
fn never_sent(status: &tonic::Status) -> bool {
    if status.code() == tonic::Code::FailedPrecondition {
        return true;
    }
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
