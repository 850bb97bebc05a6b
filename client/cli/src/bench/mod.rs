//! `quorate bench`: throughput and latency of a running cluster.
//!
//! # Layout
//!
//! - `plan`: what to do and for how long. `prepare`: the sessions that are written or read.
//! - `load`: the callers. `tally`: what they measured. `progress`: a line each second. `report`: the result;
//!   `latency`: its percentiles.
//! - `lock`: all of this for the workload `lock`, which measures hand-overs, not calls.

mod latency;
mod load;
mod lock;
mod plan;
mod prepare;
mod progress;
mod report;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use quorate_client::Client;

use crate::arguments::{Global, positive_duration};
use crate::context;
use crate::failure::Failure;
use crate::output;
use load::Load;
pub(crate) use lock::Disorder;
use lock::LockReport;
use plan::{Kind, Plan};
use report::BenchReport;

const HELP: &str = "\
Examples:
  quorate bench --workload write --callers 64 --seconds 5
  quorate bench --workload read --callers 256 --sessions 100000
  quorate bench --workload create --value-bytes 2048 --output json
  quorate bench --workload lock --callers 101 --seconds 10

Workloads:
  create  each operation creates a session with one attribute of --value-bytes
  write   each operation replaces the attributes of a random session out of --sessions
  read    each operation is a linearizable read, without touch, of a random session out of
          --sessions
  lock    all callers but one wait in line for the lock of one session; whoever has it gives it
          back at once and asks again. What is measured is the hand-over: from before the holder
          sends its Unlock until the call of the next in line has returned. 2 to 1,025 callers

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
  \"sessions\" is null for create; a latency is null when nothing succeeded.

The workload lock begins to measure once all stand in line. Its exit code is 1, without figures,
when there were fewer hand-overs than ten for each caller (at least 100; 1,000 always do), when
fencing tokens do not grow from holder to holder, and when two callers hold the lock at once; the
first call that fails ends it too. No lock is renewed. Its session is deleted.

JSON of lock: {\"workload\", \"loop\", \"callers\", \"waiters\", \"waiters_min\", \"connections\",
  \"value_bytes\", \"seconds\", \"hand_overs\", \"hand_overs_per_second\", \"latency_ms\": as above}.
  \"waiters_min\" is the fewest calls for the lock under way when it was given back.";

/// Most callers of the workload lock: one that has it, and as many as may stand in line.
const LOCK_CALLERS_MAX: u32 = 1 + 1_024;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Creates sessions
    Create,
    /// Replaces the attributes of sessions
    Write,
    /// Reads sessions, linearizably, without touching them
    Read,
    /// Hands the lock of one session from caller to caller
    Lock,
}

/// Measure throughput and latency of a running cluster
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct BenchArguments {
    /// What each operation does
    #[arg(long, value_enum, default_value_t = Workload::Write)]
    workload: Workload,

    /// Callers at once; 101 for lock: one has it and 100 wait
    #[arg(long, default_value_t = 64, default_value_if("workload", "lock", "101"))]
    #[arg(value_parser = value_parser!(u32).range(1..=65_536))]
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
/// [`Failure::Client`] when the sessions could not be created beforehand, [`Failure::Bench`] when operations failed;
/// [`Failure::Usage`] for a number of callers that cannot be; for the workload lock, those of [`lock::measure`].
pub(crate) async fn run(global: &Global, arguments: BenchArguments) -> Result<(), Failure> {
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..arguments.connections.min(arguments.callers) {
        clients.push(context::client(global)?);
    }
    let plan = Plan {
        callers: arguments.callers,
        clients: clients.len(),
        value_bytes: arguments.value_bytes,
        sessions: arguments.sessions,
        warmup: arguments.warmup,
        measured: Duration::from_secs(u64::from(arguments.seconds)),
        idle: arguments.idle,
    };
    match arguments.workload {
        Workload::Create => operations(global, clients, Kind::Create, plan).await,
        Workload::Write => operations(global, clients, Kind::Write, plan).await,
        Workload::Read => operations(global, clients, Kind::Read, plan).await,
        Workload::Lock => hand_overs(global, &clients, &plan).await,
    }
}

async fn operations(global: &Global, clients: Vec<Client>, kind: Kind, plan: Plan) -> Result<(), Failure> {
    let sessions = prepare::sessions(&clients, kind, &plan).await?;
    let measured = Arc::new(Load::new(kind, plan.clone(), sessions)).run(clients).await;
    let report = BenchReport::of(kind, &plan, &measured);
    output::print(global.output, &report)?;
    match measured.errors {
        0 => Ok(()),
        errors => Err(Failure::Bench { errors, operations: measured.operations() }),
    }
}

async fn hand_overs(global: &Global, clients: &[Client], plan: &Plan) -> Result<(), Failure> {
    if !(2..=LOCK_CALLERS_MAX).contains(&plan.callers) {
        return Err(Failure::Usage(format!("--workload lock takes 2 to {LOCK_CALLERS_MAX} --callers")));
    }
    let counted = lock::measure(clients, plan).await?;
    output::print(global.output, &LockReport::of(plan, &counted))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArguments,
    }

    fn callers(line: &str) -> u32 {
        Line::try_parse_from(line.split_whitespace()).map(|line| line.bench.callers).expect("valid")
    }

    #[test]
    fn a_hundred_wait_for_a_lock_unless_told_otherwise() {
        assert_eq!(callers("bench"), 64);
        assert_eq!(callers("bench --workload lock"), 101);
        assert_eq!(callers("bench --workload lock --callers 7"), 7);
    }
}
