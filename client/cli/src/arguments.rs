//! The command line as a whole, and the options that every command has.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchArguments;
use crate::cluster::ClusterCommand;
use crate::completions::CompletionsArguments;
use crate::exit;
use crate::ns::NsCommand;
use crate::output::Format;
use crate::session::SessionCommand;

/// The nodes that are asked when nothing else is said: a local cluster as `scripts/cluster.sh up` starts it.
const DEFAULT_ENDPOINTS: &str = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103";

/// As the client has it.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const EXAMPLES: &str = "\
Examples:
  quorate cluster status
  quorate session create user=alice cart=@cart.json --idle 30m
  quorate session get --id-file alice.id --output json
  quorate session lock --id-file alice.id --wait 10s -- ./rebuild-cart.sh
  quorate session watch --principal alice
  quorate ns create shop --default-idle 30m --anonymous-idle 2m
  QUORATE_ENDPOINTS=10.0.0.1:7101,10.0.0.2:7101 quorate bench --workload write --callers 64

Output:
  Results go to standard output, errors to standard error: one line that says what happened and
  what to do. With --output json an error is one object:
  {\"error\":{\"kind\",\"reason\",\"message\",\"retryable\",\"maybe_applied\"}}; where events are gone also
  \"oldest_index\": from which position on there still are some";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit::HELP)
}

/// Use a Quorate cluster: sessions, namespaces, status, measurements.
///
/// Quorate is a replicated session store. This tool talks to any node and follows the leader.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = after_help(), max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Nodes to ask, host:port, separated by commas; the others are learnt from them
    #[arg(long, global = true, env = "QUORATE_ENDPOINTS", value_delimiter = ',', default_value = DEFAULT_ENDPOINTS)]
    #[arg(value_name = "HOST:PORT,...")]
    pub(crate) endpoints: Vec<String>,

    /// The application whose sessions are meant
    #[arg(long, global = true, env = "QUORATE_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,

    /// How long one call may take in all, retries included: 500ms, 5s, 1m; a day at most
    #[arg(long, global = true, default_value = "5s", value_parser = call_deadline, value_name = "DURATION")]
    pub(crate) deadline: Duration,

    /// A table for people or JSON for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, read, change, list, watch, lock and end sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Create, list, change and delete namespaces, one for each application
    #[command(subcommand)]
    Ns(NsCommand),
    /// Look at the nodes of the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Measure throughput and latency of a running cluster
    Bench(BenchArguments),
    /// Print a completion script for a shell
    Completions(CompletionsArguments),
}

impl Command {
    /// Whether it may change anything.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Command::Session(command) => command.changes(),
            Command::Ns(command) => command.changes(),
            Command::Bench(_) => true,
            Command::Cluster(_) | Command::Completions(_) => false,
        }
    }
}

/// A duration above zero, as people write it.
///
/// # Errors
///
/// What is wrong with `text`, for clap.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be above zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write 500ms, 5s, 30m or 12h")),
    }
}

/// As [`positive_duration`], of a call: what is longer than a day is a day.
///
/// # Errors
///
/// As [`positive_duration`].
fn call_deadline(text: &str) -> Result<Duration, String> {
    Ok(positive_duration(text)?.min(DEADLINE_MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let leaf = command.get_subcommands().next().is_none();
            assert!(!leaf || help.contains("Examples:"), "{} has no examples", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn examples_in_the_help_are_understood() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                let Some(start) = line.find("quorate ").filter(|_| line.starts_with("  ")) else { continue };
                let line = line.get(start..).unwrap_or_default();
                let end = line.find(['|', '>', '<', ')']).unwrap_or(line.len());
                let line = line.get(..end).unwrap_or_default().replace(['"', '\''], "");
                assert!(parse(&line).is_ok(), "an example is refused: {line}: {:?}", parse(&line));
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn help_fits_a_terminal_of_100_columns() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(line.chars().count() < 100, "{}: too long: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }

    #[test]
    fn global_options_stand_anywhere() {
        let arguments = parse("quorate cluster status --endpoints a:1,b:2 --deadline 250ms --output json")
            .expect("valid");
        assert_eq!(arguments.global.endpoints, ["a:1", "b:2"]);
        assert_eq!(arguments.global.deadline, Duration::from_millis(250));
        assert_eq!(arguments.global.output, Format::Json);
        assert_eq!(arguments.global.namespace, "default");
        let arguments = parse("quorate cluster status --deadline 500000000000y").expect("valid");
        assert_eq!(arguments.global.deadline, DEADLINE_MAX);
    }

    #[test]
    fn bad_values_are_refused() {
        for line in [
            "quorate",
            "quorate frobnicate",
            "quorate cluster status --deadline 0s",
            "quorate cluster status --deadline soon",
            "quorate cluster status --output xml",
            "quorate session get id --no-attributes --attribute a",
            "quorate bench --workload write --callers 0",
            "quorate bench --workload sideways",
            "quorate bench --workload lock --callers 0",
            "quorate session get id --stale 5s --touch",
            "quorate session get id --stale 5s --at-least 1-2",
            "quorate session ls --prefix xyz",
            "quorate session ls --limit 0",
            "quorate session lock id --renew 7 -- true",
            "quorate session lock id --quiet -- true",
            "quorate session unlock id",
            "quorate session unlock id --break",
            "quorate session unlock id --fence 7 --break",
            "quorate session unlock --break --handle 3f",
            "quorate session rm",
            "quorate session rm id --handle 3f0c7d9a5be84a61c2a7e5d0b1f48823",
            "quorate session set id a=1 --release",
            "quorate session watch --kind touched",
            "quorate session watch --after yesterday",
            "quorate session revoke",
            "quorate ns create",
            "quorate ns set shop --sessions-max many",
        ] {
            assert!(parse(line).is_err(), "taken: {line}");
        }
    }
}
