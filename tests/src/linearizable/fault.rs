//! What is done to the cluster while clients work.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;

use super::arena::Arena;
use crate::cluster::{PATIENCE, ProcessCluster, until};
use crate::error::HarnessError;

/// So many acknowledged changes show that the others go on without the node.
const CHANGES_WITHOUT: u64 = 20;
/// A node stays away so much longer, at most.
const AWAY_MS_MAX: u64 = 600;

/// What is done to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of the leader, and a restart.
    KillLeader,
    /// SIGSTOP of the leader, and SIGCONT.
    PauseLeader,
    /// kill -9 of another node, and a restart.
    KillFollower,
    /// SIGSTOP of another node, and SIGCONT.
    PauseFollower,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 4] =
        [Fault::KillLeader, Fault::PauseLeader, Fault::KillFollower, Fault::PauseFollower];

    /// One of them, by chance.
    pub(crate) fn any(random: &mut StdRng) -> Fault {
        Fault::ALL.choose(random).copied().unwrap_or(Fault::KillLeader)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::KillLeader => "kill_leader",
            Fault::PauseLeader => "pause_leader",
            Fault::KillFollower => "kill_follower",
            Fault::PauseFollower => "pause_follower",
        }
    }

    /// Does it, waits until the others have gone on without the node, and heals it.
    pub(crate) async fn strike(
        self,
        cluster: &mut ProcessCluster,
        arena: &Arena,
        random: &mut StdRng,
    ) -> Result<(), HarnessError> {
        let victim = match self {
            Fault::KillLeader | Fault::PauseLeader => cluster.wait_leader().await?,
            Fault::KillFollower | Fault::PauseFollower => cluster.a_follower().await?,
        };
        let kills = matches!(self, Fault::KillLeader | Fault::KillFollower);
        if kills {
            cluster.node_mut(victim)?.kill()?;
        } else {
            cluster.node(victim)?.signal(Signal::STOP)?;
        }
        wait_changes(arena, CHANGES_WITHOUT).await?;
        // Not to let something come true, but to have nodes be away for short and for long.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..=AWAY_MS_MAX))).await;
        if kills {
            cluster.node_mut(victim)?.start()?;
        } else {
            cluster.node(victim)?.signal(Signal::CONT)?;
        }
        cluster.wait_ready(victim).await
    }
}

/// Waits for so many more acknowledged changes.
pub(crate) async fn wait_changes(arena: &Arena, by: u64) -> Result<(), HarnessError> {
    let before = arena.changes();
    until("changes are acknowledged", PATIENCE, || {
        let done = arena.changes() - before;
        std::future::ready(if done >= by { Ok(()) } else { Err(format!("{done} of {by}")) })
    })
    .await
}
