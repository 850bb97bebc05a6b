//! `quorate cluster status`.

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use super::digest::{self, Comparison};
use super::report::ClusterReport;
use super::survey::survey;
use super::view::View;
use crate::arguments::Global;
use crate::context::Context;
use crate::failure::Failure;

const HELP: &str = "\
Examples:
  quorate cluster status
  quorate cluster status --digest
  quorate cluster status --output json
  quorate cluster status --endpoints 10.0.0.1:7101 --deadline 1s

Columns:
  NODE       the node's number; * marks the leader
  LAST LOG   the last entry of its log
  APPLIED    how far its sessions in memory are
  PERSISTED  how far its sessions on disk are (the log holds the rest)
  LAG        entries that it is behind the leader's last applied one
  STATE      ok, or why it does not answer

Exit code 0 when there is a leader and most voters answer, else 5. With --digest the nodes that
answer are brought to one position and the digests of their states are compared there: exit code
1 when they differ, 5 when they could not be compared.

JSON: {\"cluster\", \"leader\", \"term\", \"quorum\", \"voters\", \"voters_reachable\", \"nodes\":
  [{\"node\", \"leader\", \"role\", \"address\", \"voter\", \"reachable\", \"error\", \"term\",
  \"last_log_index\", \"applied_index\", \"persisted_index\", \"lag\", \"sessions\", \"version\"}],
  \"digest\": {\"result\", \"index\", \"digests\": {NODE: hex}, \"missing\": [NODE]}}.
  What an unreachable node would say is null, and so is \"digest\" without --digest;
  \"result\" is equal, different or not_compared.";

/// Show the nodes: who leads, how far each is, and whether they agree
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct StatusArguments {
    /// Compare the nodes' states too
    #[arg(long)]
    digest: bool,
}

/// Asks all nodes and shows what they say.
///
/// # Errors
///
/// [`Failure::NoQuorum`], [`Failure::DigestsDiffer`] and [`Failure::NotCompared`], after the table was shown.
pub(crate) async fn run(
    context: &Context,
    global: &Global,
    arguments: StatusArguments,
) -> Result<(), Failure> {
    let view = View::of(survey(&context.client, &global.endpoints, global.deadline).await);
    let comparison = match arguments.digest {
        true => Some(compare(context, &view, global.deadline).await),
        false => None,
    };
    context.print(&ClusterReport::of(&view, comparison.as_ref()))?;
    if let Some(Comparison::Different { index, digests }) = &comparison {
        return Err(Failure::DigestsDiffer { index: *index, facts: digest::facts(digests) });
    }
    if let Some(why) = view.unhealthy() {
        return Err(Failure::NoQuorum(why));
    }
    match comparison {
        Some(Comparison::Missed { why }) => Err(Failure::NotCompared(why)),
        _ => Ok(()),
    }
}

/// Compares within twice the deadline: nodes may have to catch up first.
async fn compare(context: &Context, view: &View, deadline: Duration) -> Comparison {
    match timeout(deadline * 2, digest::compare(&context.client, view)).await {
        Ok(comparison) => comparison,
        Err(_) => Comparison::Missed { why: "the nodes did not reach one position in time".to_owned() },
    }
}
