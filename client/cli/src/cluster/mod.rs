//! `quorate cluster`: what the nodes say of themselves and each other.
//!
//! # Layout
//!
//! - `status`: the command. `survey`: asks the nodes. `view`: what follows from their answers, no network.
//! - `digest`: compares states. `report`: shows it all.

mod digest;
mod report;
mod status;
mod survey;
mod view;

use clap::Subcommand;

use crate::arguments::Global;
use crate::context::Context;
use crate::failure::Failure;

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the nodes: who leads, how far each is, and whether they agree
    Status(status::StatusArguments),
}

/// Runs a `cluster` command.
///
/// # Errors
///
/// Whatever the subcommand failed with.
pub(crate) async fn run(global: &Global, command: ClusterCommand) -> Result<(), Failure> {
    let context = Context::new(global)?;
    match command {
        ClusterCommand::Status(arguments) => status::run(&context, global, arguments).await,
    }
}
