//! A cluster in memory, without Raft: nodes that fail on demand before one state that remembers request ids as the
//! real one does. What reached it and what took effect is recorded.

mod feed;
mod locks;
mod many;
mod node;
mod state;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_client::{Builder, Client};

pub(crate) use node::{Fault, Node};
pub(crate) use state::{Attempt, State};

/// The state that all nodes of a cluster share.
#[derive(Clone, Default)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
}

impl Cluster {
    /// Another node of this cluster, which leads until told otherwise.
    pub(crate) async fn node(&self) -> Node {
        Node::start(Arc::clone(&self.state)).await
    }

    /// Looks at the state.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock())
    }

    /// Changes the state behind the client's back.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock())
    }

    /// Every operation but OpenClient that reached any node, in order.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.look(|state| state.attempts.clone())
    }

    /// As if all client handles had gone unused for an hour.
    pub(crate) fn forget_clients(&self) {
        self.state.lock().clients.clear();
    }
}

/// Waits until `condition` holds; a test that waits in vain fails.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), met).await.expect("the condition is never met");
}

/// A client of these nodes, given in this order.
pub(crate) fn client(nodes: &[&Node]) -> Client {
    builder(nodes).build().expect("the addresses are valid")
}

/// As [`client`], to be told more.
pub(crate) fn builder(nodes: &[&Node]) -> Builder {
    Client::builder().endpoints(nodes.iter().map(|node| node.address()))
}
