//! `quorate bench`: throughput and latency of a running cluster.
//!
//! # Layout
//!
//! - `plan`: what to do and for how long. `prepare`: the sessions that are written or read.
//! - `load`: the callers. `tally`: what they measured. `progress`: a line each second. `report`: the result.

mod load;
mod plan;
mod prepare;
mod progress;
mod report;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, value_parser};
use quorate_client::Client;

use crate::arguments::{Global, positive_duration};
use crate::context;
use crate::failure::Failure;
use crate::output;
use load::Load;
use plan::{Plan, Workload};
use report::BenchReport;

const HELP: &str = "\
Examples:
  quorate bench --workload write --callers 64 --seconds 5
  quorate bench --workload read --callers 256 --sessions 100000
  quorate bench --workload create --value-bytes 2048 --output json

Workloads:
  create  each operation creates a session with one attribute of --value-bytes
  write   each operation replaces the attributes of a random session out of --sessions
  read    each operation is a linearizable read, without touch, of a random session out of
          --sessions

How it measures: a closed loop. Each caller sends its next operation when the last one is
answered, so a slow cluster is also asked less, and waiting in an application's own queue is not
seen. A latency is the time of one call as its caller sees it, retries included. Operations begun
during --warmup are not counted; those begun before the end are waited for and counted.
Throughput and latencies are those of successful operations; failed ones are counted apart and
make the exit code 1. Ctrl-C ends it early, with a report.

It leaves its sessions behind; they expire after --idle.

JSON: {\"workload\", \"loop\", \"callers\", \"connections\", \"value_bytes\", \"sessions\",
  \"seconds\", \"operations\", \"operations_per_second\", \"errors\", \"errors_by_kind\": {KIND: N},
  \"latency_ms\": {\"mean\", \"p50\", \"p90\", \"p99\", \"p99_9\", \"max\"}}.
  \"sessions\" is null for create; a latency is null when nothing succeeded.";

/// Measure throughput and latency of a running cluster
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct BenchArguments {
    /// What each operation does
    #[arg(long, value_enum, default_value_t = Workload::Write)]
    workload: Workload,

    /// Callers at once
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=65_536))]
    callers: u32,

    /// Seconds to measure
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=86_400))]
    seconds: u32,

    /// Bytes in the one attribute of each session
    #[arg(long, default_value_t = 512, value_parser = value_parser!(u32).range(0..=1_048_576))]
    value_bytes: u32,

    /// Sessions to write or read, created beforehand
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    sessions: u32,

    /// How long to run before measuring
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    warmup: Duration,

    /// Clients, each with its own connections, that the callers share
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=1024))]
    connections: u32,

    /// Idle timeout of the sessions created
    #[arg(long, default_value = "10m", value_parser = positive_duration, value_name = "DURATION")]
    idle: Duration,
}

/// Runs the measurement and shows its result.
///
/// # Errors
///
/// [`Failure::Client`] when the sessions could not be created beforehand, [`Failure::Bench`] when operations failed.
pub(crate) async fn run(global: &Global, arguments: BenchArguments) -> Result<(), Failure> {
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..arguments.connections.min(arguments.callers) {
        clients.push(context::client(global)?);
    }
    let plan = Plan {
        workload: arguments.workload,
        callers: arguments.callers,
        clients: clients.len(),
        value_bytes: arguments.value_bytes,
        sessions: arguments.sessions,
        warmup: arguments.warmup,
        measured: Duration::from_secs(u64::from(arguments.seconds)),
        idle: arguments.idle,
    };
    let sessions = prepare::sessions(&clients, &plan).await?;
    let measured = Arc::new(Load::new(plan.clone(), sessions)).run(clients).await;
    let report = BenchReport::of(&plan, &measured);
    output::print(global.output, &report)?;
    match measured.errors {
        0 => Ok(()),
        errors => Err(Failure::Bench { errors, operations: measured.operations() }),
    }
}
