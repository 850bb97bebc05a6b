//! What nodes tell of themselves.

use std::time::Duration;

use quorate_proto::v1::StatusRequest;
use quorate_proto::v1::cluster_client::ClusterClient;

use crate::client::Client;
use crate::dialler::{Dialler, explain};
use crate::error::{Error, ErrorKind};

/// One node's view of itself and the cluster: `quorate.v1.StatusResponse`.
pub type NodeStatus = quorate_proto::v1::StatusResponse;

/// Asks one node.
pub(crate) async fn ask(
    dialler: Dialler,
    address: &str,
    request: StatusRequest,
    deadline: Duration,
) -> Result<NodeStatus, Error> {
    let asked = async {
        // There is no other node to turn to meanwhile: it has all the time there is to be reached.
        let dialler = Dialler { connect_timeout: deadline, ..dialler };
        let channel = dialler.endpoint(address)?.connect().await.map_err(|error| {
            Error::local(ErrorKind::Unavailable, format!("cannot reach {address}: {}", explain(&error)))
        })?;
        let response = ClusterClient::new(channel).status(request).await;
        response
            .map(tonic::Response::into_inner)
            .map_err(|status| Error::from_status(&status).without_effect())
    };
    match tokio::time::timeout(deadline, asked).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(Error::local(ErrorKind::Unavailable, format!("{address} did not answer within {deadline:?}")))
        }
    }
}

impl Client {
    /// Asks every known node for its view.
    pub async fn status(&self) -> Vec<(String, Result<NodeStatus, Error>)> {
        // All at once: one that is gone must not keep the others waiting.
        let ask = |address: String| async move {
            let status = self.status_of(&address, false, 0).await;
            (address, status)
        };
        futures_util::future::join_all(self.caller.router().endpoints().into_iter().map(ask)).await
    }

    /// Asks one node, `host:port`, for its view; with the digest of its state, once it has applied `at_least_index`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status_of(
        &self,
        address: &str,
        digest: bool,
        at_least_index: u64,
    ) -> Result<NodeStatus, Error> {
        let request = StatusRequest { digest, at_least_index };
        ask(self.caller.router().dialler(), address, request, self.caller.deadline()).await
    }
}
