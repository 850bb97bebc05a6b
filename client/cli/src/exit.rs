//! Exit codes: what a script can tell from `$?`.

use std::process::ExitCode;

use quorate_client::ErrorKind;

/// How a run of `quorate` ended. The numbers are a promise to scripts; `quorate --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// Any error without a code of its own.
    Other,
    /// The command line, or a value in it, was refused.
    Usage,
    /// There is no such session, namespace, or attribute in the session.
    NotFound,
    /// The session exists already, or has another version than the one demanded.
    Conflict,
    /// Nothing happened: no leader, no quorum, overload or the deadline. The same command may be run again.
    Unavailable,
    /// The change may or may not have taken effect. Read before trying again.
    OutcomeUnknown,
    /// Somebody else holds the session's lock.
    Locked,
    /// The lock is not held, or not any more.
    LockLost,
    /// Events that were asked for are no longer kept.
    EventsGone,
    /// What a command ended with that was run under a lock.
    Command(u8),
}

/// The table of exit codes as `quorate --help` shows it.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  any other error; also: digests differ, a bench run had errors or gave no figures
  2  the command line, or a value in it, was refused
  3  not found: no such session, namespace, or attribute in the session
  4  conflict: the session exists already, or its version is not the one demanded
  5  unavailable or past the deadline: nothing happened, run it again
  6  outcome unknown: the change may have taken effect or not; read before trying again
  7  locked: somebody else holds the session's lock
  8  lock lost: the lock is not held, or not any more, by the one with this token
  9  events gone: some of those to watch are no longer kept
  `session lock ... -- COMMAND` ends as COMMAND did, unless the lock was not had or was lost.";

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Other => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Conflict => 4,
            Exit::Unavailable => 5,
            Exit::OutcomeUnknown => 6,
            Exit::Locked => 7,
            Exit::LockLost => 8,
            Exit::EventsGone => 9,
            Exit::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// What the client said about a failed call, as far as it decides the exit code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) kind: ErrorKind,
    pub(crate) retryable: bool,
    pub(crate) maybe_applied: bool,
}

impl Verdict {
    /// The exit code. "May have taken effect" weighs more than the kind: only its absence is a promise.
    pub(crate) fn exit(self) -> Exit {
        match self.kind {
            ErrorKind::OutcomeUnknown => Exit::OutcomeUnknown,
            _ if self.maybe_applied => Exit::OutcomeUnknown,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::AlreadyExists | ErrorKind::VersionConflict { .. } => Exit::Conflict,
            ErrorKind::InvalidArgument => Exit::Usage,
            ErrorKind::Locked { .. } => Exit::Locked,
            ErrorKind::LockLost => Exit::LockLost,
            ErrorKind::OutOfRange => Exit::EventsGone,
            ErrorKind::Unavailable | ErrorKind::Deadline => Exit::Unavailable,
            ErrorKind::ResourceExhausted if self.retryable => Exit::Unavailable,
            _ => Exit::Other,
        }
    }

    /// The kind's name in the JSON error object.
    pub(crate) fn name(self) -> &'static str {
        match self.kind {
            ErrorKind::OutcomeUnknown => "outcome_unknown",
            _ if self.maybe_applied => "outcome_unknown",
            ErrorKind::NotFound => "not_found",
            ErrorKind::AlreadyExists => "already_exists",
            ErrorKind::VersionConflict { .. } => "version_conflict",
            ErrorKind::InvalidArgument => "invalid_argument",
            ErrorKind::Locked { .. } => "locked",
            ErrorKind::LockLost => "lock_lost",
            ErrorKind::OutOfRange => "out_of_range",
            ErrorKind::PermissionDenied => "permission_denied",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Deadline => "deadline",
            ErrorKind::ResourceExhausted => "resource_exhausted",
            ErrorKind::FailedPrecondition => "failed_precondition",
            _ => "other",
        }
    }

    /// What to do about it, given the server's `reason`: the second half of the error line.
    pub(crate) fn advice(self, reason: Option<&str>) -> &'static str {
        match self.exit() {
            Exit::NotFound => match reason {
                Some("RENAMED") => "use the new id",
                Some("UNKNOWN_NAMESPACE") => {
                    "check its name and --namespace, or create it: `quorate ns create`"
                }
                _ => "create a new session, or check the id and --namespace",
            },
            Exit::Conflict => match self.kind {
                ErrorKind::AlreadyExists if reason == Some("NAMESPACE_EXISTS") => {
                    "change it with `quorate ns set`"
                }
                ErrorKind::AlreadyExists => "choose another id, or leave --id out to have one made",
                _ => "read the session again and repeat the change on what you find",
            },
            Exit::Usage => "correct the value and run it again",
            Exit::Unavailable => "nothing was changed; check `quorate cluster status` and run it again",
            Exit::OutcomeUnknown => "the change may have been made; read the session before trying again",
            Exit::Locked => "wait in line with `quorate session lock --wait 10s`, or try again later",
            Exit::LockLost => "take the lock again, and read the session before you change it",
            Exit::EventsGone => "read again what you keep of them, then watch without --after",
            Exit::Ok | Exit::Other | Exit::Command(_) => match self.kind {
                ErrorKind::ResourceExhausted => limit(reason),
                ErrorKind::Unsupported => "upgrade all nodes",
                ErrorKind::FailedPrecondition if reason == Some("NOT_LOCKED") => "there is nothing to do",
                ErrorKind::FailedPrecondition if reason == Some("NAMESPACE_REQUIRED") => {
                    "nothing was changed; to empty it, revoke or delete its sessions"
                }
                ErrorKind::FailedPrecondition if reason == Some("NOT_OF_PRINCIPAL") => {
                    "nothing was ended; check the user's name and the id file"
                }
                ErrorKind::FailedPrecondition => {
                    "nothing was changed; check what the command line refers to, and --endpoints"
                }
                _ => "see `quorate cluster status` and the nodes' logs",
            },
        }
    }
}

/// What to do about a limit.
fn limit(reason: Option<&str>) -> &'static str {
    match reason {
        Some("SESSION_TOO_LARGE" | "TOO_MANY_ATTRIBUTES" | "MESSAGE_TOO_LARGE") => {
            "a limit was reached; make the session smaller"
        }
        Some("NAMESPACE_FULL" | "NAMESPACE_BYTES_EXCEEDED" | "TOO_MANY_SESSIONS_OF_PRINCIPAL") => {
            "end sessions, or raise the limit with `quorate ns set`"
        }
        _ => "a limit was reached",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(kind: ErrorKind, retryable: bool, maybe_applied: bool) -> u8 {
        Verdict { kind, retryable, maybe_applied }.exit().code()
    }

    #[test]
    fn codes_are_the_documented_ones() {
        assert_eq!(exit(ErrorKind::NotFound, false, false), 3);
        assert_eq!(exit(ErrorKind::AlreadyExists, false, false), 4);
        assert_eq!(exit(ErrorKind::VersionConflict { current: 7 }, false, false), 4);
        assert_eq!(exit(ErrorKind::InvalidArgument, false, false), 2);
        assert_eq!(exit(ErrorKind::Unavailable, true, false), 5);
        assert_eq!(exit(ErrorKind::Deadline, true, false), 5);
        assert_eq!(exit(ErrorKind::OutcomeUnknown, false, true), 6);
        let (age, remaining) = Default::default();
        assert_eq!(exit(ErrorKind::Locked { age, remaining }, false, false), 7);
        assert_eq!(exit(ErrorKind::LockLost, false, false), 8);
        assert_eq!(exit(ErrorKind::OutOfRange, false, false), 9);
        assert_eq!(exit(ErrorKind::ResourceExhausted, true, false), 5, "overload passes");
        assert_eq!(exit(ErrorKind::ResourceExhausted, false, false), 1, "a limit does not");
    }

    #[test]
    fn a_change_that_may_have_happened_is_never_called_unavailable() {
        for kind in [ErrorKind::Unavailable, ErrorKind::Deadline] {
            let verdict = Verdict { kind, retryable: true, maybe_applied: true };
            assert_eq!(verdict.exit(), Exit::OutcomeUnknown);
            assert_eq!(verdict.name(), "outcome_unknown");
        }
    }

    #[test]
    fn help_lists_every_code() {
        for code in 0..=9 {
            assert!(HELP.contains(&format!("\n  {code}  ")), "exit code {code} is not in the help");
        }
    }
}
