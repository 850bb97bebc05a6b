//! openraft's network: peer calls over long-lived channels, every deadline enforced here.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::ready;
use futures_util::{Stream, StreamExt as _, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesResponse, SnapshotResponse, StreamAppendError, VoteRequest, VoteResponse};
use parking_lot::Mutex;
use quorate_proto::peer::v1 as peer;
use quorate_proto::peer::v1::peer_client::PeerClient;
use quorate_state::NodeId;
use quorate_storage::SnapshotWriter;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::identity::Identity;
use super::payload::{encode_meta, encode_payload};
use super::peers::{Peers, Traffic};
use super::snapshot_data::SnapshotData;
use super::timers::Timers;
use super::types::{
    AppendRequest, AppendResult, LogId, PeerNode, RpcError, Snapshot, TypeConfig, Unreachable, Vote,
    log_id_from_wire, log_id_to_wire, vote_from_wire, vote_to_wire,
};

type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
type TransferResponse = openraft::raft::TransferLeaderResponse<TypeConfig>;

/// Makes the clients that openraft replicates with.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) identity: Arc<Identity>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) timers: Timers,
}

impl Network {
    fn peer(&self, target: NodeId, traffic: Traffic) -> PeerNetwork {
        PeerNetwork { network: self.clone(), target, traffic }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: NodeId, _node: &PeerNode) -> PeerNetwork {
        self.peer(target, Traffic::Append)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, _node: &PeerNode) -> PeerNetwork {
        self.peer(target, Traffic::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, _node: &PeerNode) -> PeerNetwork {
        self.peer(target, Traffic::Snapshot)
    }
}

/// openraft's way to one peer.
pub(crate) struct PeerNetwork {
    network: Network,
    target: NodeId,
    traffic: Traffic,
}

fn unreachable(message: impl ToString) -> RpcError {
    RpcError::Unreachable(Unreachable::from_string(message))
}

impl PeerNetwork {
    fn client(&self, traffic: Traffic) -> Result<PeerClient<Channel>, RpcError> {
        self.network.peers.client(self.target, traffic).map_err(unreachable)
    }

    fn greeting(&self, vote: &Vote) -> Greeting {
        Greeting {
            envelope: self.network.identity.envelope(self.target),
            acknowledged: self.network.peers.acknowledged(self.target, vote),
        }
    }

    /// Runs a call within `deadline`.
    async fn bounded<T>(
        &self,
        traffic: Traffic,
        deadline: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RpcError> {
        let fault = match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => {
                self.network.peers.note_answered(self.target, traffic);
                return Ok(response.into_inner());
            }
            Ok(Err(status)) => format!("node {}: {}", self.target, status.message()),
            Err(_) => format!("node {} did not answer within {deadline:?}", self.target),
        };
        self.network.peers.note_failed(self.target, traffic);
        Err(unreachable(fault))
    }

    async fn ask_for_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        option: &RPCOption,
        pre_vote: bool,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Traffic::Control)?;
        let message = peer::VoteRequest {
            envelope: Some(self.network.identity.envelope(self.target)),
            vote: Some(vote_to_wire(&request.vote)),
            last_log: request.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: request.leadership_transfer,
            pre_vote,
        };
        let answer = self.bounded(Traffic::Control, option.soft_ttl(), client.vote(message)).await?;
        let vote =
            answer.vote.map(vote_from_wire).ok_or_else(|| unreachable("a vote response without a vote"))?;
        Ok(VoteResponse {
            vote,
            vote_granted: answer.granted,
            last_log_id: answer.last_log.map(log_id_from_wire),
        })
    }
}

/// What is in flight on one append stream: when each unanswered request was sent.
#[derive(Default)]
struct InFlight {
    sent: Mutex<VecDeque<Instant>>,
}

/// What a heartbeat, or the first message of a stream, says beside the request itself.
struct Greeting {
    envelope: peer::Envelope,
    acknowledged: Option<LogId>,
}

fn append_to_wire(greeting: Option<Greeting>, request: AppendRequest) -> peer::AppendRequest {
    let (envelope, acknowledged) =
        greeting.map(|greeting| (greeting.envelope, greeting.acknowledged)).unzip();
    peer::AppendRequest {
        envelope,
        acknowledged: acknowledged.flatten().as_ref().map(log_id_to_wire),
        vote: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_wire),
        committed: request.leader_commit.as_ref().map(log_id_to_wire),
        entries: request
            .entries
            .into_iter()
            .map(|entry| peer::Entry {
                payload: encode_payload(&entry.payload),
                id: Some(log_id_to_wire(&entry.log_id)),
            })
            .collect(),
    }
}

fn append_from_wire(response: peer::AppendResponse) -> Result<AppendResult, RpcError> {
    use peer::append_response::Result as Answer;
    match response.result {
        Some(Answer::Success(success)) => Ok(Ok(success.matched.map(log_id_from_wire))),
        Some(Answer::Conflict(at)) => Ok(Err(StreamAppendError::Conflict(log_id_from_wire(at)))),
        Some(Answer::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(vote_from_wire(vote)))),
        None => Err(unreachable("an append response without a result")),
    }
}

type Answers<'s> = Pin<Box<dyn Stream<Item = Result<AppendResult, RpcError>> + Send + 's>>;

fn boxed<'s>(answers: impl Stream<Item = Result<AppendResult, RpcError>> + Send + 's) -> Answers<'s> {
    Box::pin(answers)
}

/// The state of one running append stream on the leader.
struct Replication<'s> {
    peer: &'s PeerNetwork,
    vote: Vote,
    responses: tonic::Streaming<peer::AppendResponse>,
    in_flight: Arc<InFlight>,
    deadline: Duration,
}

impl Replication<'_> {
    /// The next answer. Fails when the oldest request in flight has waited longer than the deadline.
    async fn next(&mut self) -> Option<Result<AppendResult, RpcError>> {
        loop {
            match tokio::time::timeout(self.deadline, self.responses.next()).await {
                Ok(Some(Ok(response))) => {
                    self.in_flight.sent.lock().pop_front();
                    let answer = append_from_wire(response);
                    if let Ok(Ok(Some(matched))) = &answer {
                        self.peer.network.peers.note_acknowledged(self.peer.target, &self.vote, *matched);
                    }
                    return Some(answer);
                }
                Ok(Some(Err(status))) => {
                    return Some(Err(unreachable(format!(
                        "node {}: {}",
                        self.peer.target,
                        status.message()
                    ))));
                }
                Ok(None) => return None,
                Err(_) => {
                    let oldest = self.in_flight.sent.lock().front().copied();
                    if oldest.is_some_and(|sent| sent.elapsed() >= self.deadline) {
                        self.peer.network.peers.drop_channel(self.peer.target, Traffic::Append);
                        let message = format!(
                            "node {} answered no append within {:?}",
                            self.peer.target, self.deadline
                        );
                        return Some(Err(unreachable(message)));
                    }
                }
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotData;

    /// Heartbeats only; entries go through [`Self::stream_append`].
    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Traffic::Control)?;
        let message = append_to_wire(Some(self.greeting(&rpc.vote)), rpc);
        let answer = self.bounded(Traffic::Control, option.soft_ttl(), client.heartbeat(message)).await?;
        Ok(append_from_wire(answer)?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<AppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        if self.traffic == Traffic::Control {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        let peer: &'s PeerNetwork = self;
        Box::pin(async move {
            let mut input = input;
            // openraft's pause after an error happens where its requests are made: take the first one before
            // dialling, or a peer that refuses connections is dialled without a pause.
            let Some(first) = input.next().await else {
                return Ok(boxed(stream::empty()));
            };
            let mut client = peer.client(Traffic::Append)?;
            let in_flight = Arc::new(InFlight::default());
            let vote = first.vote;
            let mut greeting = Some(peer.greeting(&vote));
            let sent = Arc::clone(&in_flight);
            let requests = stream::once(ready(first)).chain(input).map(move |request| {
                sent.sent.lock().push_back(Instant::now());
                append_to_wire(greeting.take(), request)
            });
            let deadline = peer.network.timers.append_deadline;
            let opened = peer.bounded(Traffic::Append, deadline, client.append(requests)).await;
            peer.network.peers.note_reachable(peer.target, opened.as_ref().err());
            let responses = opened?;
            let replication = Replication { peer, vote, responses, in_flight, deadline };
            let answers = stream::unfold(Some(replication), |replication| async move {
                let mut replication = replication?;
                let answer = replication.next().await?;
                let last = !matches!(answer, Ok(Ok(_)));
                Some((answer, (!last).then_some(replication)))
            });
            Ok(boxed(answers))
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_for_vote(rpc, &option, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask_for_vote(rpc, &option, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::View(frozen) = snapshot.snapshot else {
            return Err(StreamingError::Unreachable(Unreachable::from_string(
                "a received snapshot is not sent on",
            )));
        };
        let mut client = self.client(Traffic::Snapshot).map_err(streaming)?;
        let position = quorate_storage::AppliedPosition {
            index: snapshot.meta.last_log_id.as_ref().map_or(0, |id: &LogId| id.index),
            meta: encode_meta(snapshot.meta.last_log_id.as_ref(), &snapshot.meta.last_membership),
        };
        let envelope = self.network.identity.envelope(self.target);
        let mut head = Some((envelope, vote_to_wire(&vote)));
        let chunks = stream::iter(SnapshotWriter::new(position, frozen)).map(move |data| {
            let (envelope, vote) = head.take().unzip();
            peer::SnapshotChunk { envelope, vote, data }
        });
        let _sending = self.network.peers.begin_snapshot();
        let send =
            self.bounded(Traffic::Snapshot, self.network.timers.snapshot_deadline, client.snapshot(chunks));
        tokio::select! {
            answer = send => {
                let answer = answer.map_err(streaming)?;
                let vote = answer.vote.map(vote_from_wire).unwrap_or(vote);
                Ok(SnapshotResponse { vote })
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        _option: RPCOption,
    ) -> Result<TransferResponse, RpcError> {
        let mut client = self.client(Traffic::Control)?;
        let message = peer::TransferLeaderRequest {
            envelope: Some(self.network.identity.envelope(self.target)),
            from_leader: Some(vote_to_wire(request.from_leader())),
            to_node: *request.to_node_id(),
            last_log: request.last_log_id().map(log_id_to_wire),
        };
        let deadline = self.network.timers.append_deadline;
        let answer = self.bounded(Traffic::Control, deadline, client.transfer_leader(message)).await?;
        if answer.accepted {
            Ok(Ok(()))
        } else {
            Err(unreachable(format!("node {} did not accept the leadership", self.target)))
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let pause = self.network.timers.reconnect_pause;
        Some(Backoff::new(std::iter::repeat(pause)))
    }
}

fn streaming(error: RpcError) -> StreamingError<TypeConfig> {
    StreamingError::Unreachable(Unreachable::from_string(error))
}
