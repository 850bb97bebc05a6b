//! `quorate ns set`.

use clap::Args;

use super::report::Put;
use super::settings::{SYNTAX_HELP, Settings};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate ns set shop --default-idle 30m --default-absolute none
  quorate ns set shop --bytes-max 4GiB --session-bytes-max 64KiB
  quorate ns set default --events-max 0

Settings that are not named stay as they are.

{SYNTAX_HELP}

JSON: {{\"created\": false, \"position\"}}."
    )
}

/// Change a namespace's policy
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct SetArguments {
    /// The namespace
    name: String,

    #[command(flatten)]
    settings: Settings,
}

/// Changes the policy.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused, [`Failure::Usage`] when there is nothing to change; others for output.
pub(crate) async fn run(context: &Context, arguments: SetArguments) -> Result<(), Failure> {
    let change = arguments.settings.change();
    if change.is_empty() {
        return Err(Failure::Usage("nothing to change: name a setting".to_owned()));
    }
    let put = context.client.change_namespace(arguments.name, change).await?;
    context.print(&Put { created: put.created, position: put.position.to_string() })
}
