//! Runs a node until it is told to stop or can go on no longer.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{REFUSED, complain};
use crate::config::{Loaded, Settings};
use crate::logging;
use crate::node::Node;

/// An orderly shutdown that takes longer is given up: nothing acknowledged is lost by that.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

pub(super) fn run(loaded: &Loaded) -> ExitCode {
    logging::start(loaded.settings.log_format, &loaded.settings.log_level);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    // Transparent huge pages cost the leader a third of its time in clearing pages. Where they cannot be switched
    // off the node only runs slower.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "transparent huge pages stay on");
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("quorated").build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the runtime cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(serve(&loaded.settings));
    // What still runs has nothing to say any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

/// Each connection takes a file descriptor, and so do the log's files: the usual soft limit of 1,024 is soon reached.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, ?current, "the limit of open files stays as it is");
    }
}

async fn serve(settings: &Settings) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("signals cannot be received: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let started = tokio::select! {
        started = Node::start(settings) => started,
        name = signals.next() => {
            tracing::info!("{name} during start: stopping");
            return ExitCode::SUCCESS;
        }
    };
    let node = match started {
        Ok(node) => node,
        Err(error) => {
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!("refused to start: {error}");
            } else {
                // Logging is off; the reason is needed all the same.
                complain(&format!("refused to start: {error}"));
            }
            return ExitCode::from(REFUSED);
        }
    };
    let addresses = node.addresses();
    tracing::info!(
        node = settings.node_id,
        clients = %addresses.client,
        peers = %addresses.peer,
        admin = %addresses.admin,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    tokio::select! {
        name = signals.next() => stop(node, name, &mut signals).await,
        reason = node.failed() => {
            tracing::error!("the node cannot go on: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Stops in order; a second signal, or too long a wait, ends the process at once.
async fn stop(node: Node, name: &str, signals: &mut Signals) -> ExitCode {
    tracing::info!("{name}: stopping");
    tokio::select! {
        () = node.shutdown() => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        name = signals.next() => {
            tracing::warn!("{name} again: exiting at once");
            ExitCode::FAILURE
        }
        () = tokio::time::sleep(SHUTDOWN_TIMEOUT) => {
            tracing::error!("not stopped within {} s: exiting", SHUTDOWN_TIMEOUT.as_secs());
            ExitCode::FAILURE
        }
    }
}
