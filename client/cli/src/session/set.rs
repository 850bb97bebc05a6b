//! `quorate session set`.

use clap::Args;
use quorate_client::Write;

use super::change::{ChangeOptions, TargetAndAttributes, send};
use super::target::ID_HELP;
use crate::attribute::{SYNTAX_HELP, resolve};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session set --id-file alice.id user=alice cart=@cart.json
  quorate session set --id-file alice.id --if-version 3 user=alice
  quorate session set --id-file alice.id --empty

All attributes that are not named are removed; `session patch` leaves them alone.

{SYNTAX_HELP}

{ID_HELP}

JSON: {{\"version\", \"position\"}}."
    )
}

/// Replace all attributes of a session
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct SetArguments {
    #[command(flatten)]
    target: TargetAndAttributes,

    /// Remove all attributes
    #[arg(long)]
    empty: bool,

    #[command(flatten)]
    options: ChangeOptions,
}

/// Replaces the attributes.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: SetArguments) -> Result<(), Failure> {
    let (id, attributes) = arguments.target.read(context)?;
    if attributes.is_empty() != arguments.empty {
        return Err(Failure::Usage(
            "give the attributes that the session shall have, or --empty to remove all".to_owned(),
        ));
    }
    let attributes = resolve(&attributes, &mut context.input)?;
    send(context, &id, arguments.options.apply(Write::replace(attributes))).await
}
