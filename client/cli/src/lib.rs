//! `quorate`: the command line of Quorate.
//!
//! # Layout
//!
//! - `arguments`: the command line as a whole and the options that every command has.
//! - `session`, `ns`, `cluster`, `bench`, `completions`: one module per command, one file per subcommand.
//! - `input`, `attribute`: what goes in; `output`: what comes out, as a table or JSON.
//! - `limit`: durations, sizes and numbers as people write them; `confirm`: asks first; `signals`: Ctrl-C.
//! - `failure`, `exit`: errors and exit codes.

mod arguments;
mod attribute;
mod bench;
mod cluster;
mod completions;
mod confirm;
mod context;
mod exit;
mod failure;
mod input;
mod limit;
mod ns;
mod output;
mod run;
mod session;
mod signals;

/// Runs the command line of this process and gives its exit code.
#[must_use]
pub fn main() -> std::process::ExitCode {
    run::main().into()
}
