//! Log lines: text or JSON on standard error; panics are logged too.

use std::backtrace::Backtrace;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging for the whole process. Later calls do nothing: the first one wins.
///
/// `level` is a level or `tracing` directives, checked by [`crate::config`].
pub fn start(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_new(directives(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_ok() {
        log_panics();
    }
}

/// A bare level is meant for Quorate's own lines: the libraries below say only what is wrong, unless directives ask
/// for more. (openraft at `info` tells of every message.)
fn directives(level: &str) -> String {
    const LIBRARIES: [&str; 7] = ["openraft", "raft_engine", "sled", "h2", "hyper", "hyper_util", "tower"];
    let verbose = ["info", "debug", "trace"].iter().any(|verbose| level.eq_ignore_ascii_case(verbose));
    if !verbose {
        return level.to_owned();
    }
    // openraft warns of each try to reach a peer; `consensus` tells once.
    let level_of = |library: &str| if library == "openraft" { "error" } else { "warn" };
    let quiet: Vec<_> = LIBRARIES.iter().map(|library| format!("{library}={}", level_of(library))).collect();
    format!("{level},{}", quiet.join(","))
}

/// A panic becomes a log line, then does what it would have done.
fn log_panics() {
    let earlier = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            location,
            backtrace = %Backtrace::capture(),
            "panic: {message}"
        );
        earlier(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_keeps_the_libraries_quiet_and_directives_are_taken_as_they_are() {
        for level in ["info", "debug", "TRACE"] {
            let directives = directives(level);
            assert!(directives.starts_with(level) && directives.contains("openraft=error"), "{directives}");
            assert!(EnvFilter::try_new(directives).is_ok());
        }
        for level in ["warn", "error", "off", "info,openraft=info", "quorate_node=debug"] {
            assert_eq!(directives(level), level);
        }
    }
}
