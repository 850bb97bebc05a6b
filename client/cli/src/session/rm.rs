//! `quorate session rm`.

use clap::Args;

use super::receipt::Ended;
use super::target::{ID_HELP, Target};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session rm --id-file alice.id
  printf %s \"$ID\" | quorate session rm -

After this, nothing revives the session. A session that is not there is exit code 3.

{ID_HELP}

JSON: {{\"position\"}}."
    )
}

/// End a session (logout)
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct RmArguments {
    #[command(flatten)]
    target: Target,
}

/// Ends the session.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: RmArguments) -> Result<(), Failure> {
    let id = arguments.target.read(&mut context.input)?;
    let position = context.client.delete(&id).await?;
    context.print(&Ended { position: position.to_string() })
}
