//! `quorate ns`: namespaces, one for each application. One file per subcommand.
//!
//! # Layout
//!
//! - `settings`: a policy's settings as options.
//! - `report`: how namespaces are shown.

mod create;
mod ls;
mod report;
mod rm;
mod set;
mod settings;
mod show;

use clap::Subcommand;

use crate::arguments::Global;
use crate::context::Context;
use crate::failure::Failure;

/// What to do with namespaces.
#[derive(Debug, Subcommand)]
pub(crate) enum NsCommand {
    /// Create a namespace
    Create(create::CreateArguments),
    /// List the namespaces and what is in them
    Ls(ls::LsArguments),
    /// Show a namespace's policy and counters
    Show(show::ShowArguments),
    /// Change a namespace's policy
    Set(set::SetArguments),
    /// Delete a namespace and end all its sessions
    Rm(rm::RmArguments),
}

impl NsCommand {
    /// Whether it may change anything.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, NsCommand::Ls(_) | NsCommand::Show(_))
    }
}

/// Runs a `ns` command.
///
/// # Errors
///
/// Whatever the subcommand failed with.
pub(crate) async fn run(global: &Global, command: NsCommand) -> Result<(), Failure> {
    let context = Context::new(global)?;
    match command {
        NsCommand::Create(arguments) => create::run(&context, arguments).await,
        NsCommand::Ls(arguments) => ls::run(&context, arguments).await,
        NsCommand::Show(arguments) => show::run(&context, arguments).await,
        NsCommand::Set(arguments) => set::run(&context, arguments).await,
        NsCommand::Rm(arguments) => rm::run(&context, arguments).await,
    }
}
