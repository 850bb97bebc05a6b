//! `quorate session unlock`.

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
  quorate session unlock --id-file alice.id --fence 7
  quorate session unlock --break --handle 3f0c7d9a5be84a61c2a7e5d0b1f48823

The first gives back a lock that is held with this token; exit code 8 when it is held no longer.
The second takes it from whoever holds it, for administrators: `session ls` shows the handles.
The next in line has it at once; the late holder's changes are refused by their token.

{ID_HELP}

JSON: {{\"position\"}}."
    )
}

/// Give a lock back, or break somebody else's
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct UnlockArguments {
    /// The session's id, or - to read it from standard input; visible in ps, so prefer --id-file
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    #[arg(required_unless_present_any = ["id_file", "handle"], conflicts_with = "handle")]
    id: Option<Secret>,

    /// Read the session's id from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "handle"])]
    id_file: Option<PathBuf>,

    /// The token that `session lock` printed
    #[arg(long, value_name = "FENCE", required_unless_present = "break_lock")]
    fence: Option<u64>,

    /// Take the lock away from whoever holds it
    #[arg(long = "break", requires = "handle", conflicts_with_all = ["fence", "id", "id_file"])]
    break_lock: bool,

    /// The session's handle, for --break
    #[arg(long, value_name = "HEX", value_parser = handle, requires = "break_lock")]
    handle: Option<String>,
}

/// Gives the lock back, or breaks it.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: UnlockArguments) -> Result<(), Failure> {
    let position = match (arguments.handle, arguments.fence) {
        (Some(handle), _) => context.client.break_lock(handle).await?,
        (None, fence) => {
            let fence = fence.ok_or_else(|| Failure::Usage("no token: give --fence".to_owned()))?;
            let id = read_id(arguments.id.as_ref(), arguments.id_file.as_deref(), &mut context.input)?;
            context.client.unlock(&id, fence).await?
        }
    };
    context.print(&Ended { position: position.to_string() })
}
