//! Long-lived channels to the other nodes, a separate one for each kind of traffic, so that none delays another.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_state::NodeId;
use tonic::transport::{Channel, Endpoint};

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Traffic {
    /// The append stream.
    Append,
    /// Heartbeats, votes, leadership transfer, announcements.
    Control,
    /// Snapshots.
    Snapshot,
    /// Clients' operations on their way to the leader.
    Forward,
}

/// A message between nodes may be this long: a snapshot chunk or an append batch, with room to spare.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const WINDOW_BYTES: u32 = 8 << 20;

/// All channels of this node, opened on first use and kept.
#[derive(Default)]
pub(crate) struct Peers {
    channels: Mutex<HashMap<(NodeId, Traffic), (String, Channel)>>,
    /// Nodes whose append stream could not be opened: told once, not at each try.
    unreachable: Mutex<HashSet<NodeId>>,
}

impl Peers {
    /// A client for `node` at `address`; connects when first used and again after a failure.
    ///
    /// # Errors
    /// When `address` is no `host:port`.
    pub(crate) fn client(
        &self,
        node: NodeId,
        address: &str,
        traffic: Traffic,
    ) -> Result<PeerClient<Channel>, tonic::transport::Error> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(&(node, traffic)) {
            Some((known, channel)) if known == address => channel.clone(),
            _ => {
                let channel = Endpoint::from_shared(format!("http://{address}"))?
                    .connect_timeout(CONNECT_TIMEOUT)
                    .tcp_nodelay(true)
                    .initial_stream_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(2 * WINDOW_BYTES)
                    .connect_lazy();
                channels.insert((node, traffic), (address.to_owned(), channel.clone()));
                channel
            }
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Forgets a channel on which a deadline passed: whatever hangs in it dies with it, the next call dials anew.
    pub(crate) fn drop_channel(&self, node: NodeId, traffic: Traffic) {
        self.channels.lock().remove(&(node, traffic));
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
}
