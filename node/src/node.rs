//! One node: consensus, services and listeners, started and stopped together.

use std::net::SocketAddr;
use std::sync::Arc;

use quorate_state::Member;
use tokio::net::TcpListener;

use crate::admin;
use crate::config::Settings;
use crate::consensus::{Consensus, ForwardHandler, Running, StartError};
use crate::services::{ClientListener, Services};

/// A running node. Dropping it without [`Node::shutdown`] is like a crash: nothing acknowledged is lost.
pub struct Node {
    running: Running,
    services: Services,
    clients: ClientListener,
    admin: admin::Listener,
    addresses: Addresses,
}

/// Where a node really listens, in case port 0 was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// gRPC for clients.
    pub client: SocketAddr,
    /// gRPC for the other nodes.
    pub peer: SocketAddr,
    /// HTTP for health.
    pub admin: SocketAddr,
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Node {
    /// Opens the data directory, joins the cluster and serves. Returns before a leader is known; see
    /// [`Consensus::is_ready`].
    ///
    /// # Errors
    /// [`StartError`]: what is wrong, where, and what to do.
    pub async fn start(settings: &Settings) -> Result<Node, StartError> {
        let (client_listener, client) = listen(settings.client_listen).await?;
        let (peer_listener, peer) = listen(settings.peer_listen).await?;
        let (admin_listener, admin) = listen(settings.admin_listen).await?;
        let member = Member {
            incarnation: 0,
            client_address: settings.advertised_client(client),
            peer_address: settings.advertised_peer(peer),
            admin_address: settings.advertised_admin(admin),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut services = None;
        // Boxed: the futures within are too deep for the compiler to lay out in a caller's own.
        let running = Box::pin(Running::start(settings, peer_listener, member, |consensus| {
            let made = Services::new(consensus, settings.in_flight_bytes);
            services = Some(made.clone());
            Arc::new(made) as Arc<dyn ForwardHandler>
        }))
        .await?;
        let consensus = running.consensus.clone();
        let services = services.unwrap_or_else(|| Services::new(consensus.clone(), settings.in_flight_bytes));
        Ok(Node {
            clients: services.clone().serve(client_listener),
            services,
            admin: admin::serve(admin_listener, consensus),
            running,
            addresses: Addresses { client, peer, admin },
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The session operations, without a connection: see [`quorate_proto::SessionStore`].
    #[must_use]
    pub fn sessions(&self) -> &Services {
        &self.services
    }

    /// The handle of its consensus.
    #[must_use]
    pub fn consensus(&self) -> &Consensus {
        &self.running.consensus
    }

    /// Resolves with the reason when the node can go on no longer; the process should then exit.
    pub async fn failed(&self) -> String {
        self.running.failed().await
    }

    /// Stops in order: not ready any more, leadership handed over, no new calls, those in flight drained, the sessions
    /// persisted, the storage closed.
    pub async fn shutdown(self) {
        self.services.begin_stop();
        self.running.consensus.begin_stop().await;
        self.clients.stop().await;
        Box::pin(self.running.stop()).await;
        self.admin.stop().await;
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
