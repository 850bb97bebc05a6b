//! The kill loop: `kill -9` of random nodes and of all nodes, under load, everything checked after each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use quorate_client::Client;
use quorate_tests::load::Workload;
use quorate_tests::{ClusterOptions, HarnessError, PATIENCE, ProcessCluster, Source, Verdict, interrupted};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

/// Acknowledged writes before each kill, and again after it.
const WRITES_AROUND_KILL: usize = 200;
/// Of so many kills of one node the first is aimed at the leader; the others at any node.
const LEADER_EVERY: usize = 3;

/// kill -9 of random nodes under load; every acknowledged write is checked after each
#[derive(Debug, Parser)]
#[command(name = "quorate-kill-loop")]
struct Arguments {
    /// The quorated to run
    #[arg(long, env = "QUORATED_BIN", value_name = "PATH")]
    quorated: PathBuf,

    /// Kills of one node: every third is aimed at the leader, the others at any
    #[arg(long, default_value_t = 50)]
    rounds: usize,

    /// Kills of all nodes at once
    #[arg(long, default_value_t = 10)]
    all: usize,

    /// Writers at once
    #[arg(long, default_value_t = 16)]
    writers: usize,

    /// Chooses victims, moments and operations; a random one when not given
    #[arg(long)]
    seed: Option<u64>,
}

/// Whom a round kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    One,
    All,
}

/// What the loop did and found.
#[derive(Default)]
struct Findings {
    kills_of_one: usize,
    kills_of_leader: usize,
    kills_of_all: usize,
    reads: usize,
    verdict: Verdict,
    digests_different: usize,
}

struct Loop {
    cluster: ProcessCluster,
    client: Client,
    workload: Workload,
    random: StdRng,
    findings: Findings,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed={seed}");
    let result = tokio::select! {
        result = run(&arguments, seed) => result,
        () = interrupted() => {
            println!("interrupted: the nodes are ended and their directories removed");
            return ExitCode::from(130);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the kill loop could not go on (seed={seed}): {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, seed: u64) -> Result<bool, HarnessError> {
    let started = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let mut faults = vec![Fault::One; arguments.rounds];
    faults.extend(vec![Fault::All; arguments.all]);
    faults.shuffle(&mut random);
    let cluster = ProcessCluster::start(&ClusterOptions::new(&arguments.quorated)).await?;
    let client = cluster.client()?;
    let workload = Workload::new(&client, arguments.writers, seed);
    let mut this = Loop { cluster, client, workload, random, findings: Findings::default() };
    for (round, fault) in faults.iter().enumerate() {
        this.round(round + 1, faults.len(), *fault).await?;
    }
    this.cluster.stop_all().await?;
    let counts = this.workload.counts();
    let Findings { kills_of_one, kills_of_leader, kills_of_all, reads, verdict, digests_different } =
        &this.findings;
    for line in &counts.contradictions {
        println!("contradiction: {line}");
    }
    // A run that did not do what was asked proves nothing.
    let writes_min = u64::try_from(faults.len() * 2 * WRITES_AROUND_KILL).unwrap_or(u64::MAX);
    let enough = !faults.is_empty()
        && *kills_of_one == arguments.rounds
        && *kills_of_leader >= arguments.rounds.div_ceil(LEADER_EVERY)
        && *kills_of_all == arguments.all
        && counts.acknowledged >= writes_min;
    if !enough {
        println!("the run injected too few faults or moved too little to prove anything");
    }
    println!(
        "seed={seed} kills={kills_of_one} of_leaders={kills_of_leader} all_at_once={kills_of_all} acknowledged={} \
         unknown={} not_applied={} sessions={} reads={reads} minutes={:.1}",
        counts.acknowledged,
        counts.unknown,
        counts.not_applied,
        this.workload.ledger().len(),
        started.elapsed().as_secs_f64() / 60.0
    );
    println!(
        "lost={} revived={} wrong={} unreadable={} contradictions={} digests={}",
        verdict.lost,
        verdict.revived,
        verdict.wrong,
        verdict.unreadable,
        counts.contradictions.len(),
        if *digests_different == 0 { "equal" } else { "different" }
    );
    let clean = verdict.is_clean() && counts.contradictions.is_empty() && *digests_different == 0;
    Ok(enough && clean)
}

impl Loop {
    async fn round(&mut self, number: usize, of: usize, fault: Fault) -> Result<(), HarnessError> {
        let began = Instant::now();
        self.cluster.check_alive()?;
        self.workload.start();
        self.workload.wait_acknowledged(WRITES_AROUND_KILL, PATIENCE).await?;
        // Somewhere within the second in which the session store writes a batch.
        self.pause(1_000).await;
        let what = match fault {
            Fault::One => self.kill_one().await?,
            Fault::All => self.kill_all().await?,
        };
        self.cluster.wait_ready_all().await?;
        self.workload.wait_acknowledged(WRITES_AROUND_KILL, PATIENCE).await?;
        self.workload.rest().await;
        let checked = self.check().await?;
        println!("{number:3}/{of} {what}: {checked} ({:.1} s)", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// The leader or a random node; the others must go on without it before it comes back.
    async fn kill_one(&mut self) -> Result<String, HarnessError> {
        let ids = self.cluster.ids();
        let any = ids.choose(&mut self.random).copied().ok_or(HarnessError::NoNode(0))?;
        let leader = self.cluster.wait_leader().await?;
        let aimed = self.findings.kills_of_one.is_multiple_of(LEADER_EVERY);
        let victim = if aimed { leader } else { any };
        self.cluster.node_mut(victim)?.kill()?;
        self.workload.wait_acknowledged(WRITES_AROUND_KILL / 2, PATIENCE).await?;
        self.pause(700).await;
        self.cluster.node_mut(victim)?.start()?;
        self.findings.kills_of_one += 1;
        if victim == leader {
            self.findings.kills_of_leader += 1;
            return Ok(format!("killed node {victim}, the leader"));
        }
        Ok(format!("killed node {victim}"))
    }

    /// All nodes; they come back in random order.
    async fn kill_all(&mut self) -> Result<String, HarnessError> {
        let mut ids = self.cluster.ids();
        for id in &ids {
            self.cluster.node_mut(*id)?.kill()?;
        }
        ids.shuffle(&mut self.random);
        for id in &ids {
            self.cluster.node_mut(*id)?.start()?;
            self.pause(200).await;
        }
        self.findings.kills_of_all += 1;
        Ok("killed all nodes at once".to_owned())
    }

    async fn pause(&mut self, ms_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..=ms_max))).await;
    }

    /// Reads everything from the leader, compares the digests.
    async fn check(&mut self) -> Result<String, HarnessError> {
        let verdict = self.workload.ledger().check(&self.client, &Source::Leader).await?;
        let digests = self.cluster.digests().await?;
        if !digests.are_of(&self.cluster.ids()) {
            return Err(HarnessError::Unreadable(format!("not every node was compared: {digests}")));
        }
        let line = format!("{verdict}, digests {}", digests.word());
        self.findings.reads += verdict.checked;
        self.findings.digests_different += usize::from(!digests.are_equal());
        self.findings.verdict.add(verdict);
        Ok(line)
    }
}
