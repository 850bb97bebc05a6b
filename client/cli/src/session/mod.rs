//! `quorate session`: one file per subcommand.
//!
//! # Layout
//!
//! - `target`: which session is meant, and the file that a new id goes to.
//! - `delivery`: how a new id reaches whoever asked for it.
//! - `change`: what `set` and `patch` have in common.
//! - `receipt`: what a change answers.

mod change;
mod create;
mod delivery;
mod get;
mod patch;
mod receipt;
mod regenerate;
mod rm;
mod set;
mod target;
mod touch;

use clap::Subcommand;

use crate::arguments::Global;
use crate::context::Context;
use crate::failure::Failure;

/// What to do with a session.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Create a session and print its id
    Create(create::CreateArguments),
    /// Read a session
    Get(get::GetArguments),
    /// Replace all attributes of a session
    Set(set::SetArguments),
    /// Change some attributes of a session and leave the others alone
    Patch(patch::PatchArguments),
    /// End a session (logout)
    Rm(rm::RmArguments),
    /// Renew a session's idle deadline
    Touch(touch::TouchArguments),
    /// Give a session a new id; the old one is dead at once
    Regenerate(regenerate::RegenerateArguments),
}

/// Runs a `session` command.
///
/// # Errors
///
/// Whatever the subcommand failed with.
pub(crate) async fn run(global: &Global, command: SessionCommand) -> Result<(), Failure> {
    let mut context = Context::new(global)?;
    match command {
        SessionCommand::Create(arguments) => create::run(&mut context, arguments).await,
        SessionCommand::Get(arguments) => get::run(&mut context, arguments).await,
        SessionCommand::Set(arguments) => set::run(&mut context, arguments).await,
        SessionCommand::Patch(arguments) => patch::run(&mut context, arguments).await,
        SessionCommand::Rm(arguments) => rm::run(&mut context, arguments).await,
        SessionCommand::Touch(arguments) => touch::run(&mut context, arguments).await,
        SessionCommand::Regenerate(arguments) => regenerate::run(&mut context, arguments).await,
    }
}
