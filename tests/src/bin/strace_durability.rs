//! Shows with strace that no write is acknowledged before it is synced on a majority.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use quorate_proto::v1::CreateRequest;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_tests::trace::{NodeTrace, Recording, Report, TracedWrite, check, strace_arguments};
use quorate_tests::{
    ClusterOptions, HarnessError, PATIENCE, ProcessCluster, channel, interrupted, new_id, until,
};

/// Writes that are made and proven, unless told otherwise.
const WRITES: usize = 100;

/// One write in flight at a time, three nodes under strace: the entry's bytes, a sync, and only then the reply
#[derive(Debug, Parser)]
#[command(name = "quorate-strace-durability")]
struct Arguments {
    /// The quorated to run
    #[arg(long, env = "QUORATED_BIN", value_name = "PATH")]
    quorated: PathBuf,

    /// How many writes, at least: it goes on until the session store was written meanwhile
    #[arg(long, default_value_t = WRITES)]
    writes: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let strace = Command::new("strace").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        eprintln!("strace is not installed (Debian: apt-get install strace); nothing was checked");
        return ExitCode::from(2);
    }
    let result = tokio::select! {
        result = run(&arguments) => result,
        () = interrupted() => {
            eprintln!("interrupted: the nodes are ended and their directories removed");
            return ExitCode::from(130);
        }
    };
    match result {
        Ok((writes, report)) => conclude(writes, &report),
        Err(error) => {
            eprintln!("the check could not be carried out: {error}");
            ExitCode::FAILURE
        }
    }
}

fn conclude(writes: usize, report: &Report) -> ExitCode {
    report.faults.iter().take(20).for_each(|fault| println!("FAULT {fault}"));
    // Without these the checks above would have had nothing to look at.
    let mut idle = Vec::new();
    if report.session_writes == 0 || report.session_syncs == 0 {
        idle.push("the session store was never written and synced");
    }
    if report.session_calls_meanwhile == 0 {
        idle.push("the session store was at rest while the writes were in flight");
    }
    idle.iter().for_each(|what| println!("FAULT nothing proven: {what}"));
    println!(
        "writes={writes} proven={} follower_replies={} session_writes={} session_syncs={} \
         session_calls_meanwhile={} sync_file_range={} faults={}",
        report.proven,
        report.follower_replies,
        report.session_writes,
        report.session_syncs,
        report.session_calls_meanwhile,
        report.sync_file_ranges,
        report.faults.len() + idle.len()
    );
    let clean = report.faults.is_empty() && idle.is_empty();
    if clean && report.proven == writes { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn under_strace(_id: u64, home: &Path) -> Vec<std::ffi::OsString> {
    strace_arguments(&home.join("strace"))
}

/// How many writes were made, and what became of them.
async fn run(arguments: &Arguments) -> Result<(usize, Report), HarnessError> {
    // strace slows everything: the longer timers keep the leader in place.
    let options = ClusterOptions {
        arguments: vec!["--timing=wan".into()],
        wrapper: Some(under_strace),
        ..ClusterOptions::new(&arguments.quorated)
    };
    let mut cluster = ProcessCluster::start(&options).await?;
    let leader = cluster.wait_leader().await?;
    println!("three nodes run under strace; node {leader} leads");
    let mut writes = Vec::new();
    let mut sessions = SessionsClient::new(channel(cluster.ports(leader)?.client).await?);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The session store has to be at work between the first write and the last, which comes after this look.
        let first = writes.first().map_or(u64::MAX, |write: &TracedWrite| write.index);
        let enough = writes.len() + 1 >= arguments.writes && have_persisted(&cluster, first).await?;
        writes.push(write(&mut sessions, writes.len()).await?);
        if enough || Instant::now() >= deadline {
            break;
        }
    }
    if cluster.wait_leader().await? != leader {
        return Err(HarnessError::Unreadable("the leader changed under strace: run it again".to_owned()));
    }
    let last = writes.last().map_or(0, |write| write.index);
    until("the session stores are written", PATIENCE, || async {
        let reached = have_persisted(&cluster, last).await.map_err(|error| error.to_string())?;
        reached.then_some(()).ok_or_else(|| "a node has not written its own".to_owned())
    })
    .await?;
    let mut nodes = Vec::new();
    for id in cluster.ids() {
        cluster.stop(id).await?;
        let spec = cluster.node(id)?.spec().clone();
        let output = spec.log.with_file_name("strace");
        let recording = complete(&output).await?;
        println!("node {id}: {} calls recorded", recording.calls.len());
        nodes.push(NodeTrace {
            node: id,
            data_dir: spec.data_dir.canonicalize().unwrap_or(spec.data_dir),
            client: spec.ports.client,
            peer: spec.ports.peer,
            recording,
        });
    }
    Ok((writes.len(), check(&nodes, leader, &writes)))
}

/// One write, straight to the leader, with marks to find it by.
async fn write(
    sessions: &mut SessionsClient<tonic::transport::Channel>,
    number: usize,
) -> Result<TracedWrite, HarnessError> {
    let id = format!("traced-{number:05}-{}", new_id().reveal());
    let mark = format!("marked-{number:05}-{}", rand::random::<u64>());
    let request = CreateRequest {
        id: id.clone(),
        attributes: [("mark".to_owned(), Bytes::from(mark.clone()))].into(),
        ..CreateRequest::default()
    };
    let created = sessions.create(request).await?.into_inner();
    let index = created.position.map_or(0, |position| position.index);
    Ok(TracedWrite { mark: mark.into_bytes(), reply_mark: id.into_bytes(), index })
}

/// Whether every node has written its session store up to `index`.
async fn have_persisted(cluster: &ProcessCluster, index: u64) -> Result<bool, HarnessError> {
    for id in cluster.ids() {
        if cluster.status(id).await?.persisted_index < index {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until strace, which runs beside the node, has written its last line.
async fn complete(output: &Path) -> Result<Recording, HarnessError> {
    let ended = || async {
        let text = std::fs::read(output).map_err(|error| error.to_string())?;
        let tail = text.get(text.len().saturating_sub(4096)..).unwrap_or_default();
        let last = String::from_utf8_lossy(tail).lines().last().unwrap_or_default().to_owned();
        if last.contains("+++") { Ok(()) } else { Err(last) }
    };
    until("strace has written all", Duration::from_secs(20), ended).await?;
    Recording::read(output)
}
