//! `quorate session`: one file per subcommand.
//!
//! # Layout
//!
//! - `target`: which session is meant, and the file that a new id goes to.
//! - `delivery`: how a new id reaches whoever asked for it.
//! - `change`: what `set` and `patch` have in common.
//! - `receipt`: what a change answers. `lock_state`: how a lock that somebody holds is shown.
//! - `under_lock`: a command that runs while the lock is held.

mod change;
mod create;
mod delivery;
mod get;
mod lock;
mod lock_state;
mod ls;
mod patch;
mod receipt;
mod regenerate;
mod revoke;
mod rm;
mod set;
mod target;
mod touch;
mod under_lock;
mod unlock;
mod watch;

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
    /// Renew the idle deadlines of sessions
    Touch(touch::TouchArguments),
    /// Give a session a new id; the old one is dead at once
    Regenerate(regenerate::RegenerateArguments),
    /// List sessions
    Ls(ls::LsArguments),
    /// Show what happens to sessions, as it happens
    Watch(watch::WatchArguments),
    /// Lock a session, or run a command under its lock
    Lock(lock::LockArguments),
    /// Give a lock back, or break somebody else's
    Unlock(unlock::UnlockArguments),
    /// End all sessions of a user
    Revoke(revoke::RevokeArguments),
}

impl SessionCommand {
    /// Whether it may change anything but how long a session that is read lives.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, SessionCommand::Get(_) | SessionCommand::Ls(_) | SessionCommand::Watch(_))
    }
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
        SessionCommand::Ls(arguments) => ls::run(&context, arguments).await,
        SessionCommand::Watch(arguments) => watch::run(&context, arguments).await,
        SessionCommand::Lock(arguments) => lock::run(&mut context, arguments).await,
        SessionCommand::Unlock(arguments) => unlock::run(&mut context, arguments).await,
        SessionCommand::Revoke(arguments) => revoke::run(&mut context, arguments).await,
    }
}
