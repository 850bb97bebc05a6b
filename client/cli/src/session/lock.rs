//! `quorate session lock`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use quorate_client::{AttributeSelection, ErrorKind, GetOptions, LockGuard, LockOptions, SessionId};

use super::receipt::Locked;
use super::target::Target;
use super::under_lock;
use crate::arguments::positive_duration;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, print_bytes};

const HELP: &str = "\
Examples:
  quorate session lock --id-file alice.id --wait 10s -- ./rebuild-cart.sh
  quorate session lock --id-file alice.id --lease 5m --owner \"$HOSTNAME\"
  FENCE=$(quorate session lock --id-file alice.id --quiet)
  quorate session patch --id-file alice.id --fence 7 --release cart=@cart.json

With a COMMAND the lock is renewed for as long as that runs, and given back when it ends. The
command finds the lock's token in QUORATE_FENCE; hand it to `session set` and `patch` by --fence.
It must not give the lock back itself. When the lock is lost, also because the session ended, the
command is told to stop (SIGTERM) and the exit code is 8; else it is the command's own.

Without a COMMAND the lock is held until its lease ends, or `session unlock --fence`. --renew
prolongs it.

While the lock is held, changes without its token are refused; reads, `rm` and `revoke` are not.

Session ids are secrets: prefer --id-file FILE, or - to read the id from standard input.

JSON, without a COMMAND: {\"fence\", \"lease_ms\", \"position\"}.";

/// Lock a session, or run a command under its lock
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct LockArguments {
    #[command(flatten)]
    target: Target,

    /// How long the lock is held unless renewed: 1s to 1h
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "30s")]
    lease: Duration,

    /// Wait in line so long while somebody else holds the lock: 1m at most
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, conflicts_with = "renew")]
    wait: Option<Duration>,

    /// A name for whoever looks who holds the lock
    #[arg(long, value_name = "NAME", conflicts_with = "renew")]
    owner: Option<String>,

    /// Renew the lock that is held with this token, instead of taking it
    #[arg(long, value_name = "FENCE", conflicts_with = "command")]
    renew: Option<u64>,

    /// Print nothing but the token
    #[arg(long, short, conflicts_with = "command")]
    quiet: bool,

    /// Run this under the lock
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Takes the lock, and runs the command under it if there is one.
///
/// # Errors
///
/// [`Failure::Client`] when it was not had; [`Failure::Command`], [`Failure::LostLock`]; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: LockArguments) -> Result<(), Failure> {
    let id = arguments.target.read(&mut context.input)?;
    if let Some(fence) = arguments.renew {
        let position = context.client.renew_lock(&id, fence, arguments.lease).await?;
        return tell(context, arguments.quiet, fence, arguments.lease, position.to_string());
    }
    let options = LockOptions::new()
        .lease(arguments.lease)
        .wait(arguments.wait.unwrap_or_default())
        .owner(arguments.owner.unwrap_or_default());
    if !arguments.command.is_empty() {
        return locked(context, &id, options, &arguments.command).await;
    }
    let guard = taken(context, &id, options).await?;
    let position = guard.position().to_string();
    tell(context, arguments.quiet, guard.into_fence(), arguments.lease, position)
}

async fn locked(
    context: &Context,
    id: &SessionId,
    options: LockOptions,
    command: &[OsString],
) -> Result<(), Failure> {
    let guard = taken(context, id, options).await?;
    under_lock::run(context.format, guard, command).await
}

/// Takes the lock; where somebody else holds it, says who, if that one has a name.
async fn taken(context: &Context, id: &SessionId, options: LockOptions) -> Result<LockGuard, Failure> {
    let error = match context.client.lock(id, options).await {
        Ok(guard) => return Ok(guard),
        Err(error) if matches!(error.kind(), ErrorKind::Locked { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let look = GetOptions { touch: false, attributes: AttributeSelection::None, ..GetOptions::default() };
    let lock = context.client.get_with(id, look).await.ok().and_then(|session| session.lock);
    match lock.map(|lock| lock.owner).filter(|owner| !owner.is_empty()) {
        Some(owner) => Err(Failure::Held { error: Box::new(error), owner }),
        None => Err(error.into()),
    }
}

fn tell(
    context: &Context,
    quiet: bool,
    fence: u64,
    lease: Duration,
    position: String,
) -> Result<(), Failure> {
    if quiet && context.format == Format::Table {
        return print_bytes(format!("{fence}\n").as_bytes());
    }
    context.print(&Locked { fence, lease_ms: crate::output::millis(lease), position })
}
