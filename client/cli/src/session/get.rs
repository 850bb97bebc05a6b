//! `quorate session get`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use quorate_client::{AttributeSelection, Client, Consistency, GetOptions, Position, Session};
use serde::Serialize;

use super::lock_state::LockReport;
use super::target::{ID_HELP, Target};
use crate::arguments::positive_duration;
use crate::attribute::Shown;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Report, columns, duration, pairs, print_bytes, time};

fn after_help() -> String {
    format!(
        "\
Examples:
  quorate session get --id-file alice.id
  printf %s \"$ID\" | quorate session get - --output json
  quorate session get --id-file alice.id --raw cart > cart.json
  quorate session get --id-file alice.id --stale 5s
  quorate session get --id-file alice.id --at-least 00000000000000c1-42 --node 127.0.0.1:7102

Reads are linearizable: they see every change acknowledged before. Looking does not keep a
session alive; --touch does. With --stale any node answers that is no further behind than this;
with --at-least, any that has applied this position. With --node that node alone answers, from
its own memory, as far as it is if nothing else is said.

{ID_HELP}

JSON: {{\"handle\", \"version\", \"principal\", \"created_ms\", \"idle_timeout_ms\",
  \"absolute_timeout_ms\", \"remaining_ms\", \"lock\": {{\"owner\", \"age_ms\", \"remaining_ms\",
  \"waiting\"}}, \"attributes\": {{NAME: {{\"text\"}} or {{\"hex\"}}}}, \"position\"}}. Times are
  milliseconds, created_ms since 1970; a timeout not set is null, and so is a lock nobody holds.
  A value is \"text\" when it is UTF-8 without control characters other than tab and line ends,
  else \"hex\". A table marks the latter with hex:, writes line ends as \\n and cuts long values."
    )
}

/// Read a session
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct GetArguments {
    #[command(flatten)]
    target: Target,

    /// Return this attribute only; may be repeated
    #[arg(long = "attribute", value_name = "NAME", conflicts_with_all = ["raw", "no_attributes"])]
    attributes: Vec<String>,

    /// Return no attributes
    #[arg(long, conflicts_with = "raw")]
    no_attributes: bool,

    /// Write this attribute's bytes to standard output, and nothing else
    #[arg(long, value_name = "NAME")]
    raw: Option<String>,

    /// Renew the idle deadline too
    #[arg(long, conflicts_with_all = ["at_least", "stale", "node"])]
    touch: bool,

    /// Let any node answer that has applied this position, as printed by an earlier command
    #[arg(long, value_name = "POSITION")]
    at_least: Option<Position>,

    /// Let any node answer whose sessions are at most so old: 2s or more
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, conflicts_with = "at_least")]
    stale: Option<Duration>,

    /// Ask this node, for what it has itself
    #[arg(long, value_name = "HOST:PORT")]
    node: Option<String>,
}

/// Reads the session and shows it.
///
/// # Errors
///
/// [`Failure::Client`] when it cannot be read; others for bad input and output.
pub(crate) async fn run(context: &mut Context, arguments: GetArguments) -> Result<(), Failure> {
    let id = arguments.target.read(&mut context.input)?;
    let selection = match &arguments.raw {
        Some(name) => AttributeSelection::Named(vec![name.clone()]),
        None if arguments.no_attributes => AttributeSelection::None,
        None if arguments.attributes.is_empty() => AttributeSelection::All,
        None => AttributeSelection::Named(arguments.attributes),
    };
    let consistency = match (arguments.stale, arguments.at_least, &arguments.node) {
        (Some(bound), _, _) => Consistency::Stale(bound),
        (None, Some(position), _) => Consistency::AtLeast(position),
        (None, None, Some(node)) => Consistency::AtLeast(position_of(&context.client, node).await?),
        (None, None, None) => Consistency::Linearizable,
    };
    let options =
        GetOptions { touch: arguments.touch, attributes: selection, consistency, node: arguments.node };
    let session = context.client.get_with(&id, options).await?;
    match arguments.raw {
        Some(name) => match session.attributes.get(&name) {
            Some(value) => print_bytes(value),
            None => Err(Failure::NoAttribute(name)),
        },
        None => context.print(&SessionReport::of(session)),
    }
}

/// What `node` has applied: reading at least that is reading what it has.
async fn position_of(client: &Client, node: &str) -> Result<Position, Failure> {
    let status = client.status_of(node, false, 0).await?;
    Ok(Position { cluster: status.cluster, index: status.applied_index })
}

/// A session for people and programs.
#[derive(Debug, Serialize)]
struct SessionReport {
    handle: String,
    version: u64,
    principal: String,
    created_ms: u64,
    idle_timeout_ms: Option<u64>,
    absolute_timeout_ms: Option<u64>,
    remaining_ms: Option<u64>,
    lock: Option<LockReport>,
    attributes: BTreeMap<String, Shown>,
    position: String,
    /// For the table.
    #[serde(skip)]
    values: BTreeMap<String, Bytes>,
}

impl SessionReport {
    fn of(session: Session) -> SessionReport {
        let shown = |(name, value): (&String, &Bytes)| (name.clone(), Shown::of(value));
        SessionReport {
            handle: session.handle,
            version: session.version,
            principal: session.principal,
            created_ms: session.created_ms,
            idle_timeout_ms: session.idle_timeout.map(crate::output::millis),
            absolute_timeout_ms: session.absolute_timeout.map(crate::output::millis),
            remaining_ms: session.remaining.map(crate::output::millis),
            lock: session.lock.as_ref().map(LockReport::of),
            attributes: session.attributes.iter().map(shown).collect(),
            position: session.position.to_string(),
            values: session.attributes,
        }
    }
}

impl Report for SessionReport {
    fn table(&self) -> String {
        let principal = if self.principal.is_empty() { "none" } else { &self.principal };
        let facts = pairs(&[
            ("handle", self.handle.clone()),
            ("version", self.version.to_string()),
            ("principal", principal.to_owned()),
            ("created", time(self.created_ms)),
            ("idle timeout", duration(self.idle_timeout_ms)),
            ("absolute timeout", duration(self.absolute_timeout_ms)),
            ("remaining", duration(self.remaining_ms)),
            ("locked", self.lock.as_ref().map_or_else(|| "no".to_owned(), LockReport::cell)),
            ("position", self.position.clone()),
        ]);
        if self.values.is_empty() {
            return facts;
        }
        let row = |(name, value): (&String, &Bytes)| {
            vec![name.clone(), value.len().to_string(), Shown::cell(value)]
        };
        let attributes =
            columns(&["ATTRIBUTE", "BYTES", "VALUE"], &[1], self.values.iter().map(row).collect());
        format!("{facts}\n\n{attributes}")
    }
}
