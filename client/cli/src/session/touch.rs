//! `quorate session touch`.

use clap::Args;

use super::receipt::Renewed;
use super::target::{ID_HELP, Target};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::millis;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session touch --id-file alice.id
  printf %s \"$ID\" | quorate session touch -

{ID_HELP}

JSON: {{\"remaining_ms\" (null when the session never expires), \"position\"}}."
    )
}

/// Renew a session's idle deadline
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct TouchArguments {
    #[command(flatten)]
    target: Target,
}

/// Touches the session.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: TouchArguments) -> Result<(), Failure> {
    let id = arguments.target.read(&mut context.input)?;
    let touched = context.client.touch(&id).await?;
    context.print(&Renewed {
        remaining_ms: touched.remaining.map(millis),
        position: touched.position.to_string(),
    })
}
