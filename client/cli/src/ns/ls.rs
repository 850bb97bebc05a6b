//! `quorate ns ls`.

use clap::Args;

use super::report::NamespacesReport;
use crate::context::Context;
use crate::failure::Failure;

const HELP: &str = "\
Examples:
  quorate ns ls
  quorate ns ls --output json

SESSIONS and BYTES are what is in memory now, EVENTS what is kept for watchers; the others count
since the namespace was created. DELETED are all that ended before a timeout of theirs.

JSON: {\"namespaces\": [...]}, each as `quorate ns show` gives it.";

/// List the namespaces and what is in them
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct LsArguments {}

/// Lists them.
///
/// # Errors
///
/// [`Failure::Client`] when they cannot be read; others for output.
pub(crate) async fn run(context: &Context, _: LsArguments) -> Result<(), Failure> {
    context.print(&NamespacesReport::of(context.client.namespaces().await?))
}
