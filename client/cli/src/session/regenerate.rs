//! `quorate session regenerate`.

use std::path::PathBuf;

use clap::Args;

use super::receipt::NewId;
use super::target::{ID_HELP, IdFile, Target};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, print_bytes};

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session regenerate --id-file alice.id --save-id alice.id
  NEW=$(printf %s \"$ID\" | quorate session regenerate --quiet -)

Do this when a user signs in: an id that was planted before is worth nothing afterwards.

{ID_HELP}

JSON: {{\"id\", \"handle\", \"version\", \"position\"}}, without \"id\" after --save-id."
    )
}

/// Give a session a new id; the old one is dead at once
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct RegenerateArguments {
    #[command(flatten)]
    target: Target,

    /// Write the new id to this file (mode 0600) instead of printing it; may be the file of --id-file
    #[arg(long, value_name = "FILE")]
    save_id: Option<PathBuf>,

    /// Print nothing but the new id
    #[arg(long, short, conflicts_with = "save_id")]
    quiet: bool,
}

/// Regenerates the id and shows the new one.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: RegenerateArguments) -> Result<(), Failure> {
    let old = arguments.target.read(&mut context.input)?;
    let file = arguments.save_id.as_deref().map(IdFile::open).transpose()?;
    let created = context.client.regenerate(&old).await?;
    if arguments.quiet && context.format == Format::Table {
        return print_bytes(format!("{}\n", created.id.reveal()).as_bytes());
    }
    let mut id = Some(created.id.reveal().to_owned());
    if let Some(file) = file {
        file.save(&created.id)?;
        id = None;
    }
    context.print(&NewId {
        id,
        handle: created.handle,
        version: created.version,
        position: created.position.to_string(),
    })
}
