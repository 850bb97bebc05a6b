//! `quorate session regenerate`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::SessionId;

use super::delivery::Delivery;
use super::target::{ID_HELP, Target};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session regenerate --id-file alice.id --save-id alice.id
  NEW=$(printf %s \"$ID\" | quorate session regenerate --quiet -)

Do this when a user signs in: an id that was planted before is worth nothing afterwards.

With exit code 6 either id may be the live one. The new one is printed or saved all the same; to
FILE.new if the FILE of --save-id holds the old one, which is kept.

{ID_HELP}

JSON: {{\"id\", \"handle\", \"version\", \"position\"}}, without \"id\" after --save-id;
  with exit code 6 {{\"id\"}}, or nothing after --save-id."
    )
}

/// Give a session a new id; the old one is dead at once
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct RegenerateArguments {
    #[command(flatten)]
    target: Target,

    /// Write the new id to this file (mode 0600; - is refused) instead of printing it; may be the
    /// file of --id-file
    #[arg(long, value_name = "FILE")]
    save_id: Option<PathBuf>,

    /// Keep the lock that is held with this token, under the new id
    #[arg(long, value_name = "FENCE")]
    fence: Option<u64>,

    /// Print nothing but the new id
    #[arg(long, short, conflicts_with = "save_id")]
    quiet: bool,
}

/// Regenerates the id and shows the new one.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused, [`Failure::Unconfirmed`] when nobody knows; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: RegenerateArguments) -> Result<(), Failure> {
    let old = arguments.target.read(&mut context.input)?;
    let delivery = Delivery::open(arguments.save_id.as_deref(), arguments.quiet)?;
    let new = SessionId::random();
    let renewed = match arguments.fence {
        Some(fence) => context.client.regenerate_locked(&old, new.clone(), fence).await,
        None => context.client.regenerate_to(&old, new.clone()).await,
    };
    match renewed {
        Ok(created) => delivery.deliver(context, &created),
        Err(error) if error.may_have_taken_effect() => {
            Err(delivery.deliver_unconfirmed(context, error, &new, Some(&old)))
        }
        Err(error) => Err(error.into()),
    }
}
