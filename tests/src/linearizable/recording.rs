//! One recording: clients at work on a real cluster while its nodes are killed and paused.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::Client;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::arena::Arena;
use super::caller::{Caller, Plain};
use super::fault::{Fault, wait_changes};
use super::history::History;
use super::worker::Worker;
use crate::cluster::{PATIENCE, ProcessCluster, until};
use crate::error::HarnessError;

/// The number of the client that reads every session at the end.
pub(super) const LAST_READER: usize = 0;
/// Acknowledged changes before the first fault, between two, and after the last.
const CHANGES_AROUND: u64 = 60;
/// On a machine that is busy with other things, a recording ends with fewer operations: histories must stay short.
const LASTS_MAX: Duration = Duration::from_secs(25);
/// There, a second fault is left out too.
const AGAIN_BEFORE: Duration = Duration::from_secs(10);
/// What a client waits for an answer: some give up within a failover, others outlast it.
const DEADLINES_MS: [u64; 3] = [300, 1_000, 2_500];
/// What the last reads have: nothing disturbs them.
const LAST_DEADLINE: Duration = Duration::from_secs(15);
/// Of a session that is to expire within a recording.
const ABSOLUTE_TIMEOUT_MS: std::ops::Range<u64> = 1_500..4_000;

/// How much is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Sessions that are worked on at the same time.
    pub sessions: usize,
    /// Operations at least, where the machine is quick enough.
    pub operations: u64,
}

impl Default for Size {
    fn default() -> Self {
        Size { sessions: 3, operations: 1_000 }
    }
}

/// What was recorded while the cluster was disturbed.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What all choices were made by.
    pub seed: u64,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// A history for each session.
    pub histories: Vec<History>,
    /// Calls that failed and certainly had no effect, and reads that were not answered.
    pub not_applied: u64,
    /// Answers that no state of a session explains.
    pub unexpected: Vec<String>,
}

impl Recording {
    /// Has one client call each node by plain gRPC, and as many follow the leader by the Rust client; disturbs the
    /// cluster by `first` and perhaps once more; lets all heal, and reads every session once more.
    ///
    /// # Errors
    /// The cluster does not go on, or does not heal.
    pub async fn make(
        cluster: &mut ProcessCluster,
        size: Size,
        first: Fault,
        seed: u64,
    ) -> Result<Recording, HarnessError> {
        let mut random = StdRng::seed_from_u64(seed);
        let timeout = Duration::from_millis(random.random_range(ABSOLUTE_TIMEOUT_MS));
        let arena = Arc::new(Arena::new(size.sessions, timeout));
        let mut workers = JoinSet::new();
        for (number, caller) in (1..).zip(callers(cluster, &mut random)?) {
            workers.spawn(Worker::new(number, caller, Arc::clone(&arena), seed).run());
        }
        let again = random.random_bool(0.5).then(|| Fault::any(&mut random));
        let mut faults = Vec::new();
        for fault in std::iter::once(first).chain(again) {
            if !faults.is_empty() && arena.now() > AGAIN_BEFORE {
                break;
            }
            wait_changes(&arena, CHANGES_AROUND).await?;
            fault.strike(cluster, &arena, &mut random).await?;
            faults.push(fault);
        }
        wait_changes(&arena, CHANGES_AROUND).await?;
        until("enough operations are recorded", PATIENCE, || {
            let done = arena.operations();
            let enough = done >= size.operations || arena.now() >= LASTS_MAX;
            std::future::ready(if enough { Ok(()) } else { Err(format!("{done}")) })
        })
        .await?;
        arena.stop();
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| HarnessError::Unreadable(error.to_string()))?;
        }
        cluster.wait_ready_all().await?;
        // What was to expire has expired by then, also where a quick machine was done before.
        tokio::time::sleep(timeout + timeout / 100).await;
        read_all(cluster, &arena, seed).await?;
        let histories = arena.subjects().iter().map(|subject| subject.history()).collect();
        let (not_applied, unexpected) = (arena.not_applied(), arena.unexpected());
        Ok(Recording { seed, faults, histories, not_applied, unexpected })
    }
}

/// One of each kind for each node, with deadlines in random order.
fn callers(cluster: &ProcessCluster, random: &mut StdRng) -> Result<Vec<Caller>, HarnessError> {
    let mut callers = Vec::new();
    let mut deadlines = || {
        let mut deadlines = DEADLINES_MS.map(Duration::from_millis);
        deadlines.shuffle(random);
        deadlines.into_iter().cycle()
    };
    for (node, deadline) in cluster.ids().into_iter().zip(deadlines()) {
        callers.push(Caller::Plain(Plain::new(cluster.ports(node)?.client, deadline)));
    }
    for (_, deadline) in cluster.ids().into_iter().zip(deadlines()) {
        let client = Client::builder().endpoints(cluster.endpoints()).deadline(deadline).build()?;
        callers.push(Caller::Library(client));
    }
    Ok(callers)
}

/// The last reads: what was acknowledged is there, and what is unknown is known from then on.
async fn read_all(cluster: &ProcessCluster, arena: &Arc<Arena>, seed: u64) -> Result<(), HarnessError> {
    let client = Client::builder().endpoints(cluster.endpoints()).deadline(LAST_DEADLINE).build()?;
    let mut reader = Worker::new(LAST_READER, Caller::Library(client), Arc::clone(arena), seed);
    let reading = async {
        for subject in arena.subjects() {
            reader.read_all(&subject).await;
        }
    };
    let late = |_| HarnessError::Deadline {
        what: "every session is read once more".to_owned(),
        within: PATIENCE,
        seen: "some were not answered".to_owned(),
    };
    tokio::time::timeout(PATIENCE, reading).await.map_err(late)
}
