//! A backend for tests: one real state, and a script of what else happens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use quorate_proto::v1;
use quorate_state::{APPLY_VERSION, Clocks, ClusterTime, Command, Outcome, Proposal, State};
use tokio::sync::{mpsc, oneshot, watch};

use super::backend::{Backend, Results};
use super::executor::Executor;
use crate::consensus::{
    Applied, ForwardError, ForwardHandler as _, Leader, LockWaits, ProposeError, ReadError, WaitError,
    is_throttled,
};

/// This cluster's id.
pub(crate) const CLUSTER: u64 = 77;

/// What happens to a submitted command.
enum Fate {
    Apply,
    Fail(ProposeError),
    /// Its result stream ends without a result.
    Vanish,
}

struct Inner {
    state: State,
    index: u64,
    now_ms: u64,
    staleness: Option<Duration>,
    hold_at: Option<fn(&Command) -> bool>,
    leader: Option<Leader>,
    no_quorum: bool,
    fates: VecDeque<Fate>,
    submits: usize,
    submitted: Vec<Command>,
    ticks: usize,
    tick_ms: u64,
    looks: usize,
    remote: Option<Scripted>,
    deposed_at: Option<usize>,
    forwarded: Vec<v1::Operation>,
}

type Job = (Command, oneshot::Sender<Result<Applied, ProposeError>>);

/// See the module.
#[derive(Clone)]
pub(crate) struct Scripted {
    inner: Arc<Mutex<Inner>>,
    queue: mpsc::UnboundedSender<Job>,
    gate: Arc<watch::Sender<bool>>,
    applied: Arc<watch::Sender<u64>>,
    lock_waits: Arc<LockWaits>,
    overloaded: Arc<watch::Sender<bool>>,
}

impl Scripted {
    /// A leader of one, at a cluster time of one hour.
    pub(crate) fn leader() -> Self {
        let leader = Some(Leader { node: 1, is_self: true, client_address: "here:7101".to_owned() });
        let (mut state, now_ms) = (State::new(), 3_600_000);
        let command = Command::RaiseApplyVersion { version: APPLY_VERSION };
        state.apply(0, Proposal { stamp: ClusterTime(now_ms), command });
        let inner = Inner {
            state,
            index: 0,
            now_ms,
            staleness: None,
            hold_at: None,
            leader,
            no_quorum: false,
            fates: VecDeque::new(),
            submits: 0,
            submitted: Vec::new(),
            ticks: 0,
            tick_ms: 0,
            looks: 0,
            remote: None,
            deposed_at: None,
            forwarded: Vec::new(),
        };
        let (queue, jobs) = mpsc::unbounded_channel();
        let scripted = Scripted {
            inner: Arc::new(Mutex::new(inner)),
            queue,
            gate: Arc::new(watch::Sender::new(true)),
            applied: Arc::new(watch::Sender::new(0)),
            lock_waits: Arc::default(),
            overloaded: Arc::new(watch::Sender::new(false)),
        };
        tokio::spawn(work(jobs, scripted.clone(), scripted.gate.subscribe()));
        scripted
    }

    /// A follower of `remote`, to which it forwards.
    pub(crate) fn follower(remote: &Scripted) -> Self {
        let scripted = Scripted::leader();
        scripted.inner.lock().remote = Some(remote.clone());
        scripted.follow();
        scripted
    }

    /// Another node leads from here on.
    pub(crate) fn follow(&self) {
        self.inner.lock().leader =
            Some(Leader { node: 2, is_self: false, client_address: "there:7101".to_owned() });
    }

    /// This node leads from here on.
    pub(crate) fn lead(&self) {
        let leader = Leader { node: 1, is_self: true, client_address: "here:7101".to_owned() };
        self.inner.lock().leader = Some(leader);
    }

    /// So much time passes between the next Tick and its answer.
    pub(crate) fn advance_at_tick(&self, ms: u64) {
        self.inner.lock().tick_ms = ms;
    }

    /// Nobody leads from here on.
    pub(crate) fn lose_leader(&self) {
        self.inner.lock().leader = None;
    }

    /// `remote` leads from the `submits`th submission on, which it refuses.
    pub(crate) fn follow_after(&self, remote: &Scripted, submits: usize) {
        let mut inner = self.inner.lock();
        inner.remote = Some(remote.clone());
        inner.deposed_at = Some(submits);
    }

    /// Holds applying, or lets it go on.
    pub(crate) fn hold(&self, held: bool) {
        self.gate.send_replace(!held);
    }

    /// Holds applying from the first such command on.
    pub(crate) fn hold_at(&self, is_it: fn(&Command) -> bool) {
        self.inner.lock().hold_at = Some(is_it);
    }

    /// What may be held up waits from here on, or goes on.
    pub(crate) fn overload(&self, overloaded: bool) {
        self.overloaded.send_replace(overloaded);
    }

    /// Time passes; the state learns of it with its next entry.
    pub(crate) fn advance(&self, ms: u64) {
        self.inner.lock().now_ms += ms;
    }

    pub(crate) fn lose_quorum(&self) {
        self.inner.lock().no_quorum = true;
    }

    /// The next command submitted fails so.
    pub(crate) fn fail_next(&self, error: ProposeError) {
        self.inner.lock().fates.push_back(Fate::Fail(error));
    }

    /// The next command submitted is applied.
    pub(crate) fn apply_next(&self) {
        self.inner.lock().fates.push_back(Fate::Apply);
    }

    /// The next command submitted comes to nothing, and nobody is told.
    pub(crate) fn vanish_next(&self) {
        self.inner.lock().fates.push_back(Fate::Vanish);
    }

    pub(crate) fn submitted(&self) -> usize {
        self.inner.lock().submitted.len()
    }

    /// All commands submitted so far.
    pub(crate) fn commands(&self) -> Vec<Command> {
        self.inner.lock().submitted.clone()
    }

    /// How old this node's state is from here on.
    pub(crate) fn set_staleness(&self, staleness: Option<Duration>) {
        self.inner.lock().staleness = staleness;
    }

    pub(crate) fn ticks(&self) -> usize {
        self.inner.lock().ticks
    }

    /// How often leadership was confirmed for a batch of reads.
    pub(crate) fn looks(&self) -> usize {
        self.inner.lock().looks
    }

    pub(crate) fn forwarded(&self) -> Vec<v1::Operation> {
        self.inner.lock().forwarded.clone()
    }

    pub(crate) fn live_sessions(&self) -> u64 {
        self.inner.lock().state.live_sessions()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Scripted) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .unwrap_or_else(|_| panic!("{what}: not in 10 s"));
    }
}

/// Applies in order of submission, while the gate is open.
async fn work(mut jobs: mpsc::UnboundedReceiver<Job>, scripted: Scripted, mut gate: watch::Receiver<bool>) {
    while let Some((command, answer)) = jobs.recv().await {
        if scripted.inner.lock().hold_at.take_if(|is_it| is_it(&command)).is_some() {
            scripted.hold(true);
        }
        if gate.wait_for(|open| *open).await.is_err() {
            return;
        }
        let result = {
            let mut inner = scripted.inner.lock();
            let stamp = ClusterTime(inner.now_ms);
            inner.index += 1;
            let index = inner.index;
            let outcome = inner.state.apply(index, Proposal { stamp, command });
            scripted.lock_waits.wake(&inner.state.take_woken());
            Applied { index, outcome }
        };
        scripted.applied.send_replace(result.index);
        // The one who asked may be gone.
        let _ = answer.send(Ok(result));
    }
}

impl Backend for Scripted {
    fn cluster_id(&self) -> u64 {
        CLUSTER
    }

    fn leader(&self) -> Option<Leader> {
        self.inner.lock().leader.clone()
    }

    fn is_ready(&self) -> bool {
        self.leader().is_some()
    }

    fn with_applied<R>(&self, read: impl FnOnce(&State, u64) -> R) -> R {
        let inner = self.inner.lock();
        read(&inner.state, inner.index)
    }

    fn now(&self) -> Clocks {
        let inner = self.inner.lock();
        inner.state.clocks().advanced_to(ClusterTime(inner.now_ms))
    }

    fn staleness(&self) -> Option<Duration> {
        self.inner.lock().staleness
    }

    fn lock_waits(&self) -> &Arc<LockWaits> {
        &self.lock_waits
    }

    async fn submit(&self, commands: Vec<Command>) -> Result<Results, ProposeError> {
        if commands.iter().any(is_throttled) {
            let mut overloaded = self.overloaded.subscribe();
            let _ = overloaded.wait_for(|overloaded| !overloaded).await.unwrap();
        }
        let deposed = {
            let mut inner = self.inner.lock();
            inner.submits += 1;
            inner.deposed_at == Some(inner.submits)
        };
        if deposed {
            self.follow();
        }
        let mut results = Vec::new();
        for command in commands {
            let (answer, result) = oneshot::channel();
            let fate = {
                let mut inner = self.inner.lock();
                if !inner.leader.as_ref().is_some_and(|leader| leader.is_self) {
                    return Err(ProposeError::NotLeader { leader: inner.leader.clone() });
                }
                inner.submitted.push(command.clone());
                inner.fates.pop_front().unwrap_or(Fate::Apply)
            };
            match fate {
                Fate::Apply => self.queue.send((command, answer)).unwrap(),
                Fate::Fail(error) => answer.send(Err(error)).unwrap(),
                Fate::Vanish => continue,
            }
            results.push(result);
        }
        let lost = |_| Err(ProposeError::Stopped("the test is over".to_owned()));
        let results =
            stream::iter(results).then(move |result| async move { result.await.unwrap_or_else(lost) });
        Ok(results.boxed())
    }

    async fn linearizable(&self) -> Result<(), ReadError> {
        let mut inner = self.inner.lock();
        inner.looks += 1;
        match &inner.leader {
            Some(leader) if leader.is_self && inner.no_quorum => Err(ReadError::NoQuorum),
            Some(leader) if leader.is_self => Ok(()),
            leader => Err(ReadError::NotLeader { leader: leader.clone() }),
        }
    }

    async fn tick(&self) -> Result<(), ProposeError> {
        let wall_ms = {
            let mut inner = self.inner.lock();
            inner.ticks += 1;
            inner.now_ms
        };
        let mut results = self.submit(vec![Command::Tick { wall_ms }]).await?;
        let ticked = results.next().await.unwrap()?;
        assert_eq!(ticked.outcome, Outcome::Done);
        let mut inner = self.inner.lock();
        inner.now_ms += inner.tick_ms;
        Ok(())
    }

    async fn wait_applied(&self, index: u64, timeout: Duration) -> Result<(), WaitError> {
        let mut applied = self.applied.subscribe();
        let reached = tokio::time::timeout(timeout, applied.wait_for(|applied| *applied >= index)).await;
        reached.map(|_| ()).map_err(|_| WaitError::Timeout { applied: self.inner.lock().index })
    }

    async fn forward(&self, operation: v1::Operation, _: Duration) -> Result<v1::Answer, ForwardError> {
        let remote = {
            let mut inner = self.inner.lock();
            inner.forwarded.push(operation.clone());
            inner.remote.clone()
        };
        let remote = remote.ok_or_else(|| ForwardError::Unreachable("no remote".to_owned()))?;
        Ok(Executor::new(remote, 1 << 20).handle(operation).await)
    }
}
