//! `quorate ns rm`.

use clap::Args;
use serde::Serialize;

use crate::confirm::confirm;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Report, pairs};

const HELP: &str = "\
Examples:
  quorate ns rm shop
  quorate ns rm shop --yes

All its sessions end in one step, and no watcher is told of each. The namespace \"default\" stays.

JSON: {\"position\"}.";

/// Delete a namespace and end all its sessions
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct RmArguments {
    /// The namespace
    name: String,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Gone {
    position: String,
}

impl Report for Gone {
    fn table(&self) -> String {
        pairs(&[("position", self.position.clone())])
    }
}

/// Deletes it, after having asked.
///
/// # Errors
///
/// [`Failure::Client`] when it was refused, [`Failure::Declined`]; others for output.
pub(crate) async fn run(context: &Context, arguments: RmArguments) -> Result<(), Failure> {
    let RmArguments { name, yes } = arguments;
    if !yes {
        let namespace = context.client.get_namespace(&name).await?;
        let sessions = namespace.counters.live;
        confirm(false, &format!("Delete namespace {} and end its {sessions} sessions?", namespace.name))?;
    }
    let position = context.client.delete_namespace(name).await?;
    context.print(&Gone { position: position.to_string() })
}
