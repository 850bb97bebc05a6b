//! Long-lived channels to the other nodes, a separate one for each kind of traffic, so that none delays another.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_state::NodeId;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use super::replica::Replica;
use super::types::{LogId, Vote};

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Traffic {
    /// The append stream.
    Append,
    /// Heartbeats, votes, leadership transfer, announcements, questions for the time.
    Control,
    /// Snapshots.
    Snapshot,
    /// Clients' operations on their way to the leader.
    Forward,
}

/// A message between nodes may be this long: a snapshot chunk or an append batch, with room to spare.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

const WINDOW_BYTES: u32 = 8 << 20;

/// There is no way to a node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRoute {
    #[error("node {0} is no member, or none whose address is known")]
    Unknown(NodeId),
    #[error("node {node} at {address}: {error}")]
    Address { node: NodeId, address: String, error: tonic::transport::Error },
}

/// An open channel.
struct Line {
    address: String,
    channel: Channel,
    /// When the first call failed since the last answer.
    failing_since: Option<Instant>,
}

/// All channels of this node, opened on first use and kept.
pub(crate) struct Peers {
    replica: Arc<Replica>,
    /// Where this node's own settings say that the others are.
    settings: BTreeMap<NodeId, String>,
    /// A channel on which nothing was answered for this long is dropped.
    patience: Duration,
    lines: Mutex<HashMap<(NodeId, Traffic), Line>>,
    /// What a node that has just started said of itself; the cluster records it once there is a leader to tell.
    said: Mutex<HashMap<NodeId, String>>,
    /// By node: how often one of its addresses was given up.
    given_up: Mutex<HashMap<NodeId, usize>>,
    /// Nodes whose append stream could not be opened: told once, not at each try.
    unreachable: Mutex<HashSet<NodeId>>,
    sending_snapshots: AtomicUsize,
    /// What each node has acknowledged to this node as leader, and under which vote.
    acknowledged: Mutex<HashMap<NodeId, (Vote, LogId)>>,
}

impl Peers {
    pub(crate) fn new(
        replica: Arc<Replica>,
        settings: BTreeMap<NodeId, String>,
        patience: Duration,
    ) -> Peers {
        Peers {
            replica,
            settings,
            patience,
            lines: Mutex::default(),
            said: Mutex::default(),
            given_up: Mutex::default(),
            unreachable: Mutex::default(),
            sending_snapshots: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
        }
    }

    /// Where to dial `node`: what it said of itself last; after failures there, what the settings and the membership
    /// say, in turn: it may have moved since.
    fn address(&self, node: NodeId) -> Option<String> {
        let (announced, member) = {
            let applied = self.replica.read();
            let announced = applied.state.members().get(&node).map(|member| member.peer_address.clone());
            let member = applied.membership.membership().get_node(&node).map(|node| node.address.clone());
            (announced, member)
        };
        let said = self.said.lock().get(&node).cloned();
        let mut candidates: Vec<String> = Vec::with_capacity(4);
        for candidate in [said, announced, self.settings.get(&node).cloned(), member].into_iter().flatten() {
            if !candidate.is_empty() && !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        let turn = self.given_up.lock().get(&node).copied().unwrap_or(0);
        let at = turn.checked_rem(candidates.len())?;
        candidates.into_iter().nth(at)
    }

    /// Notes what a node that has just started says of itself. Without it, one that moved would never be found by a
    /// leader that has its old address, and so never hear of a leader to tell. Nothing is noted of a node that neither the
    /// cluster nor the settings know: a Hello is not authenticated.
    pub(crate) fn note_said(&self, node: NodeId, address: &str) {
        if self.is_known(node)
            && !address.is_empty()
            && Endpoint::from_shared(format!("http://{address}")).is_ok()
        {
            self.said.lock().insert(node, address.to_owned());
            self.given_up.lock().remove(&node);
        }
    }

    fn is_known(&self, node: NodeId) -> bool {
        let applied = self.replica.read();
        self.settings.contains_key(&node)
            || applied.membership.membership().get_node(&node).is_some()
            || applied.state.members().contains_key(&node)
    }

    /// A client for `node`; connects when first used and again after a failure.
    ///
    /// # Errors
    /// Its address is not known, or is no `host:port`.
    pub(crate) fn client(&self, node: NodeId, traffic: Traffic) -> Result<PeerClient<Channel>, NoRoute> {
        let address = self.address(node).ok_or(NoRoute::Unknown(node))?;
        let mut lines = self.lines.lock();
        let channel = match lines.get(&(node, traffic)) {
            Some(line) if line.address == address => line.channel.clone(),
            _ => {
                let endpoint = Endpoint::from_shared(format!("http://{address}"))
                    .map_err(|error| NoRoute::Address { node, address: address.clone(), error })?;
                let channel = endpoint
                    .connect_timeout(self.patience)
                    .tcp_nodelay(true)
                    // A machine that vanished sends no reset: calls would hang until TCP gives up.
                    .http2_keep_alive_interval(self.patience)
                    .keep_alive_timeout(self.patience)
                    .keep_alive_while_idle(true)
                    .initial_stream_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(2 * WINDOW_BYTES)
                    .connect_lazy();
                let line = Line { address, channel: channel.clone(), failing_since: None };
                lines.insert((node, traffic), line);
                channel
            }
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// A call on a channel was answered.
    pub(crate) fn note_answered(&self, node: NodeId, traffic: Traffic) {
        if let Some(line) = self.lines.lock().get_mut(&(node, traffic)) {
            line.failing_since = None;
        }
    }

    /// A call on a channel failed or was not answered in time. One late answer means little; when there was none for
    /// long, the channel is forgotten with whatever hangs in it, and the next call dials anew, perhaps elsewhere.
    pub(crate) fn note_failed(&self, node: NodeId, traffic: Traffic) {
        let mut lines = self.lines.lock();
        let Some(line) = lines.get_mut(&(node, traffic)) else { return };
        let since = *line.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.patience {
            lines.remove(&(node, traffic));
            *self.given_up.lock().entry(node).or_default() += 1;
        }
    }

    /// A call was not answered within `waited`, which its caller chose: only that of a patient one says anything.
    pub(crate) fn note_unanswered(&self, node: NodeId, traffic: Traffic, waited: Duration) {
        if waited >= self.patience {
            self.note_failed(node, traffic);
        }
    }

    /// Forgets a channel whose stream answered nothing within its deadline.
    pub(crate) fn drop_channel(&self, node: NodeId, traffic: Traffic) {
        self.lines.lock().remove(&(node, traffic));
    }

    /// Logs when a node becomes unreachable for replication, and when it is back.
    pub(crate) fn note_reachable(&self, node: NodeId, error: Option<&impl std::fmt::Display>) {
        let mut unreachable = self.unreachable.lock();
        match error {
            Some(error) if unreachable.insert(node) => {
                tracing::warn!(node, %error, "a node cannot be replicated to")
            }
            None if unreachable.remove(&node) => tracing::info!(node, "a node can be replicated to again"),
            _ => {}
        }
    }

    /// `node` has told the leader of `vote` that all up to `matched` is on its disk.
    pub(crate) fn note_acknowledged(&self, node: NodeId, vote: &Vote, matched: LogId) {
        let mut all = self.acknowledged.lock();
        let known = all.get(&node).is_some_and(|(then, known)| then == vote && known.index >= matched.index);
        if !known {
            all.insert(node, (*vote, matched));
        }
    }

    /// The last entry that `node` has acknowledged to the leader of `vote`, which is this process.
    pub(crate) fn acknowledged(&self, node: NodeId, vote: &Vote) -> Option<LogId> {
        let all = self.acknowledged.lock();
        all.get(&node).filter(|(then, _)| then == vote).map(|(_, matched)| *matched)
    }

    /// Counts as [`Self::is_sending_snapshot`] until what it returns is dropped.
    pub(crate) fn begin_snapshot(&self) -> SendingSnapshot<'_> {
        self.sending_snapshots.fetch_add(1, Ordering::Relaxed);
        SendingSnapshot(self)
    }

    /// Whether some node is being sent a snapshot.
    pub(crate) fn is_sending_snapshot(&self) -> bool {
        self.sending_snapshots.load(Ordering::Relaxed) > 0
    }
}

/// A snapshot on its way.
pub(crate) struct SendingSnapshot<'p>(&'p Peers);

impl Drop for SendingSnapshot<'_> {
    fn drop(&mut self) {
        self.0.sending_snapshots.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::{ClusterTime, Command, Member, Proposal, State};

    use super::super::replica::Applied;
    use super::super::types::StoredMembership;
    use super::*;

    fn peers(announced: &str, settings: &str) -> Peers {
        let mut state = State::new();
        let member = Member {
            incarnation: 1,
            client_address: String::new(),
            peer_address: announced.to_owned(),
            admin_address: String::new(),
            version: String::new(),
        };
        state.apply(1, Proposal { stamp: ClusterTime(1), command: Command::Announce { node: 2, member } });
        let applied = Applied { state, log_id: None, membership: StoredMembership::default() };
        let settings = BTreeMap::from([(2, settings.to_owned())]);
        Peers::new(Arc::new(Replica::new(applied)), settings, Duration::ZERO)
    }

    #[tokio::test]
    async fn a_node_that_moved_is_looked_for_where_the_settings_say() {
        let peers = peers("old:1", "new:1");
        assert_eq!(peers.address(2).as_deref(), Some("old:1"));
        peers.client(2, Traffic::Control).unwrap();
        peers.note_failed(2, Traffic::Control);
        assert_eq!(peers.address(2).as_deref(), Some("new:1"));
        peers.client(2, Traffic::Control).unwrap();
        peers.note_failed(2, Traffic::Control);
        assert_eq!(peers.address(2).as_deref(), Some("old:1"), "and in turn");
        assert_eq!(peers.address(3), None);
        peers.note_said(2, "newest:1");
        peers.note_said(2, "no address");
        assert_eq!(peers.address(2).as_deref(), Some("newest:1"));
    }

    #[tokio::test]
    async fn a_stranger_is_not_noted() {
        let peers = peers("a:1", "a:1");
        peers.note_said(3, "somewhere:1");
        assert_eq!((peers.address(3), peers.said.lock().len()), (None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_without_patience_cost_no_channel() {
        let patience = Duration::from_secs(1);
        let peers = Peers { patience, ..peers("a:1", "b:1") };
        peers.client(2, Traffic::Forward).unwrap();
        for _ in 0..2_000 {
            peers.note_unanswered(2, Traffic::Forward, Duration::from_millis(1));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(peers.lines.lock().contains_key(&(2, Traffic::Forward)));
        assert_eq!(peers.address(2).as_deref(), Some("a:1"));
        for _ in 0..2 {
            peers.note_unanswered(2, Traffic::Forward, patience);
            tokio::time::advance(patience).await;
        }
        assert!(!peers.lines.lock().contains_key(&(2, Traffic::Forward)), "no answer for a second");
    }

    #[tokio::test]
    async fn one_late_answer_costs_no_channel() {
        let peers = Peers { patience: Duration::from_secs(60), ..peers("a:1", "a:1") };
        peers.client(2, Traffic::Control).unwrap();
        peers.note_failed(2, Traffic::Control);
        assert!(peers.lines.lock().contains_key(&(2, Traffic::Control)));
        peers.note_answered(2, Traffic::Control);
        assert!(peers.lines.lock().values().all(|line| line.failing_since.is_none()));
    }
}
