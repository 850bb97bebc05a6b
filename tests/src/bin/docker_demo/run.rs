//! The demo, on the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::Mutex;
use quorate_client::{Client, ErrorKind, NewSession, Patch, SessionId};
use quorate_proto::v1::StatusResponse;
use quorate_tests::load::{STALL_MIN, Turn, Workload, watch_turns};
use quorate_tests::{Digests, HarnessError, Source, Verdict, status_of, until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::task::JoinHandle;

use super::cut_off::REGISTER;
use super::engine::{Container, docker, exec};
use super::sighting::{Conduct, Sighting, judge, now_us};

/// How long any one stage may take.
const STAGE_MAX: Duration = Duration::from_secs(90);
const CLIENT_DEADLINE: Duration = Duration::from_secs(15);
/// Acknowledged writes that each stage must see.
const WRITES_MIN: usize = 2_000;
/// Calls that must reach the cut-off node before it is connected again, of each kind.
const CALLS_MIN: usize = 100;

/// What `run` needs to know.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// A node: its id, its container and where its client port is published; give all of them
    #[arg(long = "node", value_name = "ID=CONTAINER@IP:PORT", required = true)]
    nodes: Vec<Container>,

    /// The network that connects the containers
    #[arg(long)]
    network: String,

    /// Where this program lies in every container
    #[arg(long, value_name = "PATH")]
    program: String,

    /// Writers at once
    #[arg(long, default_value_t = 16)]
    writers: usize,
}

struct Demo<'a> {
    arguments: &'a RunArguments,
    client: Client,
    workload: Workload,
    start: Instant,
}

/// Carries the demo out and prints its result; whether it succeeded.
///
/// # Errors
/// It could not be carried out.
pub(crate) async fn run(arguments: &RunArguments) -> Result<bool, HarnessError> {
    let endpoints = arguments.nodes.iter().map(|node| node.published.to_string());
    let client = Client::builder().endpoints(endpoints).deadline(CLIENT_DEADLINE).build()?;
    let workload = Workload::new(&client, arguments.writers, rand::random());
    let mut demo = Demo { arguments, client, workload, start: Instant::now() };
    let leader = demo.wait_leader_but(0).await?;
    demo.tell(&format!("{} containers are up; node {leader} leads", arguments.nodes.len()));
    demo.workload.start();
    let (failover, conduct, ghosts) = tokio::select! {
        done = demo.faults(leader) => done?,
        never = watch_turns(demo.workload.timeline(), |turn| demo.tell_turn(turn)) => match never {},
    };
    demo.workload.rest().await;

    let mut verdict = Verdict::default();
    for node in &arguments.nodes {
        let source = Source::Node(node.published.to_string());
        let found = demo.workload.ledger().check(&demo.client, &source).await?;
        demo.tell(&format!("every session read from node {}: {found}", node.node));
        verdict.add(found);
    }
    let digests = demo.digests().await?;
    demo.tell(&format!("digests are {} {digests}", digests.word()));
    let counts = demo.workload.counts();
    counts.contradictions.iter().take(10).for_each(|line| println!("            {line}"));
    let lost = verdict.violations() + counts.contradictions.len() + ghosts;
    println!(
        "cut_off_writes={} acknowledged={} cut_off_reads={} answered={} after_lease={} stale={} stepped_down_ms={}",
        conduct.writes,
        conduct.writes_acknowledged,
        conduct.reads,
        conduct.reads_answered,
        conduct.reads_answered_late,
        conduct.reads_stale,
        conduct.stepped_down_us.map_or_else(|| "never".to_owned(), |us| (us / 1_000).to_string()),
    );
    println!(
        "acknowledged={} lost={lost} failover_ms={} digests={}",
        counts.acknowledged,
        failover.as_millis(),
        digests.word()
    );
    Ok(lost == 0 && verdict.checked > 0 && digests.are_equal() && behaved(&conduct))
}

/// Whether a cut-off leader did what it must, and was asked often enough to tell.
fn behaved(conduct: &Conduct) -> bool {
    conduct.good_before > 0
        && conduct.writes >= CALLS_MIN
        && conduct.reads >= CALLS_MIN
        && conduct.writes_acknowledged == 0
        && conduct.reads_stale == 0
        && conduct.reads_answered_late == 0
        && conduct.stepped_down_us.is_some()
}

impl Demo<'_> {
    fn tell(&self, what: &str) {
        println!("{:8.3} s  {what}", self.start.elapsed().as_secs_f64());
    }

    fn tell_turn(&self, turn: Turn) {
        match turn {
            Turn::Stopped(_) => {
                self.tell(&format!("writes stop: no acknowledgement for {} ms", STALL_MIN.as_millis()));
            }
            Turn::WentOn(gap) => self.tell(&format!("writes go on, after {} ms", gap.length().as_millis())),
        }
    }

    /// Both faults, under load: the longest gap without an acknowledged write after the first, and what came of the
    /// second.
    async fn faults(&self, leader: u64) -> Result<(Duration, Conduct, usize), HarnessError> {
        self.writes_flow().await?;
        let failover = self.kill(leader).await?;
        let (conduct, ghosts) = self.cut_off().await?;
        Ok((failover, conduct, ghosts))
    }

    async fn writes_flow(&self) -> Result<(), HarnessError> {
        self.workload.wait_acknowledged(WRITES_MIN, STAGE_MAX).await?;
        self.tell(&format!("{} writes acknowledged", self.workload.timeline().len()));
        Ok(())
    }

    fn container(&self, node: u64) -> Result<&Container, HarnessError> {
        self.arguments.nodes.iter().find(|container| container.node == node).ok_or(HarnessError::NoNode(node))
    }

    async fn statuses(&self) -> Vec<Result<StatusResponse, tonic::Status>> {
        let asked = self.arguments.nodes.iter().map(|node| status_of(node.published, false, 0));
        futures_util::future::join_all(asked).await
    }

    /// Waits until a node other than `but` leads and a majority follows it.
    async fn wait_leader_but(&self, but: u64) -> Result<u64, HarnessError> {
        let majority = self.arguments.nodes.len() / 2 + 1;
        until("a majority follows a leader", STAGE_MAX, || async {
            let said: Vec<StatusResponse> =
                self.statuses().await.into_iter().filter_map(Result::ok).collect();
            let leader = said.iter().find(|status| status.role == "leader" && status.node != but);
            let leader = leader.map(|status| status.node).ok_or("nobody says that it leads")?;
            let followers = said.iter().filter(|status| status.leader == leader).count();
            if followers >= majority { Ok(leader) } else { Err(format!("{followers} follow node {leader}")) }
        })
        .await
    }

    /// Waits until `node` has applied what the others have by now.
    async fn wait_caught_up(&self, node: u64) -> Result<(), HarnessError> {
        let published = self.container(node)?.published;
        let others = self.statuses().await.into_iter().filter_map(Result::ok);
        let furthest = others.map(|status| status.applied_index).max().unwrap_or(0);
        until("the node catches up", STAGE_MAX, || async {
            let status =
                status_of(published, false, furthest).await.map_err(|status| status.message().to_owned())?;
            if status.applied_index >= furthest && status.leader != 0 {
                Ok(())
            } else {
                Err(format!("it has applied {} of {furthest}", status.applied_index))
            }
        })
        .await?;
        self.tell(&format!("node {node} has caught up"));
        Ok(())
    }

    /// Kills the leader's container, and starts it again; the longest gap without an acknowledged write.
    async fn kill(&self, leader: u64) -> Result<Duration, HarnessError> {
        let container = self.container(leader)?.clone();
        docker(&["kill", "--signal", "KILL", &container.name]).await?;
        self.tell(&format!("the container of node {leader}, the leader, is killed"));
        let next = self.wait_leader_but(leader).await?;
        self.tell(&format!("a majority follows node {next}"));
        self.writes_flow().await?;
        let failover = self.workload.timeline().longest_gap().map_or(Duration::ZERO, |gap| gap.length());
        self.tell(&format!("writes stood still for {} ms", failover.as_millis()));
        docker(&["start", &container.name]).await?;
        self.tell(&format!("the container of node {leader} is started again"));
        self.wait_caught_up(leader).await?;
        Ok(failover)
    }

    /// Cuts the leader off its network while it is written to and read from directly, then connects it again. Also
    /// counts the sessions that it acknowledged and that are not there afterwards.
    async fn cut_off(&self) -> Result<(Conduct, usize), HarnessError> {
        let leader = self.wait_leader_but(0).await?;
        let container = self.container(leader)?.clone();
        let register = Register::start(&self.client).await?;
        let mut inside = Inside::start(&container, &self.arguments.program, &register.id).await?;
        inside.wait(|seen| judge(seen, u64::MAX, &[]).good_before > 2 * CALLS_MIN).await?;
        self.tell(&format!("node {leader} leads, and answers writes and reads sent straight to it"));

        docker(&["network", "disconnect", &self.arguments.network, &container.name]).await?;
        let cut_us = now_us();
        self.tell(&format!("node {leader} is cut off its network"));
        let next = self.wait_leader_but(leader).await?;
        self.tell(&format!("a majority follows node {next}"));
        self.writes_flow().await?;
        let enough = |seen: &[Sighting]| {
            let conduct = judge(seen, cut_us, &[]);
            conduct.writes >= CALLS_MIN && conduct.reads >= CALLS_MIN && conduct.stepped_down_us.is_some()
        };
        inside.wait(enough).await?;
        let seen = inside.end().await?;
        let register = register.end().await;
        let conduct = judge(&seen, cut_us, &register);
        let within = conduct.stepped_down_us.unwrap_or_default() / 1_000;
        self.tell(&format!("node {leader} stopped leading within {within} ms of the cut"));
        self.tell(&format!(
            "sent straight to it: {} writes, {} acknowledged; {} reads, {} answered, {} stale",
            conduct.writes,
            conduct.writes_acknowledged,
            conduct.reads,
            conduct.reads_answered,
            conduct.reads_stale
        ));

        let alias = format!("node-{leader}");
        docker(&["network", "connect", "--alias", &alias, &self.arguments.network, &container.name]).await?;
        self.tell(&format!("node {leader} is connected again"));
        self.wait_caught_up(leader).await?;
        let ghosts = self.missing(&seen).await?;
        Ok((conduct, ghosts))
    }

    /// How many of the sessions whose creation was acknowledged by the cut-off node are not there.
    async fn missing(&self, seen: &[Sighting]) -> Result<usize, HarnessError> {
        let (mut checked, mut missing) = (0, 0);
        for sighting in seen {
            let Sighting::Write { acknowledged: Some(id), .. } = sighting else { continue };
            let id: SessionId =
                id.parse().map_err(|_| HarnessError::Unreadable("no session id".to_owned()))?;
            checked += 1;
            match self.client.get(&id).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => missing += 1,
                Err(error) => return Err(error.into()),
            }
        }
        self.tell(&format!("of {checked} sessions that it acknowledged before, {missing} are missing"));
        Ok(missing)
    }

    /// Waits until all nodes stand at one index.
    async fn digests(&self) -> Result<Digests, HarnessError> {
        let nodes: Vec<_> = self.arguments.nodes.iter().map(|node| (node.node, node.published)).collect();
        until("all nodes stand at one log index", STAGE_MAX, || Digests::ask(&nodes)).await
    }
}

/// A session whose one attribute counts up, written through the client library all the while.
struct Register {
    id: SessionId,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(u64, u64)>>>,
    writer: JoinHandle<()>,
}

impl Register {
    async fn start(client: &Client) -> Result<Register, HarnessError> {
        let created = client.create(NewSession::new().attribute(REGISTER, "0")).await?;
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (client, id) = (client.clone(), created.id.clone());
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let writer = tokio::spawn(async move {
            for value in 1_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A write of unknown outcome is not noted: readers may see it, and need not.
                if client.patch(&id, Patch::new().set(REGISTER, value.to_string())).await.is_ok() {
                    noted.lock().push((now_us(), value));
                }
            }
        });
        Ok(Register { id: created.id, stop, acknowledged, writer })
    }

    /// The times at which values were acknowledged, both rising.
    async fn end(self) -> Vec<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        if let Err(error) = self.writer.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        let acknowledged = self.acknowledged.lock();
        acknowledged.clone()
    }
}

/// The program that calls the node from inside its container.
struct Inside {
    child: Child,
    input: ChildStdin,
    seen: Arc<Mutex<Vec<Sighting>>>,
    reader: JoinHandle<Option<String>>,
}

impl Inside {
    async fn start(
        container: &Container,
        program: &str,
        register: &SessionId,
    ) -> Result<Inside, HarnessError> {
        let mut child = exec(container, &[program, "cut-off", "--address", "127.0.0.1:7101"])?;
        let piped = child.stdin.take().zip(child.stdout.take());
        let (mut input, output) =
            piped.ok_or_else(|| HarnessError::Unreadable("docker exec has no pipes".to_owned()))?;
        let line = format!("{}\n", register.reveal());
        input.write_all(line.as_bytes()).await.map_err(unreadable)?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match Sighting::parse(&line) {
                    Some(sighting) => noted.lock().push(sighting),
                    None => return Some(line),
                }
            }
            None
        });
        Ok(Inside { child, input, seen, reader })
    }

    /// Waits until what was seen is enough.
    async fn wait(&mut self, enough: impl Fn(&[Sighting]) -> bool) -> Result<(), HarnessError> {
        until("the calls to the node are enough", STAGE_MAX, || {
            let seen = self.seen.lock();
            std::future::ready(if enough(&seen) { Ok(()) } else { Err(format!("{} were seen", seen.len())) })
        })
        .await
    }

    /// Ends the program; everything that it saw.
    async fn end(self) -> Result<Vec<Sighting>, HarnessError> {
        let Inside { mut child, input, seen, reader } = self;
        drop(input);
        let status = child.wait().await.map_err(unreadable)?;
        if let Ok(Some(line)) = reader.await {
            return Err(HarnessError::Unreadable(format!("not understood: {line}")));
        }
        if !status.success() {
            return Err(HarnessError::Unreadable(format!("the program in the container failed: {status}")));
        }
        let seen = seen.lock();
        Ok(seen.clone())
    }
}

fn unreadable(error: std::io::Error) -> HarnessError {
    HarnessError::Unreadable(format!("docker exec: {error}"))
}
