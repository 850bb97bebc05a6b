//! `quorate session ls`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use quorate_client::{ListOptions, LockState, Session};
use serde::Serialize;

use super::lock_state::LockReport;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, Rows, duration, json_line, millis, note, stream};

/// What a server gives at once.
const PAGE_MAX: u32 = 1_000;

const HELP: &str = "\
Examples:
  quorate session ls
  quorate session ls --principal alice
  quorate session ls --prefix 3f --limit 20
  quorate session ls --output json | jq -r .handle

Columns:
  HANDLE     names the session for `rm`, `unlock --break` and logs; it is no credential
  AGE        since it was created
  EXPIRES IN unless it is touched; \"none\" when never
  LOCKED BY  what the holder of its lock calls itself; \"?\" when it gave no name

Ids and attributes are not listed: the servers keep no ids. Sessions of a principal come in the
order in which it signed in, all others in the order of their handles. One that is there all the
time comes exactly once, however long the list takes.

JSON: one object per line: {\"handle\", \"version\", \"principal\", \"created_ms\",
  \"idle_timeout_ms\", \"absolute_timeout_ms\", \"remaining_ms\",
  \"lock\": null or {\"owner\", \"age_ms\", \"remaining_ms\", \"waiting\"}}.";

/// List sessions
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct LsArguments {
    /// Only this user's sessions
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,

    /// Only sessions whose handle begins so
    #[arg(long, value_name = "HEX", value_parser = prefix)]
    prefix: Option<String>,

    /// List no more than so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// The begin of a handle, as the servers write it.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    match text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("a handle has 32 hexadecimal digits; give the first of them".to_owned()),
    }
}

/// Lists page after page, each as soon as it is there.
///
/// # Errors
///
/// [`Failure::Client`] and [`Failure::Write`].
pub(crate) async fn run(context: &Context, arguments: LsArguments) -> Result<(), Failure> {
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut options = ListOptions::new();
    if let Some(principal) = arguments.principal {
        options = options.principal(principal);
    }
    if let Some(prefix) = arguments.prefix {
        options = options.handle_prefix(prefix);
    }
    let mut printer: Option<Printer> = None;
    loop {
        let size = u32::try_from(left).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let page = context.client.list(options.clone().page_size(size)).await?;
        let mut sessions = page.sessions;
        sessions.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left = left.saturating_sub(u64::try_from(sessions.len()).unwrap_or(u64::MAX));
        let printer = printer.get_or_insert_with(|| Printer::new(context.format, &sessions));
        if !printer.print(&sessions)? {
            return Ok(());
        }
        match page.next {
            Some(next) if left > 0 => options = options.after(next),
            Some(_) if context.format == Format::Table => {
                note("there are more than --limit asks for");
                return Ok(());
            }
            _ => return Ok(()),
        }
    }
}

const HEADER: [&str; 6] = ["HANDLE", "PRINCIPAL", "VERSION", "AGE", "EXPIRES IN", "LOCKED BY"];

/// Shows sessions, as wide as the first of them need.
struct Printer {
    format: Format,
    rows: Rows,
    header: bool,
}

impl Printer {
    fn new(format: Format, first: &[Session]) -> Printer {
        let principals = first.iter().map(|session| session.principal.chars().count());
        let widths = [32, principals.max().unwrap_or(0), 0, 11, 11, 0];
        Printer { format, rows: Rows::new(&HEADER, &widths), header: false }
    }

    fn print(&mut self, sessions: &[Session]) -> Result<bool, Failure> {
        let mut text = String::new();
        match self.format {
            Format::Json => {
                sessions.iter().for_each(|session| text.push_str(&json_line(&Listed::of(session))))
            }
            Format::Table => {
                if !std::mem::replace(&mut self.header, true) {
                    text.push_str(&self.rows.line(&HEADER));
                }
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
                sessions.iter().for_each(|session| text.push_str(&self.rows.line(&cells(session, now))));
            }
        }
        stream(&text)
    }
}

fn cells(session: &Session, now_ms: u64) -> [String; 6] {
    // Whole seconds: the columns are to be compared. The clocks of this machine and the cluster may differ a little.
    let age = now_ms.saturating_sub(session.created_ms) / 1_000 * 1_000;
    let remaining = session.remaining.map(|left| millis(left) / 1_000 * 1_000);
    [
        session.handle.clone(),
        if session.principal.is_empty() { "-".to_owned() } else { session.principal.clone() },
        session.version.to_string(),
        duration(Some(age)),
        duration(remaining),
        session.lock.as_ref().map_or_else(|| "-".to_owned(), owner),
    ]
}

fn owner(lock: &LockState) -> String {
    if lock.owner.is_empty() { "?".to_owned() } else { lock.owner.clone() }
}

#[derive(Serialize)]
struct Listed<'a> {
    handle: &'a str,
    version: u64,
    principal: &'a str,
    created_ms: u64,
    idle_timeout_ms: Option<u64>,
    absolute_timeout_ms: Option<u64>,
    remaining_ms: Option<u64>,
    lock: Option<LockReport>,
}

impl Listed<'_> {
    fn of(session: &Session) -> Listed<'_> {
        Listed {
            handle: &session.handle,
            version: session.version,
            principal: &session.principal,
            created_ms: session.created_ms,
            idle_timeout_ms: session.idle_timeout.map(millis),
            absolute_timeout_ms: session.absolute_timeout.map(millis),
            remaining_ms: session.remaining.map(millis),
            lock: session.lock.as_ref().map(LockReport::of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_hexadecimal() {
        assert_eq!(prefix("3F").as_deref(), Ok("3f"));
        assert!(prefix("xy").is_err() && prefix(&"a".repeat(33)).is_err());
    }
}
