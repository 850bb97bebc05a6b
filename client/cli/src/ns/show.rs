//! `quorate ns show`.

use clap::Args;

use super::report::NamespaceReport;
use crate::context::Context;
use crate::failure::Failure;

const HELP: &str = "\
Examples:
  quorate ns show default
  quorate ns show shop --output json

First what is in it and happened there since it was created, then its policy, named as the
options of `quorate ns set` are. Sessions that end together count as they leave memory.

JSON: {\"name\", \"policy\": {\"default_idle_ms\", \"default_absolute_ms\", \"longest_idle_ms\",
  \"longest_absolute_ms\", \"anonymous_idle_ms\", \"granule_ms\", \"session_bytes_max\",
  \"attributes_max\", \"sessions_max\", \"bytes_max\", \"principal_sessions_max\",
  \"principal_overflow\", \"tombstone_ms\", \"events_max\", \"events_bytes_max\"}, \"counters\": {\"live\",
  \"bytes\", \"created\", \"expired\", \"deleted\", \"lock_waits\", \"events\", \"event_bytes\"}}.
  A limit that is not there is null.";

/// Show a namespace's policy and counters
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ShowArguments {
    /// The namespace
    name: String,
}

/// Shows the namespace.
///
/// # Errors
///
/// [`Failure::Client`] when it cannot be read; others for output.
pub(crate) async fn run(context: &Context, arguments: ShowArguments) -> Result<(), Failure> {
    let namespace = context.client.get_namespace(arguments.name).await?;
    context.print(&NamespaceReport::of(namespace))
}
