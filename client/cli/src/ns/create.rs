//! `quorate ns create`.

use clap::Args;

use super::report::Put;
use super::settings::{SYNTAX_HELP, Settings};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate ns create shop
  quorate ns create shop --default-idle 30m --anonymous-idle 2m --sessions-max 1000000
  quorate ns create admin --principal-sessions-max 1 --principal-overflow end-oldest

A session belongs to the namespace that --namespace named when it was created. There is always
one called \"default\".

{SYNTAX_HELP}

JSON: {{\"created\", \"position\"}}."
    )
}

/// Create a namespace
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct CreateArguments {
    /// 1 to 64 characters of A-Z a-z 0-9 - _ .
    name: String,

    #[command(flatten)]
    settings: Settings,
}

/// Creates the namespace.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for output.
pub(crate) async fn run(context: &Context, arguments: CreateArguments) -> Result<(), Failure> {
    let put = context.client.create_namespace(arguments.name, arguments.settings.change()).await?;
    context.print(&Put { created: put.created, position: put.position.to_string() })
}
