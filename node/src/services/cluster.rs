//! `quorate.v1.Cluster`: this node's view of the cluster. Answers without a quorum too.

use quorate_proto::v1;
use quorate_proto::v1::cluster_server::Cluster;
use quorate_state::State;
use tonic::{Request, Response, Status};

use super::read::POSITION_WAIT_MAX;
use super::reasons;
use crate::consensus::{Consensus, MemberStatus};

/// The service.
#[derive(Clone)]
pub(crate) struct ClusterService(pub(crate) Consensus);

/// What is read of the state, all at one position.
struct Seen {
    applied_index: u64,
    sessions: u64,
    cluster_time_ms: u64,
    digest: String,
}

impl ClusterService {
    fn seen(&self, digest: bool) -> Seen {
        let look = |state: &State, applied_index| Seen {
            applied_index,
            sessions: state.live_sessions(),
            cluster_time_ms: state.clocks().cluster.0,
            digest: if digest { state.digest().to_string() } else { String::new() },
        };
        self.0.with_applied(look)
    }
}

/// A member, as consensus knows it and as it announced itself.
fn member(status: MemberStatus) -> v1::Member {
    let MemberStatus { node, peer_address, voter, announced, matched_index } = status;
    match announced {
        None => v1::Member { node, peer_address, voter, matched_index, ..Default::default() },
        Some(announced) => v1::Member {
            node,
            client_address: announced.client_address,
            peer_address: announced.peer_address,
            admin_address: announced.admin_address,
            voter,
            incarnation: format!("{:016x}", announced.incarnation),
            version: announced.version,
            matched_index,
        },
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let v1::StatusRequest { digest, at_least_index } = request.into_inner();
        if at_least_index > 0 {
            let waited = self.0.wait_applied(at_least_index, POSITION_WAIT_MAX).await;
            waited.map_err(|error| reasons::wait_failed(&error, at_least_index).into_status())?;
        }
        let status = self.0.status();
        let seen = self.seen(digest);
        Ok(Response::new(v1::StatusResponse {
            cluster: self.0.cluster_id(),
            node: self.0.node_id(),
            leader: self.0.leader().map_or(0, |leader| leader.node),
            term: status.term,
            last_log_index: status.last_log_index.max(seen.applied_index),
            applied_index: seen.applied_index,
            persisted_index: status.persisted_index,
            purged_index: status.purged_index,
            members: status.members.into_iter().map(member).collect(),
            sessions: seen.sessions,
            digest: seen.digest,
            cluster_time_ms: seen.cluster_time_ms,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: status.role.to_owned(),
        }))
    }
}
