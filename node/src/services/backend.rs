//! What the services need of consensus. A seam: tests put a scripted backend here, the node puts [`Consensus`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use quorate_proto::v1;
use quorate_state::{Clocks, Command, State};

use crate::consensus::{
    Applied, Consensus, ForwardError, Leader, LockWaits, ProposeError, ReadError, WaitError,
};

/// Results of submitted commands, one per command, in the order of submission.
pub(crate) type Results = BoxStream<'static, Result<Applied, ProposeError>>;

/// See the methods of the same names of [`Consensus`].
pub(crate) trait Backend: Clone + Send + Sync + 'static {
    fn cluster_id(&self) -> u64;
    fn leader(&self) -> Option<Leader>;
    fn is_ready(&self) -> bool;
    /// The state together with the index of the last entry applied to it.
    fn with_applied<R>(&self, read: impl FnOnce(&State, u64) -> R) -> R;
    fn now(&self) -> Clocks;
    /// How old this node's state may be; `None` when it does not know.
    fn staleness(&self) -> Option<Duration>;
    /// Who waits for a lock on this node.
    fn lock_waits(&self) -> &Arc<LockWaits>;
    fn submit(&self, commands: Vec<Command>) -> impl Future<Output = Result<Results, ProposeError>> + Send;
    fn linearizable(&self) -> impl Future<Output = Result<(), ReadError>> + Send;
    fn tick(&self) -> impl Future<Output = Result<(), ProposeError>> + Send;
    fn wait_applied(
        &self,
        index: u64,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), WaitError>> + Send;
    fn forward(
        &self,
        operation: v1::Operation,
        remaining: Duration,
    ) -> impl Future<Output = Result<v1::Answer, ForwardError>> + Send;

    /// Whether this node leads, as far as it knows.
    fn leads(&self) -> bool {
        self.leader().is_some_and(|leader| leader.is_self)
    }
}

impl Backend for Consensus {
    fn cluster_id(&self) -> u64 {
        Consensus::cluster_id(self)
    }

    fn leader(&self) -> Option<Leader> {
        Consensus::leader(self)
    }

    fn is_ready(&self) -> bool {
        Consensus::is_ready(self)
    }

    fn with_applied<R>(&self, read: impl FnOnce(&State, u64) -> R) -> R {
        Consensus::with_applied(self, read)
    }

    fn now(&self) -> Clocks {
        Consensus::now(self)
    }

    fn staleness(&self) -> Option<Duration> {
        Consensus::staleness(self)
    }

    fn lock_waits(&self) -> &Arc<LockWaits> {
        Consensus::lock_waits(self)
    }

    async fn submit(&self, commands: Vec<Command>) -> Result<Results, ProposeError> {
        Consensus::submit(self, commands).await
    }

    async fn linearizable(&self) -> Result<(), ReadError> {
        Consensus::linearizable(self).await
    }

    async fn tick(&self) -> Result<(), ProposeError> {
        Consensus::tick(self).await
    }

    async fn wait_applied(&self, index: u64, timeout: Duration) -> Result<(), WaitError> {
        Consensus::wait_applied(self, index, timeout).await
    }

    async fn forward(
        &self,
        operation: v1::Operation,
        remaining: Duration,
    ) -> Result<v1::Answer, ForwardError> {
        Consensus::forward(self, operation, remaining).await
    }
}
