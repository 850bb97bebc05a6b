//! `quorate session rm`.

use std::path::PathBuf;

use clap::Args;

use super::receipt::Ended;
use super::target::{ID_HELP, Secret, handle, read_id};
use crate::context::Context;
use crate::failure::Failure;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session rm --id-file alice.id
  printf %s \"$ID\" | quorate session rm -
  quorate session rm --handle 3f0c7d9a5be84a61c2a7e5d0b1f48823

After this, nothing revives the session. A session that is not there is exit code 3.
--handle is for administrators, who have no ids: `session ls` lists the handles.

{ID_HELP}

JSON: {{\"position\"}}."
    )
}

/// End a session (logout)
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct RmArguments {
    /// The session's id, or - to read it from standard input; visible in ps, so prefer --id-file
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    #[arg(required_unless_present_any = ["id_file", "handle"], conflicts_with = "handle")]
    id: Option<Secret>,

    /// Read the session's id from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "handle"])]
    id_file: Option<PathBuf>,

    /// The session's handle, instead of its id
    #[arg(long, value_name = "HEX", value_parser = handle)]
    handle: Option<String>,
}

/// Ends the session.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: RmArguments) -> Result<(), Failure> {
    let position = match arguments.handle {
        Some(handle) => context.client.delete_handle(handle).await?,
        None => {
            let id = read_id(arguments.id.as_ref(), arguments.id_file.as_deref(), &mut context.input)?;
            context.client.delete(&id).await?
        }
    };
    context.print(&Ended { position: position.to_string() })
}
