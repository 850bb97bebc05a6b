//! Who this node is, and the check that every call between nodes passes (design: cluster id, node ids, incarnations).

use std::sync::Arc;

use quorate_proto::peer::v1::Envelope;
use quorate_state::NodeId;
use tokio::sync::watch;
use tonic::Status;

use super::replica::Replica;

/// This node's identity, and what it knows of the others'.
pub(crate) struct Identity {
    pub(crate) cluster: u64,
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    replica: Arc<Replica>,
    /// Set when a peer proves that this data directory is not the one the cluster knows, or an older copy of it.
    stopped: watch::Sender<Option<String>>,
}

impl Identity {
    pub(crate) fn new(cluster: u64, node: NodeId, incarnation: u64, replica: Arc<Replica>) -> Self {
        Identity { cluster, node, incarnation, replica, stopped: watch::Sender::new(None) }
    }

    /// The incarnation on record for `node`; 0 when it never announced itself.
    pub(crate) fn recorded(&self, node: NodeId) -> u64 {
        self.replica.read().state.members().get(&node).map_or(0, |member| member.incarnation)
    }

    /// Whether this data directory is the one that the cluster has on record for this node, as far as is known here.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded(self.node) == self.incarnation
    }

    /// The envelope of a call to `to`.
    pub(crate) fn envelope(&self, to: NodeId) -> Envelope {
        Envelope {
            cluster: self.cluster,
            from: self.node,
            to,
            from_incarnation: self.incarnation,
            to_incarnation: self.recorded(to),
        }
    }

    /// Checks a received envelope.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` that says what does not match and what to do.
    pub(crate) fn check(&self, envelope: Option<&Envelope>) -> Result<(), Status> {
        let Some(envelope) = envelope else {
            return Err(Status::invalid_argument(
                "the call carries no envelope: the caller is not a Quorate node",
            ));
        };
        if envelope.cluster != self.cluster {
            return Err(Status::failed_precondition(format!(
                "this node belongs to cluster {:016x}, the caller to {:016x}: check cluster-name and members on both",
                self.cluster, envelope.cluster
            )));
        }
        if envelope.to != self.node {
            return Err(Status::failed_precondition(format!(
                "this is node {}, the caller wants node {}: check the members' addresses",
                self.node, envelope.to
            )));
        }
        if envelope.to_incarnation != 0 && envelope.to_incarnation != self.incarnation {
            let message = replaced_message(self.node, envelope.to_incarnation, self.incarnation);
            // Once the cluster itself has put this directory on record, a caller who says otherwise is behind.
            if !self.is_recorded() {
                self.stop(message.clone());
            }
            return Err(Status::failed_precondition(message));
        }
        let recorded = self.recorded(envelope.from);
        if recorded != 0 && recorded != envelope.from_incarnation {
            return Err(Status::failed_precondition(replaced_message(
                envelope.from,
                recorded,
                envelope.from_incarnation,
            )));
        }
        Ok(())
    }

    /// Tells the process that the cluster knows this node under another incarnation.
    pub(crate) fn set_replaced(&self, recorded: u64) {
        self.stop(replaced_message(self.node, recorded, self.incarnation));
    }

    /// Tells the process to stop, and why.
    pub(crate) fn stop(&self, message: String) {
        self.stopped.send_replace(Some(message));
    }

    /// Becomes `Some` when this node must stop: its data directory is not the one the cluster knows.
    pub(crate) fn watch_stopped(&self) -> watch::Receiver<Option<String>> {
        self.stopped.subscribe()
    }
}

/// What to do when a node id comes back with another data directory.
pub(crate) fn replaced_message(node: NodeId, recorded: u64, found: u64) -> String {
    format!(
        "node {node} is known to the cluster by the data directory with incarnation {recorded:016x}, but has \
         {found:016x}: it lost its disk or runs on another one. It must not vote twice: put the disk itself back \
         (never an older copy of it), or bring the machine back under a new node id with an empty data directory"
    )
}

/// What to do when a node id comes back with an older copy of its data directory.
pub(crate) fn reverted_message(node: NodeId, acknowledged: u64, end: u64) -> String {
    format!(
        "node {node} has acknowledged log entries up to index {acknowledged}, but its log ends at {end}: its disk was \
         replaced by an older copy. Writes would be lost if it voted: bring the machine back under a new node id with \
         an empty data directory"
    )
}
