//! Records what many clients see of a few sessions while nodes are killed and paused, and checks that it is
//! linearizable.

mod report;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use quorate_tests::linearizable::{Fault, Findings, Recording, Size};
use quorate_tests::{ClusterOptions, HarnessError, ProcessCluster, interrupted};

/// Histories of sessions under kill -9 and pauses of nodes, checked for linearizability
#[derive(Debug, Parser)]
#[command(name = "quorate-linearizability")]
struct Arguments {
    /// The quorated to run
    #[arg(long, env = "QUORATED_BIN", value_name = "PATH")]
    quorated: PathBuf,

    /// Recordings, each with a fault or two, on the same cluster
    #[arg(long, default_value_t = 20)]
    histories: u64,

    /// Operations in each, at least
    #[arg(long, default_value_t = 1_000)]
    operations: u64,

    /// Sessions that clients work on at the same time
    #[arg(long, default_value_t = 3)]
    sessions: usize,

    /// The first recording's seed, each next one has the next; a random one when not given
    #[arg(long)]
    seed: Option<u64>,

    /// One more argument for every node, such as --timing=wan on a machine that is busy; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    node_argument: Vec<OsString>,

    /// Where a history is written that is not linearizable
    #[arg(long, value_name = "DIR", default_value = "target/linearizability")]
    failures: PathBuf,

    /// What is printed at the end
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Small enough to be told in JSON without loss.
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let began = Instant::now();
    let mut findings = Findings::default();
    let ended = tokio::select! {
        ended = run(&arguments, seed, &mut findings) => ended,
        () = interrupted() => {
            eprintln!("interrupted: the nodes are ended and their directories removed");
            return ExitCode::from(130);
        }
    };
    match arguments.output {
        Output::Text => report::print(&findings, seed, began.elapsed()),
        Output::Json => println!("{:#}", report::json(&findings, seed, began.elapsed())),
    }
    findings.described.iter().for_each(|what| eprintln!("violation: {what}"));
    if let Err(error) = ended {
        eprintln!("the run could not go on (seed={seed}): {error}");
        return ExitCode::FAILURE;
    }
    let too_little = findings.too_little();
    too_little.iter().for_each(|what| eprintln!("the run did too little to prove anything: {what}"));
    if findings.is_clean() && too_little.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(arguments: &Arguments, seed: u64, findings: &mut Findings) -> Result<(), HarnessError> {
    let size = Size { sessions: arguments.sessions, operations: arguments.operations };
    let mut options = ClusterOptions::new(&arguments.quorated);
    options.arguments.clone_from(&arguments.node_argument);
    let mut cluster = ProcessCluster::start(&options).await?;
    let kinds = Fault::ALL.into_iter().cycle();
    for (number, first) in (1..=arguments.histories).zip(kinds) {
        let seed = seed.wrapping_add(number - 1);
        let began = Instant::now();
        let recording = Recording::make(&mut cluster, size, first, seed).await?;
        let took = began.elapsed();
        findings.add(&recording, &arguments.failures)?;
        let faults: Vec<&str> = recording.faults.iter().map(|fault| fault.name()).collect();
        eprintln!(
            "{number:4}/{} seed={seed} {}: operations={} unknown={} illegal={} undecided={} so far ({:.1} s)",
            arguments.histories,
            faults.join(", "),
            findings.operations,
            findings.unknown,
            findings.illegal,
            findings.undecided,
            took.as_secs_f64()
        );
    }
    let digests = cluster.digests().await?;
    if !digests.are_equal() || !digests.are_of(&cluster.ids()) {
        findings.illegal += 1;
        findings.described.push(format!("digests {digests}"));
    }
    cluster.stop_all().await
}
