//! Why a command failed, and how that is told: one line for people, one object for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::bench::Disorder;
use crate::exit::{Exit, Verdict};
use crate::output::Format;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments make no sense together, or one of them cannot be understood.
    #[error("{0}; see --help")]
    Usage(String),
    /// Something named on the command line could not be read.
    #[error("cannot read {what}: {source}; nothing was sent")]
    Read {
        /// A file's path, or "standard input".
        what: String,
        source: io::Error,
    },
    /// Something could not be written; the call itself succeeded.
    #[error("cannot write {what}: {source}")]
    Write {
        /// A file's path, or "standard output".
        what: String,
        source: io::Error,
    },
    /// As [`Failure::Write`], where nothing was changed before.
    #[error("cannot write {what}: {source}")]
    Unwritten {
        /// A file's path, or "standard output".
        what: String,
        source: io::Error,
    },
    /// The cluster, or the way to it, refused.
    #[error("{error}{}; {}", oldest(error), verdict(error).advice(error.reason()))]
    Client {
        #[from]
        error: quorate_client::Error,
    },
    /// Nobody knows whether the session has the new id.
    #[error("{error}; {}", unconfirmed(*renamed, place))]
    Unconfirmed {
        error: Box<quorate_client::Error>,
        /// Where the new id was written.
        place: String,
        /// Whether it was to replace another id, not to be the first one.
        renamed: bool,
    },
    /// The session is there, the attribute asked for is not.
    #[error("the session has no attribute {0:?}; `session get` without --raw lists them")]
    NoAttribute(String),
    /// There is no leader, or too few nodes answer.
    #[error("{0}; start the missing nodes or look at their logs")]
    NoQuorum(String),
    /// The nodes never stood at one position long enough to compare them.
    #[error("digests were not compared: {0}; run it again when fewer changes are made")]
    NotCompared(String),
    /// Replicas disagree at one position.
    #[error("digests differ at index {index}: {facts}; keep every data directory as it is and report this")]
    DigestsDiffer {
        /// The log index at which the nodes were compared.
        index: u64,
        /// Which node has which digest.
        facts: String,
    },
    /// Somebody else holds the lock.
    #[error("{error}; it is held by {owner}; {}", verdict(error).advice(error.reason()))]
    Held {
        error: Box<quorate_client::Error>,
        /// What the holder calls itself.
        owner: String,
    },
    /// Some of the sessions named are not there.
    #[error("{}", missing_of(*missing, *all))]
    Missing {
        /// How many are not.
        missing: usize,
        /// How many were named.
        all: usize,
    },
    /// Whoever was asked did not agree.
    #[error("not confirmed: nothing was changed")]
    Declined,
    /// The program to run under a lock could not be started.
    #[error("cannot run {program:?}: {source}; the lock was given back")]
    Program {
        /// As on the command line.
        program: String,
        source: io::Error,
    },
    /// A program that ran under a lock failed; it has told why itself.
    #[error("the command ended with {0}")]
    Command(u8),
    /// A lock was lost while a program ran under it.
    #[error(
        "{error}; the command was told to stop, and what it did meanwhile may collide with the next holder"
    )]
    LostLock {
        /// Why.
        error: Box<quorate_client::Error>,
    },
    /// Operations of a bench run failed.
    #[error("{errors} of {operations} operations failed; the figures are those of the others only")]
    Bench {
        /// Operations that failed.
        errors: u64,
        /// Operations that were measured, failed ones included.
        operations: u64,
    },
    /// A bench run came to no figures that mean anything.
    #[error("{0}; nothing is told")]
    NotMeasured(String),
    /// A lock went to somebody whose turn it was not.
    #[error(
        "the lock was not exclusive or not in order: {0}; keep every data directory as it is and report this"
    )]
    Disorder(#[from] Disorder),
}

fn missing_of(missing: usize, all: usize) -> String {
    match missing == all {
        true => format!("none of the {all} sessions is there; nothing was touched"),
        false => format!("{missing} of {all} sessions are not there; the others were touched"),
    }
}

/// From which position on events are kept, where `error` tells.
fn oldest_index(error: &quorate_client::Error) -> Option<u64> {
    let gone = error.kind() == quorate_client::ErrorKind::OutOfRange;
    error.metadata().get("oldest_index").filter(|_| gone).and_then(|index| index.parse().ok())
}

fn oldest(error: &quorate_client::Error) -> String {
    oldest_index(error)
        .map_or_else(String::new, |index| format!("; the oldest that is kept has index {index}"))
}

/// What to do about a new id of which nobody knows whether it is in use.
fn unconfirmed(renamed: bool, place: &str) -> String {
    match renamed {
        true => format!(
            "either id may be the live one: keep both, and read the session with the new one first, which {place}"
        ),
        false => format!("the session may exist: read it before trying again, its id {place}"),
    }
}

/// What the client says about `error`.
pub(crate) fn verdict(error: &quorate_client::Error) -> Verdict {
    Verdict {
        kind: error.kind(),
        retryable: error.is_retryable(),
        maybe_applied: error.may_have_taken_effect(),
    }
}

/// The JSON error object: `{"error": {...}}` on one line of standard error.
#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    kind: &'a str,
    reason: Option<&'a str>,
    message: String,
    retryable: bool,
    maybe_applied: bool,
    /// From which position on events are kept, where some are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_index: Option<u64>,
}

impl Failure {
    /// The failure of what changes nothing.
    pub(crate) fn without_effect(self) -> Failure {
        match self {
            Failure::Write { what, source } => Failure::Unwritten { what, source },
            other => other,
        }
    }

    /// The exit code for this failure.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Read { .. } | Failure::Write { .. } | Failure::Unwritten { .. } => Exit::Other,
            Failure::Client { error } => verdict(error).exit(),
            Failure::Unconfirmed { error, .. } | Failure::Held { error, .. } => verdict(error).exit(),
            Failure::NoAttribute(_) | Failure::Missing { .. } => Exit::NotFound,
            Failure::Declined | Failure::Program { .. } => Exit::Other,
            Failure::Command(code) => Exit::Command(*code),
            Failure::LostLock { .. } => Exit::LockLost,
            Failure::NoQuorum(_) | Failure::NotCompared(_) => Exit::Unavailable,
            Failure::DigestsDiffer { .. } | Failure::Bench { .. } => Exit::Other,
            Failure::NotMeasured(_) | Failure::Disorder(_) => Exit::Other,
        }
    }

    /// The error as one line, for standard error. Control characters are escaped: parts come from the network.
    pub(crate) fn line(&self, format: Format) -> String {
        match format {
            Format::Table => format!("error: {}", one_line(&self.to_string())),
            Format::Json => {
                let object = ErrorObject { error: self.body() };
                serde_json::to_string(&object).unwrap_or_else(|error| format!("error: {error}"))
            }
        }
    }

    /// Tells the failure on standard error. A closed standard error leaves nobody to tell.
    pub(crate) fn report(&self, format: Format) {
        if !matches!(self, Failure::Command(_)) {
            let _ = writeln!(io::stderr(), "{}", self.line(format));
        }
    }

    fn body(&self) -> ErrorBody<'_> {
        fn refused(error: &quorate_client::Error) -> (&str, Option<&str>, bool, bool) {
            let verdict = verdict(error);
            (verdict.name(), error.reason(), verdict.retryable, verdict.maybe_applied)
        }
        let (kind, reason, retryable, maybe_applied) = match self {
            Failure::Usage(_) => ("usage", None, false, false),
            Failure::Read { .. } => ("read", None, true, false),
            Failure::Write { .. } => ("write", None, false, true),
            Failure::Unwritten { .. } => ("write", None, true, false),
            Failure::Client { error } => refused(error),
            Failure::Unconfirmed { error, .. } | Failure::Held { error, .. } => refused(error),
            Failure::NoAttribute(_) => ("not_found", Some("NO_SUCH_ATTRIBUTE"), false, false),
            Failure::Missing { missing, all } => ("not_found", Some("NO_SUCH_SESSION"), false, missing < all),
            Failure::Declined => ("declined", None, true, false),
            Failure::Program { .. } => ("program", None, true, false),
            Failure::Command(_) => ("command", None, false, true),
            Failure::LostLock { error } => ("lock_lost", error.reason(), false, true),
            Failure::NoQuorum(_) => ("unavailable", Some("NO_QUORUM"), true, false),
            Failure::NotCompared(_) => ("unavailable", Some("NOT_COMPARED"), true, false),
            Failure::DigestsDiffer { .. } => ("digests_differ", None, false, false),
            Failure::Bench { .. } => ("bench_errors", None, true, true),
            Failure::NotMeasured(_) => ("not_measured", None, true, true),
            Failure::Disorder(_) => ("lock_disorder", None, false, true),
        };
        let message = one_line(&self.to_string());
        let oldest_index = if let Failure::Client { error } = self { oldest_index(error) } else { None };
        ErrorBody { kind, reason, message, retryable, maybe_applied, oldest_index }
    }
}

/// `text` as one line, without a line break at its end.
pub(crate) fn one_line(text: &str) -> String {
    escaped(text.trim_end())
}

/// `text` with control characters, line breaks among them, as escapes.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_what_to_do() {
        let failure = Failure::NoQuorum("1 of 3 voters answer".to_owned());
        assert_eq!(
            failure.line(Format::Table),
            "error: 1 of 3 voters answer; start the missing nodes or look at their logs"
        );
        assert_eq!(failure.exit(), Exit::Unavailable);
    }

    #[test]
    fn a_json_error_has_the_documented_shape() {
        let failure = Failure::NoAttribute("cart".to_owned());
        assert_eq!(
            failure.line(Format::Json),
            r#"{"error":{"kind":"not_found","reason":"NO_SUCH_ATTRIBUTE","message":"the session has no attribute \"cart\"; `session get` without --raw lists them","retryable":false,"maybe_applied":false}}"#
        );
    }

    #[test]
    fn a_touch_of_nothing_does_not_tell_of_others() {
        let some = Failure::Missing { missing: 1, all: 3 };
        assert_eq!(some.to_string(), "1 of 3 sessions are not there; the others were touched");
        let none = Failure::Missing { missing: 3, all: 3 };
        assert_eq!(none.to_string(), "none of the 3 sessions is there; nothing was touched");
        assert!(some.body().maybe_applied && !none.body().maybe_applied);
    }

    #[test]
    fn what_cannot_be_shown_of_a_read_changed_nothing() {
        let failed =
            || Failure::Write { what: "standard output".to_owned(), source: io::Error::other("full") };
        assert!(failed().body().maybe_applied);
        let read = failed().without_effect();
        assert!(!read.body().maybe_applied && read.body().kind == "write", "{read}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[31mc\n"), "a\\nb\\u{1b}[31mc");
    }
}
