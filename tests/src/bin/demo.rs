//! The demo: three nodes, sixteen writers, a killed leader, and everything acknowledged still there.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use quorate_client::Client;
use quorate_storage::Identity;
use quorate_tests::load::{STALL_MIN, Turn, Workload, watch_turns};
use quorate_tests::{
    ClusterOptions, Digests, HarnessError, ProcessCluster, Source, Verdict, change_one_principal,
    interrupted, status_of,
};

/// How long any one stage may take.
const STAGE_MAX: Duration = Duration::from_secs(120);
/// Writes flow this long at least before the kill, and again after it.
const STEADY_MIN: Duration = Duration::from_secs(2);

/// Three nodes, a killed leader: nothing acknowledged is lost
#[derive(Debug, Parser)]
#[command(name = "quorate-demo")]
struct Arguments {
    /// The quorated to run
    #[arg(long, env = "QUORATED_BIN", value_name = "PATH")]
    quorated: PathBuf,

    /// Writers at once
    #[arg(long, default_value_t = 16)]
    writers: usize,

    /// Acknowledged writes before the kill, at least
    #[arg(long, default_value_t = 8_000)]
    before: usize,

    /// Acknowledged writes after the kill, at least
    #[arg(long, default_value_t = 4_000)]
    after: usize,

    /// Change one record on one node behind Raft's back: the demo must then end with `digests=different` and fail
    #[arg(long)]
    sabotage: bool,

    /// One more argument for every node, such as --log-level=debug; may be repeated (directories are kept when
    /// QUORATE_KEEP is set)
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    node_argument: Vec<OsString>,
}

/// Acknowledged writes below which a run proves nothing.
const ACKNOWLEDGED_MIN: u64 = 10_000;
const AFTER_KILL_MIN: usize = 2_000;

/// What the demo found.
struct Findings {
    acknowledged: u64,
    after_kill: usize,
    failover: Duration,
    verdict: Verdict,
    contradictions: Vec<String>,
    nodes: Vec<u64>,
    digests: Digests,
}

impl Findings {
    /// Sessions that are not as they were acknowledged.
    fn lost(&self) -> usize {
        self.verdict.violations() + self.contradictions.len()
    }

    fn is_success(&self) -> bool {
        let enough = self.acknowledged >= ACKNOWLEDGED_MIN && self.after_kill >= AFTER_KILL_MIN;
        if !enough {
            println!(
                "too few writes for a demo: {} acknowledged, {} after the kill",
                self.acknowledged, self.after_kill
            );
        }
        let all = self.digests.are_of(&self.nodes);
        if !all {
            println!("not every node of {:?} was compared", self.nodes);
        }
        enough && all && self.lost() == 0 && self.verdict.checked > 0 && self.digests.are_equal()
    }
}

/// Prints a line of the timeline: seconds since the start, and what happened.
struct Story {
    start: Instant,
}

impl Story {
    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    fn tell(&self, what: &str) {
        self.tell_at(Instant::now(), what);
    }

    fn tell_at(&self, at: Instant, what: &str) {
        println!("{:8.3} s  {what}", self.seconds(at));
    }

    fn tell_turn(&self, turn: Turn) {
        match turn {
            Turn::Stopped(last) => {
                let ms = STALL_MIN.as_millis();
                self.tell_at(last, &format!("writes stop: no acknowledgement in the {ms} ms after this"));
            }
            Turn::WentOn(gap) => {
                self.tell_at(gap.to, &format!("writes go on, {} ms later", gap.length().as_millis()));
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The client library's own words, when RUST_LOG asks for them.
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    // Everything is owned by `run`: interrupted or not, its end kills the nodes and removes their directories.
    let result = tokio::select! {
        result = run(&arguments) => result,
        () = interrupted() => {
            println!("interrupted: the nodes are ended and their directories removed");
            return ExitCode::from(130);
        }
    };
    match result {
        Ok(findings) => {
            let success = findings.is_success();
            println!(
                "acknowledged={} lost={} failover_ms={} digests={}",
                findings.acknowledged,
                findings.lost(),
                findings.failover.as_millis(),
                findings.digests.word()
            );
            if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the demo could not be carried out: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Findings, HarnessError> {
    let story = Story { start: Instant::now() };
    let mut cluster = ProcessCluster::start(&ClusterOptions {
        arguments: arguments.node_argument.clone(),
        ..ClusterOptions::new(&arguments.quorated)
    })
    .await?;
    let leader = cluster.wait_leader().await?;
    let endpoints = cluster.endpoints().join(", ");
    story.tell(&format!("three nodes are up at {endpoints}; node {leader} leads"));

    let client = cluster.client()?;
    let mut workload = Workload::new(&client, arguments.writers, rand::random());
    workload.start();
    story.tell(&format!("{} writers create, change, rename and delete sessions", arguments.writers));
    let killed_at = tokio::select! {
        done = lose_leader(&story, arguments, &mut cluster, &workload, leader) => done?,
        never = watch_turns(workload.timeline(), |turn| story.tell_turn(turn)) => match never {},
    };
    workload.rest().await;

    let gap = workload.timeline().longest_gap();
    if let Some(gap) = gap {
        let (from, length) = (story.seconds(gap.from), gap.length().as_millis());
        story.tell(&format!("the longest time without an acknowledgement: {length} ms, from {from:.3} s on"));
    }
    let counts = workload.counts();
    let after_kill = workload.timeline().since(killed_at);
    story.tell(&format!(
        "writers rest: {} writes acknowledged, {after_kill} of them after the kill, {} of unknown outcome, {} not applied",
        counts.acknowledged, counts.unknown, counts.not_applied
    ));
    counts.contradictions.iter().take(10).for_each(|line| println!("            {line}"));

    cluster.check_alive()?;
    let mut verdict = Verdict::default();
    for id in cluster.ids().into_iter().filter(|id| *id != leader) {
        verdict.add(check(&story, &cluster, &client, &workload, id).await?);
    }
    cluster.node_mut(leader)?.start()?;
    story.tell(&format!("node {leader} is started again"));
    cluster.wait_ready(leader).await?;
    catch_up(&story, &cluster, leader).await?;
    verdict.add(check(&story, &cluster, &client, &workload, leader).await?);
    if arguments.sabotage {
        sabotage(&story, &mut cluster).await?;
    }
    let digests = cluster.digests().await?;
    story.tell(&format!("digests are {} {digests}", digests.word()));
    cluster.stop_all().await?;
    story.tell("all nodes stopped in order");
    let failover = gap.map_or(Duration::ZERO, |gap| gap.length());
    Ok(Findings {
        acknowledged: counts.acknowledged,
        after_kill,
        failover,
        verdict,
        contradictions: counts.contradictions,
        nodes: cluster.ids(),
        digests,
    })
}

/// Kills the leader between two stretches of steady writes; the moment of the kill.
async fn lose_leader(
    story: &Story,
    arguments: &Arguments,
    cluster: &mut ProcessCluster,
    workload: &Workload,
    leader: u64,
) -> Result<Instant, HarnessError> {
    steady(story, workload, arguments.before).await?;
    let killed_at = Instant::now();
    cluster.node_mut(leader)?.kill()?;
    story.tell_at(killed_at, &format!("kill -9 of node {leader}, the leader"));
    let new_leader = cluster.wait_leader_but(leader).await?;
    story.tell(&format!("a majority follows node {new_leader}"));
    steady(story, workload, arguments.after).await?;
    Ok(killed_at)
}

/// Waits until `count` more writes were acknowledged and a while has passed, telling how it goes.
async fn steady(story: &Story, workload: &Workload, count: usize) -> Result<(), HarnessError> {
    let timeline = workload.timeline();
    let (began, before) = (Instant::now(), timeline.len());
    let mut told = (began, before);
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (now, done) = (Instant::now(), timeline.len());
        let elapsed = now.saturating_duration_since(told.0);
        if elapsed >= Duration::from_millis(500) {
            let rate = f64::from(u32::try_from(done - told.1).unwrap_or(u32::MAX)) / elapsed.as_secs_f64();
            story.tell(&format!("{done} writes acknowledged ({rate:.0}/s)"));
            told = (now, done);
        }
        if done - before >= count && began.elapsed() >= STEADY_MIN {
            return Ok(());
        }
        if began.elapsed() >= STAGE_MAX {
            return Err(HarnessError::Deadline {
                what: format!("{count} writes are acknowledged"),
                within: STAGE_MAX,
                seen: format!("{} were", done - before),
            });
        }
    }
}

/// Reads every session from one node's own memory.
async fn check(
    story: &Story,
    cluster: &ProcessCluster,
    client: &Client,
    workload: &Workload,
    id: u64,
) -> Result<Verdict, HarnessError> {
    let source = Source::Node(cluster.ports(id)?.client.to_string());
    let verdict = workload.ledger().check(client, &source).await?;
    story.tell(&format!("every session read from node {id}: {verdict}"));
    Ok(verdict)
}

/// Waits until node `id` has applied what the others have by now.
async fn catch_up(story: &Story, cluster: &ProcessCluster, id: u64) -> Result<(), HarnessError> {
    let mut furthest = 0;
    for other in cluster.ids() {
        furthest = furthest.max(cluster.status(other).await?.applied_index);
    }
    let deadline = Instant::now() + STAGE_MAX;
    loop {
        match status_of(cluster.ports(id)?.client, false, furthest).await {
            Ok(status) => {
                story.tell(&format!("node {id} has caught up: it has applied {}", status.applied_index));
                return Ok(());
            }
            Err(status) if Instant::now() >= deadline => return Err(status.into()),
            Err(_) => {}
        }
    }
}

/// Changes one record in a follower's session store while that node is down.
async fn sabotage(story: &Story, cluster: &mut ProcessCluster) -> Result<(), HarnessError> {
    let id = cluster.a_follower().await?;
    let identity = Identity { cluster_id: cluster.status(id).await?.cluster, node_id: id };
    cluster.stop(id).await?;
    change_one_principal(&cluster.node(id)?.spec().data_dir, identity)?;
    story.tell(&format!("sabotage: one record of node {id} was changed on its disk, behind Raft's back"));
    cluster.node_mut(id)?.start()?;
    cluster.wait_ready(id).await?;
    catch_up(story, cluster, id).await
}
