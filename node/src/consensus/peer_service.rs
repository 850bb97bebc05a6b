//! The peer listener: what the other nodes call.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures_util::future::{BoxFuture, ready};
use futures_util::{Stream, StreamExt as _, stream};
use openraft::raft::{SnapshotResponse, StreamAppendError, TransferLeaderRequest, VoteRequest};
use quorate_proto::peer::v1 as peer;
use quorate_proto::peer::v1::peer_server::Peer;
use quorate_proto::v1;
use quorate_state::{Command, Member, Outcome, Refusal};
use quorate_storage::SnapshotReader;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::handle::Consensus;
use super::identity::{Identity, replaced_message, reverted_message};
use super::payload::{decode_entry, decode_meta};
use super::peers::Peers;
use super::persister::Persister;
use super::snapshot_data::SnapshotData;
use super::types::{
    AppendRequest, AppendResult, Raft, Snapshot, SnapshotMeta, log_id_from_wire, log_id_to_wire,
    vote_from_storage, vote_from_wire, vote_to_wire,
};

/// Implemented by the services: runs an operation that another node forwarded. It is never forwarded again.
pub trait ForwardHandler: Send + Sync + 'static {
    /// Answers `operation`, refusals and errors included.
    fn handle(&self, operation: v1::Operation) -> BoxFuture<'static, v1::Answer>;
}

/// Serves the peer protocol: at first Hello alone, so that nodes which start together can greet each other before any
/// of them trusts its own data directory; everything once [`PeerService::open`] was called.
#[derive(Clone)]
pub(crate) struct PeerService {
    identity: Arc<Identity>,
    peers: Arc<Peers>,
    core: Arc<OnceLock<Core>>,
}

/// What all but Hello needs.
pub(crate) struct Core {
    pub(crate) raft: Raft,
    pub(crate) consensus: Consensus,
    pub(crate) persister: Arc<Persister>,
    pub(crate) forward: Arc<dyn ForwardHandler>,
    /// Until then this process does not vote: it may have promised a lease before it restarted.
    pub(crate) votes_from: Instant,
}

impl PeerService {
    pub(crate) fn new(identity: Arc<Identity>, peers: Arc<Peers>) -> Self {
        PeerService { identity, peers, core: Arc::default() }
    }

    /// Serves everything from now on.
    pub(crate) fn open(&self, core: Core) {
        // Called once; a second core would be dropped.
        let _ = self.core.set(core);
    }

    /// Checks who calls whom.
    fn admit(&self, envelope: Option<&peer::Envelope>) -> Result<&Core, Status> {
        self.identity.check(envelope)?;
        self.core.get().ok_or_else(|| Status::failed_precondition("this node is starting"))
    }
}

impl PeerService {
    /// Refuses to go on when the leader has seen this node acknowledge more than its log holds.
    fn check_reverted(&self, core: &Core, message: &peer::AppendRequest) -> Result<(), Status> {
        let (Some(acknowledged), Some(vote)) = (message.acknowledged, message.vote) else { return Ok(()) };
        // A leader that was voted out does not know what its successor has truncated.
        let log = &core.consensus.inner.log;
        if log.vote().map(vote_from_storage).is_some_and(|own| own > vote_from_wire(vote)) {
            return Ok(());
        }
        let end = log.last().map_or(0, |last| last.index);
        if end >= acknowledged.index {
            return Ok(());
        }
        let message = reverted_message(self.identity.node, acknowledged.index, end);
        self.identity.stop(message.clone());
        Err(Status::failed_precondition(message))
    }
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn malformed(what: &str) -> Status {
    Status::invalid_argument(format!("malformed peer message: {what}"))
}

fn append_request(message: peer::AppendRequest) -> Result<AppendRequest, Status> {
    let vote = message.vote.map(vote_from_wire).ok_or_else(|| malformed("an append without a vote"))?;
    let entries = message
        .entries
        .into_iter()
        .map(|entry| {
            let id = entry.id.map(log_id_from_wire).ok_or_else(|| malformed("an entry without an id"))?;
            // A copy: the message's buffer must not live as long as the entry.
            let payload = bytes::Bytes::copy_from_slice(&entry.payload);
            decode_entry(id, payload).map_err(|error| malformed(&error.to_string()))
        })
        .collect::<Result<Vec<_>, Status>>()?;
    Ok(AppendRequest {
        vote,
        prev_log_id: message.previous.map(log_id_from_wire),
        leader_commit: message.committed.map(log_id_from_wire),
        entries,
    })
}

fn append_response(result: AppendResult) -> peer::AppendResponse {
    use peer::append_response::Result as Answer;
    let result = match result {
        Ok(matched) => Answer::Success(peer::AppendSuccess { matched: matched.as_ref().map(log_id_to_wire) }),
        Err(StreamAppendError::Conflict(at)) => Answer::Conflict(log_id_to_wire(&at)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote_to_wire(&vote)),
    };
    peer::AppendResponse { result: Some(result) }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node's consensus has stopped: {error}"))
}

/// The requests of an append stream until the first malformed one, each held back while the node is over budget.
fn append_requests(
    first: AppendRequest,
    rest: Streaming<peer::AppendRequest>,
    core: &Core,
) -> impl Stream<Item = AppendRequest> + Send + 'static {
    let rest = rest.map(|message| match message.map(append_request) {
        Ok(Ok(request)) => Some(request),
        Ok(Err(status)) => {
            tracing::warn!(reason = status.message(), "the leader sent what cannot be read: its stream ends");
            None
        }
        Err(status) => {
            tracing::debug!(reason = status.message(), "an append stream ends");
            None
        }
    });
    let rest = rest.take_while(|request| ready(request.is_some())).filter_map(ready);
    let (consensus, persister) = (core.consensus.clone(), Arc::clone(&core.persister));
    stream::once(async { first }).chain(rest).then(move |request| {
        let (consensus, persister) = (consensus.clone(), Arc::clone(&persister));
        async move {
            consensus.note_leader_heard();
            persister.within_budget().await;
            request
        }
    })
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = ResponseStream<peer::AppendResponse>;

    async fn append(
        &self,
        request: Request<Streaming<peer::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.ok_or_else(|| malformed("an empty append stream"))?;
        let core = self.admit(first.envelope.as_ref())?;
        self.check_reverted(core, &first)?;
        let requests = append_requests(append_request(first)?, messages, core);
        let results = core.raft.stream_append(Box::pin(requests));
        let responses = results.map(|result| result.map(append_response).map_err(stopped));
        Ok(Response::new(Box::pin(responses)))
    }

    async fn heartbeat(
        &self,
        request: Request<peer::AppendRequest>,
    ) -> Result<Response<peer::AppendResponse>, Status> {
        let message = request.into_inner();
        let core = self.admit(message.envelope.as_ref())?;
        self.check_reverted(core, &message)?;
        let request = append_request(message)?;
        if !request.entries.is_empty() {
            return Err(malformed("a heartbeat with entries"));
        }
        let (previous, last) = (request.prev_log_id, request.prev_log_id);
        let response = core.raft.append_entries(request).await.map_err(stopped)?;
        let result = response.into_stream_result(previous, last);
        if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
            core.consensus.note_leader_heard();
        }
        Ok(Response::new(append_response(result)))
    }

    async fn vote(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<Response<peer::VoteResponse>, Status> {
        let message = request.into_inner();
        let core = self.admit(message.envelope.as_ref())?;
        if Instant::now() < core.votes_from {
            return Err(Status::unavailable("this node has just started: it votes after one lease"));
        }
        let vote =
            message.vote.map(vote_from_wire).ok_or_else(|| malformed("a vote request without a vote"))?;
        let request = VoteRequest {
            vote,
            last_log_id: message.last_log.map(log_id_from_wire),
            leadership_transfer: message.leadership_transfer,
        };
        let answer = if message.pre_vote {
            core.raft.pre_vote(request).await.map_err(stopped)?
        } else {
            core.raft.vote(request).await.map_err(stopped)?
        };
        Ok(Response::new(peer::VoteResponse {
            vote: Some(vote_to_wire(&answer.vote)),
            last_log: answer.last_log_id.as_ref().map(log_id_to_wire),
            granted: answer.vote_granted,
        }))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<peer::SnapshotChunk>>,
    ) -> Result<Response<peer::SnapshotResponse>, Status> {
        let started = Instant::now();
        let mut chunks = request.into_inner();
        let first = chunks.message().await?.ok_or_else(|| malformed("an empty snapshot"))?;
        let core = self.admit(first.envelope.as_ref())?;
        let vote = first.vote.map(vote_from_wire).ok_or_else(|| malformed("a snapshot without a vote"))?;
        let refused =
            |error: &dyn std::fmt::Display| Status::data_loss(format!("the snapshot is damaged: {error}"));
        let mut reader = SnapshotReader::new();
        reader.push(&first.data).map_err(|error| refused(&error))?;
        let mut bytes = first.data.len();
        while let Some(chunk) = chunks.message().await? {
            bytes += chunk.data.len();
            reader.push(&chunk.data).map_err(|error| refused(&error))?;
        }
        let (position, state) = reader.finish().map_err(|error| refused(&error))?;
        let (last_log_id, last_membership) = decode_meta(&position.meta).map_err(|error| refused(&error))?;
        let meta = SnapshotMeta { last_log_id, last_membership };
        let (index, sessions) = (position.index, state.live_sessions());
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(Box::new(state)) };
        let SnapshotResponse { vote } =
            core.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        tracing::info!(index, sessions, bytes, took = ?started.elapsed(), "installed a snapshot from the leader");
        Ok(Response::new(peer::SnapshotResponse { vote: Some(vote_to_wire(&vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<peer::TransferLeaderRequest>,
    ) -> Result<Response<peer::TransferLeaderResponse>, Status> {
        let message = request.into_inner();
        let core = self.admit(message.envelope.as_ref())?;
        let from =
            message.from_leader.map(vote_from_wire).ok_or_else(|| malformed("a transfer without a vote"))?;
        let request =
            TransferLeaderRequest::new(from, message.to_node, message.last_log.map(log_id_from_wire));
        let accepted = core.raft.handle_transfer_leader(request).await.map_err(stopped)?.is_ok();
        Ok(Response::new(peer::TransferLeaderResponse { accepted }))
    }

    async fn forward(
        &self,
        request: Request<peer::ForwardRequest>,
    ) -> Result<Response<peer::ForwardResponse>, Status> {
        let message = request.into_inner();
        let core = self.admit(message.envelope.as_ref())?;
        let operation = message.operation.ok_or_else(|| malformed("a forward without an operation"))?;
        // Not in a task of its own: a caller who goes away leaves the line for a lock. What is proposed stays proposed.
        let answer = core.forward.handle(operation).await;
        Ok(Response::new(peer::ForwardResponse { answer: Some(answer) }))
    }

    async fn announce(
        &self,
        request: Request<peer::AnnounceRequest>,
    ) -> Result<Response<peer::AnnounceResponse>, Status> {
        let message = request.into_inner();
        let core = self.admit(message.envelope.as_ref())?;
        let announcement = message.announcement.ok_or_else(|| malformed("an empty announcement"))?;
        if message.envelope.is_none_or(|envelope| envelope.from != announcement.node) {
            return Err(malformed("an announcement of somebody else"));
        }
        let (node, incarnation) = (announcement.node, announcement.incarnation);
        let member = Member {
            incarnation,
            client_address: announcement.client_address,
            peer_address: announcement.peer_address,
            admin_address: announcement.admin_address,
            version: announcement.version,
        };
        let applied = core.consensus.propose(Command::Announce { node, member }).await;
        match applied.map_err(|error| Status::unavailable(error.to_string()))?.outcome {
            Outcome::Refused(Refusal::IncarnationMismatch { recorded }) => {
                Err(Status::failed_precondition(replaced_message(node, recorded, incarnation)))
            }
            _ => Ok(Response::new(peer::AnnounceResponse {})),
        }
    }

    async fn hello(
        &self,
        request: Request<peer::HelloRequest>,
    ) -> Result<Response<peer::HelloResponse>, Status> {
        let message = request.into_inner();
        let Some(envelope) = message.envelope else {
            return Err(malformed("a hello without an envelope"));
        };
        if envelope.cluster != self.identity.cluster || envelope.to != self.identity.node {
            self.identity.check(Some(&envelope))?;
        }
        let recorded = self.identity.recorded(envelope.from);
        if recorded == 0 || recorded == envelope.from_incarnation {
            self.peers.note_said(envelope.from, &message.peer_address);
        }
        Ok(Response::new(peer::HelloResponse {
            incarnation: self.identity.incarnation,
            your_incarnation: recorded,
        }))
    }

    async fn time(
        &self,
        request: Request<peer::TimeRequest>,
    ) -> Result<Response<peer::TimeResponse>, Status> {
        let core = self.admit(request.into_inner().envelope.as_ref())?;
        let clock = &core.consensus.inner.clock;
        // In this order: what is estimated while this node leads is its own, as what it stamps.
        let leads_in_term = clock.leads();
        let estimate_ms = clock.estimate().map(|estimate| estimate.0);
        let wall_ms = clock.wall().wall_ms;
        Ok(Response::new(peer::TimeResponse { estimate_ms, wall_ms, leads_in_term }))
    }
}
