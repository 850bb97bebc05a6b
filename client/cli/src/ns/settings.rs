//! Settings: what a namespace allows, as options.

use std::time::Duration;

use clap::{Args, ValueEnum};
use quorate_client::{PolicyChange, PrincipalOverflow};

use crate::arguments::positive_duration;
use crate::limit::{Limit, duration_or_none, number_or_none, size, size_or_none};

/// How settings are written, for the help of the commands that take them.
pub(crate) const SYNTAX_HELP: &str = "\
Settings:
  durations: 30s, 20m, 12h, 7days; sizes: 4096, 64KiB, 64MiB, 1GiB; `none` for no limit. A new
  policy holds for what is created or changed from now on: sessions keep the timeouts they have.";

/// A policy's settings; what is left out stays, or in a new namespace gets its default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct Settings {
    /// Idle timeout of sessions that name none [default: 20m]
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none)]
    default_idle: Option<Limit<Duration>>,

    /// Absolute timeout of sessions that name none [default: none]
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none)]
    default_absolute: Option<Limit<Duration>>,

    /// The longest idle timeout of a session, also of one that names none [default: 366days]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    longest_idle: Option<Duration>,

    /// The longest absolute timeout of a session, also of one that names none [default: 366days]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    longest_absolute: Option<Duration>,

    /// The longest idle timeout of sessions without a signed-in user [default: none]
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none)]
    anonymous_idle: Option<Limit<Duration>>,

    /// How much longer a session may live so that fewer touches are replicated; none: a twentieth of the idle timeout
    /// [default: none]
    #[arg(long, value_name = "DURATION|none", value_parser = duration_or_none)]
    granule: Option<Limit<Duration>>,

    /// Attribute names and values of one session together [default and most: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    session_bytes_max: Option<u64>,

    /// Attributes of one session [default and most: 256]
    #[arg(long, value_name = "N")]
    attributes_max: Option<u32>,

    /// Sessions at once [default: none]
    #[arg(long, value_name = "N|none", value_parser = number_or_none::<u64>)]
    sessions_max: Option<Limit<u64>>,

    /// Attribute names and values of all sessions together [default: none]
    #[arg(long, value_name = "SIZE|none", value_parser = size_or_none)]
    bytes_max: Option<Limit<u64>>,

    /// Sessions of one user at once, at most 1000 [default: none]
    #[arg(long, value_name = "N|none", value_parser = number_or_none::<u32>)]
    principal_sessions_max: Option<Limit<u32>>,

    /// What happens when a user has one session too many [default: refuse]
    #[arg(long, value_enum, value_name = "WHAT")]
    principal_overflow: Option<Overflow>,

    /// How long a deleted id cannot be created again: 1s to 1h [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    tombstone: Option<Duration>,

    /// Events kept for watchers, at most 1000000 [default: 100000]
    #[arg(long, value_name = "N")]
    events_max: Option<u32>,

    /// Their size, at most 256MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    events_bytes_max: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Overflow {
    /// The new session is refused
    Refuse,
    /// The session that was signed in first is ended
    EndOldest,
}

/// `change` with `setting`, if there is one.
fn with<T>(
    change: PolicyChange,
    setting: Option<T>,
    set: impl FnOnce(PolicyChange, T) -> PolicyChange,
) -> PolicyChange {
    match setting {
        Some(setting) => set(change, setting),
        None => change,
    }
}

impl Settings {
    /// As the client takes them.
    pub(crate) fn change(self) -> PolicyChange {
        let mut change = PolicyChange::new();
        change = with(change, self.default_idle, |change, Limit(idle)| change.default_idle(idle));
        change = with(change, self.default_absolute, |change, Limit(time)| change.default_absolute(time));
        change = with(change, self.longest_idle, PolicyChange::longest_idle);
        change = with(change, self.longest_absolute, PolicyChange::longest_absolute);
        change = with(change, self.anonymous_idle, |change, Limit(idle)| change.anonymous_idle(idle));
        change = with(change, self.granule, |change, Limit(granule)| change.granule(granule));
        change = with(change, self.session_bytes_max, PolicyChange::session_bytes_max);
        change = with(change, self.attributes_max, PolicyChange::attributes_max);
        change = with(change, self.sessions_max, |change, Limit(sessions)| change.sessions_max(sessions));
        change = with(change, self.bytes_max, |change, Limit(bytes)| change.bytes_max(bytes));
        change = with(change, self.principal_sessions_max, |change, Limit(sessions)| {
            change.principal_sessions_max(sessions)
        });
        change = with(change, self.principal_overflow, |change, overflow| {
            change.principal_overflow(match overflow {
                Overflow::Refuse => PrincipalOverflow::Refuse,
                Overflow::EndOldest => PrincipalOverflow::EndOldest,
            })
        });
        change = with(change, self.tombstone, PolicyChange::tombstone);
        change = with(change, self.events_max, PolicyChange::events_max);
        with(change, self.events_bytes_max, PolicyChange::events_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn change(line: &str) -> Result<PolicyChange, clap::Error> {
        let line = std::iter::once("set").chain(line.split_whitespace());
        Line::try_parse_from(line).map(|line| line.settings.change())
    }

    #[test]
    fn every_setting_reaches_the_policy() {
        let minute = Duration::from_secs(60);
        let line = "--default-idle 1m --default-absolute none --longest-idle 1m --longest-absolute 1m \
                    --anonymous-idle 1m --granule none --session-bytes-max 64KiB --attributes-max 9 \
                    --sessions-max 10 --bytes-max none --principal-sessions-max 3 \
                    --principal-overflow end-oldest --tombstone 1m --events-max 5 --events-bytes-max 1MiB";
        let expected = PolicyChange::new()
            .default_idle(minute)
            .default_absolute(None)
            .longest_idle(minute)
            .longest_absolute(minute)
            .anonymous_idle(minute)
            .granule(None)
            .session_bytes_max(65_536)
            .attributes_max(9)
            .sessions_max(10)
            .bytes_max(None)
            .principal_sessions_max(3)
            .principal_overflow(PrincipalOverflow::EndOldest)
            .tombstone(minute)
            .events_max(5)
            .events_bytes_max(1 << 20);
        assert_eq!(change(line).expect("valid"), expected);
        assert!(change("").expect("valid").is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "--longest-idle none",
            "--sessions-max 0",
            "--bytes-max 64MB",
            "--default-idle 20",
            "--principal-overflow shrug",
        ] {
            assert!(change(line).is_err(), "taken: {line}");
        }
    }
}
