//! `quorate session touch`.

use std::path::PathBuf;

use clap::Args;

use super::receipt::{Renewed, RenewedMany};
use super::target::{ID_HELP, Secret};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::millis;

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session touch --id-file alice.id
  printf %s \"$ID\" | quorate session touch -
  quorate session touch - < all.ids

Many are touched in one step for each 1000. Exit code 3 when some are not there; the others are
touched.

{ID_HELP}
  A file, or standard input, may hold several ids, one on a line.

JSON: {{\"remaining_ms\" (null when the session never expires), \"position\"}}; of several ids
  {{\"touched\", \"missing\": [which of those named, from 1], \"position\"}}."
    )
}

/// Renew the idle deadlines of sessions
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct TouchArguments {
    /// The sessions' ids, or - to read them from standard input; visible in ps, so prefer --id-file
    #[arg(value_name = "ID", required_unless_present = "id_file")]
    ids: Vec<Secret>,

    /// Read the ids from a file, one on a line
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    id_file: Option<PathBuf>,
}

/// Touches the sessions.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused, [`Failure::Missing`] when some are not there; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: TouchArguments) -> Result<(), Failure> {
    let given: Vec<&str> = arguments.ids.iter().map(|Secret(id)| id.as_str()).collect();
    let ids = context.input.session_ids(&given, arguments.id_file.as_deref())?;
    if let [id] = ids.as_slice() {
        let touched = context.client.touch(id).await?;
        return context.print(&Renewed {
            remaining_ms: touched.remaining.map(millis),
            position: touched.position.to_string(),
        });
    }
    let touched = context.client.touch_many(&ids).await?;
    let (missing, all) = (touched.missing.len(), ids.len());
    context.print(&RenewedMany {
        touched: all - missing,
        missing: touched.missing.iter().map(|place| place + 1).collect(),
        position: touched.position.to_string(),
    })?;
    if missing > 0 { Err(Failure::Missing { missing, all }) } else { Ok(()) }
}
