//! `quorated`: the command line of a node.
//!
//! # Layout
//!
//! ```text
//! args     flags and help, made from the table of settings
//! run      starts a node, waits for a signal or a failure, stops it
//! health   asks a node's admin listener, for scripts and containers
//! ```

mod args;
pub(crate) mod health;
mod run;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{self, ConfigError, Loaded};

/// Bad settings or a refused start; nothing was changed. (1 is a failure later on.)
const REFUSED: u8 = 2;

/// The longest wait of `quorated health`.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs `quorated` with this process's arguments and environment.
///
/// Exit codes: 0 stopped in order or healthy, 1 failed or unhealthy, 2 refused to start.
#[must_use]
pub fn main() -> ExitCode {
    let matches = match args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // When even this cannot be printed, the exit code is all there is.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    let loaded = match config::load(args::settings(&matches), environment(), args::config(&matches)) {
        Ok(loaded) => loaded,
        Err(error) => return refused(&error),
    };
    match matches.subcommand() {
        Some(("config", _)) => {
            loaded.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
            print(&loaded.settings.to_toml())
        }
        Some(("health", sub)) => check_health(args::admin(sub), &loaded),
        _ => run::run(&loaded),
    }
}

/// The environment as text; a variable that is not UTF-8 is none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn refused(error: &ConfigError) -> ExitCode {
    complain(&format!("{error}\nSee quorated --help."));
    ExitCode::from(REFUSED)
}

fn check_health(admin: Option<String>, loaded: &Loaded) -> ExitCode {
    let address = admin.unwrap_or_else(|| health::local(loaded.settings.admin_listen));
    match health::check(&address, HEALTH_TIMEOUT) {
        Ok(answer) => print(&format!("{answer}\n")),
        Err(reason) => {
            complain(&reason);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    let printed = std::io::stdout().write_all(text.as_bytes());
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(text: &str) {
    // There is nowhere else to say it.
    let _ = writeln!(std::io::stderr(), "quorated: {text}");
}
