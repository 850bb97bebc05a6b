//! `quorate session watch`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use quorate_client::{Cursor, EndReason, Event, EventKind, Watch, WatchOptions};
use serde::Serialize;

use crate::attribute::Shown;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, Rows, json_line, note, stream, time};
use crate::signals::Signals;

const HELP: &str = "\
Examples:
  quorate session watch
  quorate session watch --kind deleted --kind expired --with-attributes --output json
  quorate session watch --principal alice --limit 1
  quorate session watch --after 00000000000000c1-42.0

Shows what happens from now on, or behind --after, until Ctrl-C; touches and locks are no events.
When its node goes down it goes on at another one where it was. At the end the last cursor goes
to standard error: what --after takes next time, so that nothing is missed. Exit code 9 when
events in between are no longer kept. Once nobody reads its output any more (| head -1) it ends
with the next event.

JSON: one object per line: {\"kind\", \"cursor\", \"handle\", \"new_handle\", \"principal\",
  \"previous_principal\", \"version\", \"reason\", \"at_ms\", \"attributes\"}. What an event does not
  have is null; \"attributes\" are the last ones of a session that ended, with --with-attributes,
  as in `session get`. The last cursor, on standard error: {\"cursor\"}.";

/// Show what happens to sessions, as it happens
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct WatchArguments {
    /// Only events of this kind; may be repeated
    #[arg(long = "kind", value_enum, value_name = "KIND")]
    kinds: Vec<Kind>,

    /// Only this user's sessions
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,

    /// Begin behind this cursor, or behind the position that a command printed
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,

    /// Also the last attributes of sessions that end
    #[arg(long)]
    with_attributes: bool,

    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Created,
    Updated,
    Renamed,
    Deleted,
    Expired,
}

impl From<Kind> for EventKind {
    fn from(kind: Kind) -> EventKind {
        match kind {
            Kind::Created => EventKind::Created,
            Kind::Updated => EventKind::Updated,
            Kind::Renamed => EventKind::Renamed,
            Kind::Deleted => EventKind::Deleted,
            Kind::Expired => EventKind::Expired,
        }
    }
}

/// Shows events until it is told to end.
///
/// # Errors
///
/// [`Failure::Client`] when no node serves the watch, or some events are gone; [`Failure::Write`].
pub(crate) async fn run(context: &Context, arguments: WatchArguments) -> Result<(), Failure> {
    let mut options = WatchOptions::new().kinds(arguments.kinds.into_iter().map(EventKind::from));
    if let Some(principal) = arguments.principal {
        options = options.principal(principal);
    }
    if let Some(after) = arguments.after {
        options = options.after(after);
    }
    if !arguments.with_attributes {
        options = options.without_attributes();
    }
    let mut watch = context.client.watch(options).await?;
    let shown = show(context.format, &mut watch, arguments.limit.unwrap_or(u64::MAX)).await;
    if let Some(cursor) = watch.cursor() {
        match context.format {
            Format::Table => note(&format!("cursor: {cursor}")),
            Format::Json => note(&serde_json::json!({ "cursor": cursor.to_string() }).to_string()),
        }
    }
    shown
}

const HEADER: [&str; 7] = ["TIME", "EVENT", "HANDLE", "VERSION", "PRINCIPAL", "WHY", "ATTRIBUTES"];

async fn show(format: Format, watch: &mut Watch, limit: u64) -> Result<(), Failure> {
    let mut signals = Signals::listen();
    let rows = Rows::new(&HEADER, &[24, 7, 32, 7, 12, 16, 0]);
    // At once: it tells that it has begun.
    if format == Format::Table && !stream(&rows.line(&HEADER))? {
        return Ok(());
    }
    let mut left = limit;
    while left > 0 {
        let event = tokio::select! {
            event = watch.next() => event,
            _ = signals.next() => return Ok(()),
        };
        let Some(event) = event.transpose()? else { return Ok(()) };
        let line = match format {
            Format::Table => rows.line(&cells(&event)),
            Format::Json => json_line(&EventReport::of(&event)),
        };
        if !stream(&line)? {
            return Ok(());
        }
        left -= 1;
    }
    Ok(())
}

fn cells(event: &Event) -> [String; 7] {
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let principal = match &event.previous_principal {
        Some(before) => format!("{} -> {}", dash(before), dash(&event.principal)),
        None => dash(&event.principal),
    };
    let why = match (&event.new_handle, event.reason) {
        (Some(handle), _) => format!("now {handle}"),
        (None, Some(reason)) => reason_name(reason).replace('_', " "),
        (None, None) => "-".to_owned(),
    };
    let attributes = event.attributes.iter().map(|(name, value)| format!("{name}={}", Shown::cell(value)));
    [
        time(event.at_ms),
        kind_name(event.kind).to_owned(),
        event.handle.clone(),
        event.version.to_string(),
        principal,
        why,
        attributes.collect::<Vec<_>>().join(" "),
    ]
}

fn kind_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created => "created",
        EventKind::Updated => "updated",
        EventKind::Renamed => "renamed",
        EventKind::Deleted => "deleted",
        EventKind::Expired => "expired",
        _ => "other",
    }
}

fn reason_name(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Logout => "logout",
        EndReason::Revoked => "revoked",
        EndReason::PrincipalLimit => "principal_limit",
        EndReason::IdleTimeout => "idle_timeout",
        EndReason::AbsoluteTimeout => "absolute_timeout",
        _ => "other",
    }
}

#[derive(Serialize)]
struct EventReport<'a> {
    kind: &'static str,
    cursor: String,
    handle: &'a str,
    new_handle: Option<&'a str>,
    principal: &'a str,
    previous_principal: Option<&'a str>,
    version: u64,
    reason: Option<&'static str>,
    at_ms: u64,
    attributes: BTreeMap<&'a str, Shown>,
}

impl EventReport<'_> {
    fn of(event: &Event) -> EventReport<'_> {
        EventReport {
            kind: kind_name(event.kind),
            cursor: event.cursor.to_string(),
            handle: &event.handle,
            new_handle: event.new_handle.as_deref(),
            principal: &event.principal,
            previous_principal: event.previous_principal.as_deref(),
            version: event.version,
            reason: event.reason.map(reason_name),
            at_ms: event.at_ms,
            attributes: event
                .attributes
                .iter()
                .map(|(name, value)| (name.as_str(), Shown::of(value)))
                .collect(),
        }
    }
}
