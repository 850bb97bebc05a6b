//! The expiry storm: very many sessions that expire in the same second, under an open-loop load of writes to others.
//!
//! # Layout
//!
//! ```text
//! calibration   when the cluster's clock shows what
//! population    the sessions that expire, and the looks at some of them
//! load          the writes
//! window        what the writes of one window met
//! report        what was found
//! ```

mod calibration;
mod load;
mod population;
mod report;
mod window;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use quorate_client::Client;
use quorate_tests::{ClusterOptions, HarnessError, PATIENCE, ProcessCluster, interrupted, until};

use crate::calibration::Calibration;
use crate::load::{Op, Writers};
use crate::population::{GRACE, Looks, Sample, create, look};
use crate::report::Report;
use crate::window::Window;

/// The load runs so long before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// The second window begins so long before the deadline.
const LEAD: Duration = Duration::from_secs(2);
/// The live sessions are counted so long before the deadline.
const COUNT_LEAD: Duration = Duration::from_millis(500);
/// Clients, each with a connection of its own.
const CLIENTS: usize = 4;
/// More entries than this in a second are no ticks alone.
const TICKS_PER_SECOND_MAX: u64 = 5;

/// Very many sessions that expire in the same second, under an open-loop load of writes to others
#[derive(Debug, Parser)]
#[command(name = "quorate-expiry-storm")]
struct Arguments {
    /// The quorated to run
    #[arg(long, env = "QUORATED_BIN", value_name = "PATH")]
    quorated: PathBuf,

    /// Sessions that expire together
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,

    /// Sessions that are written to and do not expire
    #[arg(long, default_value_t = 5_000)]
    others: usize,

    /// Sessions that are read all the time
    #[arg(long, default_value_t = 300)]
    samples: usize,

    /// Length of each of the two windows; the deadline is 2 s into the second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(6..=600))]
    window_seconds: u64,

    /// Writes per second; half of the measured maximum when not given
    #[arg(long)]
    rate: Option<f64>,

    /// Callers at once while the maximum is measured and sessions are created
    #[arg(long, default_value_t = 256)]
    callers: u64,

    /// How long the maximum is measured
    #[arg(long, default_value_t = 5)]
    measure_seconds: u64,

    /// Time to create the sessions in; worked out from the measured maximum when not given
    #[arg(long)]
    create_seconds: Option<u64>,

    /// One more argument for every node; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    node_argument: Vec<OsString>,

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
    let result = tokio::select! {
        result = run(&arguments) => result,
        () = interrupted() => {
            eprintln!("interrupted: the nodes are ended and their directories removed");
            return ExitCode::from(130);
        }
    };
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            eprintln!("the expiry storm could not go on: {error}");
            return ExitCode::FAILURE;
        }
    };
    match arguments.output {
        Output::Text => report.print(),
        Output::Json => println!("{:#}", report.json()),
    }
    let (violations, too_little) = (report.violations(), report.too_little());
    violations.iter().for_each(|violation| eprintln!("violation: {violation}"));
    too_little.iter().for_each(|what| eprintln!("the run did too little to prove anything: {what}"));
    if violations.is_empty() && too_little.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When everything happens.
struct Schedule {
    /// The sessions expire between these two moments.
    earliest: Instant,
    latest: Instant,
    window: Duration,
}

impl Schedule {
    fn new(calibration: Calibration, deadline_ms: u64, window: Duration) -> Schedule {
        let (earliest, latest) = (calibration.earliest(deadline_ms), calibration.latest(deadline_ms));
        Schedule { earliest, latest, window }
    }

    /// The load begins here.
    fn start(&self) -> Option<Instant> {
        self.earliest.checked_sub(LEAD + self.window + WARM_UP)
    }

    /// The windows: each ends where the next begins.
    fn windows(&self) -> [Instant; 3] {
        let storm = self.earliest.checked_sub(LEAD).unwrap_or(self.earliest);
        [storm.checked_sub(self.window).unwrap_or(storm), storm, storm + self.window]
    }
}

async fn run(arguments: &Arguments) -> Result<Report, HarnessError> {
    let mut options = ClusterOptions::new(&arguments.quorated);
    options.arguments.clone_from(&arguments.node_argument);
    let mut cluster = ProcessCluster::start(&options).await?;
    let leader = cluster.wait_leader().await?;
    let term = cluster.status(leader).await?.term;
    let clients = (0..CLIENTS).map(|_| cluster.client()).collect::<Result<Vec<Client>, _>>()?;
    let callers = usize::try_from(arguments.callers).unwrap_or(usize::MAX);
    let others = create(&clients, (arguments.others, arguments.others), callers, None).await?;
    let ids = others.samples.iter().map(|sample| sample.id().clone()).collect();
    let writers = Arc::new(Writers { clients: clients.clone(), ids });
    let measured = Duration::from_secs(arguments.measure_seconds);
    let rate_max = writers.measure_max(arguments.callers, measured).await;
    let rate = arguments.rate.unwrap_or(rate_max / 2.0).max(1.0);
    eprintln!("{rate_max:.0} writes/s at most; {rate:.0} are sent");

    let (calibration, deadline_ms) = plan(arguments, &clients, rate_max).await?;
    let asked = (arguments.sessions, arguments.samples);
    let until_ms = Some((calibration, deadline_ms));
    let population = create(&clients, asked, callers, until_ms).await?;
    // Creating takes minutes, in which the clock is slewed: asked again, it says better when the deadline is.
    let window = Duration::from_secs(arguments.window_seconds);
    let schedule = Schedule::new(Calibration::take(first(&clients)?).await?, deadline_ms, window);
    let start = schedule.start().filter(|start| *start > Instant::now()).ok_or_else(|| {
        HarnessError::Unreadable("creating the sessions took too long: see --create-seconds".to_owned())
    })?;
    eprintln!(
        "{} sessions are there; they expire in {:?}",
        arguments.sessions,
        schedule.earliest.saturating_duration_since(Instant::now())
    );
    tokio::time::sleep_until(start.into()).await;
    let seen =
        see_through(&mut cluster, clients, writers, (population.samples, population.spread), rate, &schedule);
    let seen = seen.await?;
    let leader = cluster.wait_leader().await?;
    let status = cluster.status(leader).await?;
    let [quiet, storm, end] = schedule.windows();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let report = Report {
        sessions: number(arguments.sessions),
        others: number(arguments.others),
        samples_min: arguments.samples.min(arguments.sessions),
        rate_max,
        rate,
        window: schedule.window,
        quiet: Window::of(&seen.ops, quiet, storm),
        storm: Window::of(&seen.ops, storm, end),
        spread: population.spread + (schedule.latest - schedule.earliest),
        looks: seen.looks,
        live_before: seen.live_before,
        live_after: status.sessions,
        live_down: seen.live_down,
        reaped: seen.reaped,
        terms: status.term.saturating_sub(term),
        nodes: cluster.ids(),
        digests: cluster.digests().await?,
    };
    cluster.stop_all().await?;
    Ok(report)
}

/// What was seen from the start of the load to the end of reaping.
struct Through {
    ops: Vec<Op>,
    looks: Looks,
    /// Live sessions shortly before the deadline; `None`: the answer came later.
    live_before: Option<u64>,
    /// How long after it only the others were left.
    live_down: Option<Duration>,
    /// How long after it nothing was left to reap.
    reaped: Option<Duration>,
}

/// The load, the looks and the counting, all at once.
async fn see_through(
    cluster: &mut ProcessCluster,
    clients: Vec<Client>,
    writers: Arc<Writers>,
    (samples, spread): (Vec<Sample>, Duration),
    rate: f64,
    schedule: &Schedule,
) -> Result<Through, HarnessError> {
    let panicked = |error: tokio::task::JoinError| HarnessError::Unreadable(error.to_string());
    let [quiet, _, end] = schedule.windows();
    let start = quiet.checked_sub(WARM_UP).unwrap_or(quiet);
    let others = u64::try_from(writers.ids.len()).unwrap_or(u64::MAX);
    let writing = tokio::spawn(writers.open_loop(rate, start, end));
    let until = schedule.latest + spread + GRACE + Duration::from_secs(1);
    let deadline = (schedule.earliest, schedule.latest);
    let looking = tokio::spawn(async move { look(&clients, samples, deadline, until).await });
    let (live_before, live_down) = count(cluster, schedule, others).await?;
    let ops = writing.await.map_err(panicked)??;
    let looks = looking.await.map_err(panicked)?;
    let reaped = wait_reaped(cluster).await.map(|()| schedule.earliest.elapsed()).ok();
    Ok(Through { ops, looks, live_before, live_down, reaped })
}

/// What the cluster's clock shows when the sessions expire: leaves time to create them and for a window before it.
async fn plan(
    arguments: &Arguments,
    clients: &[Client],
    rate_max: f64,
) -> Result<(Calibration, u64), HarnessError> {
    let calibration = Calibration::take(first(clients)?).await?;
    let window = Duration::from_secs(arguments.window_seconds);
    // Creating is about as fast as writing; twice the time leaves room for a machine that is busy.
    let sessions = u32::try_from(arguments.sessions).map_or(f64::INFINITY, f64::from);
    let creating = arguments.create_seconds.map_or_else(
        || Duration::try_from_secs_f64(2.0 * sessions / rate_max.max(1.0)).unwrap_or(Duration::MAX),
        Duration::from_secs,
    );
    let lead = creating.saturating_add(Duration::from_secs(2) + WARM_UP + window + LEAD);
    let deadline_ms = calibration.shown_in(lead.min(Duration::from_secs(24 * 3600)));
    Ok((calibration, deadline_ms))
}

fn first(clients: &[Client]) -> Result<&Client, HarnessError> {
    clients.first().ok_or_else(|| HarnessError::Unreadable("no client".to_owned()))
}

/// Counts the live sessions, by the leader's Status: shortly before the deadline, if the answer comes in time; and how
/// long after it only `others` are left.
async fn count(
    cluster: &mut ProcessCluster,
    schedule: &Schedule,
    others: u64,
) -> Result<(Option<u64>, Option<Duration>), HarnessError> {
    let moment = schedule.earliest.checked_sub(COUNT_LEAD).unwrap_or(schedule.earliest);
    tokio::time::sleep_until(moment.into()).await;
    let leader = cluster.wait_leader().await?;
    let before = cluster.status(leader).await?.sessions;
    let before = (Instant::now() < schedule.earliest).then_some(before);
    let down = until("the live sessions are down", PATIENCE, || async {
        let live = cluster.status(leader).await.map_err(|error| error.to_string())?.sessions;
        if live <= others { Ok(schedule.earliest.elapsed()) } else { Err(format!("{live}")) }
    })
    .await;
    Ok((before, down.ok()))
}

/// Waits until the log grows by ticks alone: Status does not tell how many records are left.
async fn wait_reaped(cluster: &mut ProcessCluster) -> Result<(), HarnessError> {
    let leader = cluster.wait_leader().await?;
    until("nothing is left to reap", PATIENCE, || async {
        let index = || async {
            cluster
                .status(leader)
                .await
                .map(|status| status.last_log_index)
                .map_err(|error| error.to_string())
        };
        let before = index().await?;
        // How much the log grows in a second is what is asked for.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let grown = index().await?.saturating_sub(before);
        if grown <= TICKS_PER_SECOND_MAX { Ok(()) } else { Err(format!("{grown} entries in a second")) }
    })
    .await
}
