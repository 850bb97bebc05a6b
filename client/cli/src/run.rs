//! Runs a command line from parsing to the exit code.

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use crate::arguments::{Arguments, Command};
use crate::exit::Exit;
use crate::failure::{Failure, one_line};
use crate::output::Format;
use crate::{bench, cluster, completions, ns, session};

/// Parses the process's arguments, runs the command, tells a failure and returns the exit code.
pub(crate) fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let format = arguments.global.output;
    match run(arguments) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            failure.report(format);
            failure.exit()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { global, command } = arguments;
    let mut builder = match &command {
        // One command at a time waits for the network: more threads would only cost start-up.
        Command::Session(_) | Command::Ns(_) | Command::Cluster(_) => {
            tokio::runtime::Builder::new_current_thread()
        }
        Command::Bench(_) => tokio::runtime::Builder::new_multi_thread(),
        Command::Completions(arguments) => return completions::run(*arguments),
    };
    let runtime = builder.enable_all().build();
    let runtime =
        runtime.map_err(|source| Failure::Read { what: "the asynchronous runtime".to_owned(), source })?;
    let changes = command.changes();
    let ran = runtime.block_on(async move {
        match command {
            Command::Session(command) => session::run(&global, command).await,
            Command::Ns(command) => ns::run(&global, command).await,
            Command::Cluster(command) => cluster::run(&global, command).await,
            Command::Bench(arguments) => bench::run(&global, arguments).await,
            Command::Completions(arguments) => completions::run(arguments),
        }
    });
    if changes { ran } else { ran.map_err(Failure::without_effect) }
}

/// Help and version are no errors; everything else is a usage error, told as JSON if that was asked for.
fn refused(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            Exit::Ok
        }
        _ => {
            if wants_json(std::env::args_os()) {
                Failure::Usage(summary(&error.to_string())).report(Format::Json);
            } else {
                let _ = error.print();
            }
            Exit::Usage
        }
    }
}

/// What clap says before its usage line and tips, as one line.
fn summary(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let said = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    one_line(&said.collect::<Vec<_>>().join(" "))
}

/// Whether `--output json` stands in a command line that could not be parsed.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut previous_is_output = false;
    for argument in arguments {
        if argument == "--output=json" || (previous_is_output && argument == "json") {
            return true;
        }
        previous_is_output = argument == "--output";
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(line: &str) -> bool {
        wants_json(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_usage_error_is_one_line() {
        let text = "error: the following are missing:\n  <ID>\n\nUsage: quorate session rm <ID>\n";
        assert_eq!(summary(text), "the following are missing: <ID>");
    }

    #[test]
    fn json_is_recognized_in_a_broken_command_line() {
        assert!(json("quorate --output json session frobnicate"));
        assert!(json("quorate session frobnicate --output=json"));
        assert!(!json("quorate session frobnicate"));
        assert!(!json("quorate session set json"));
    }
}
