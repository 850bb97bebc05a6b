//! Report: how namespaces are shown.

use std::time::Duration;

use quorate_client::{Counters, Namespace, Policy, PrincipalOverflow};
use serde::Serialize;

use crate::limit::shown_size;
use crate::output::{Report, columns, duration, millis, pairs};

/// One namespace.
#[derive(Debug, Serialize)]
pub(crate) struct NamespaceReport {
    name: String,
    policy: PolicyReport,
    counters: CountersReport,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(crate) struct NamespacesReport {
    namespaces: Vec<NamespaceReport>,
}

/// A limit that is not there is null.
#[derive(Debug, Serialize)]
struct PolicyReport {
    default_idle_ms: Option<u64>,
    default_absolute_ms: Option<u64>,
    longest_idle_ms: u64,
    longest_absolute_ms: u64,
    anonymous_idle_ms: Option<u64>,
    granule_ms: Option<u64>,
    session_bytes_max: u64,
    attributes_max: u32,
    sessions_max: Option<u64>,
    bytes_max: Option<u64>,
    principal_sessions_max: Option<u32>,
    principal_overflow: &'static str,
    tombstone_ms: u64,
    events_max: u32,
    events_bytes_max: u64,
}

#[derive(Debug, Serialize)]
struct CountersReport {
    live: u64,
    bytes: u64,
    created: u64,
    expired: u64,
    deleted: u64,
    lock_waits: u64,
    events: u64,
    event_bytes: u64,
}

/// What a change of a namespace answers.
#[derive(Debug, Serialize)]
pub(crate) struct Put {
    pub(crate) created: bool,
    pub(crate) position: String,
}

impl Report for Put {
    fn table(&self) -> String {
        pairs(&[
            ("created", if self.created { "yes" } else { "no, it was there" }.to_owned()),
            ("position", self.position.clone()),
        ])
    }
}

impl NamespaceReport {
    pub(crate) fn of(namespace: Namespace) -> NamespaceReport {
        let Namespace { name, policy, counters } = namespace;
        NamespaceReport { name, policy: PolicyReport::of(&policy), counters: CountersReport::of(counters) }
    }
}

impl NamespacesReport {
    pub(crate) fn of(namespaces: Vec<Namespace>) -> NamespacesReport {
        NamespacesReport { namespaces: namespaces.into_iter().map(NamespaceReport::of).collect() }
    }
}

impl PolicyReport {
    fn of(policy: &Policy) -> PolicyReport {
        let timeout = |timeout: Option<Duration>| timeout.map(millis);
        PolicyReport {
            default_idle_ms: timeout(policy.default_idle),
            default_absolute_ms: timeout(policy.default_absolute),
            longest_idle_ms: millis(policy.longest_idle),
            longest_absolute_ms: millis(policy.longest_absolute),
            anonymous_idle_ms: timeout(policy.anonymous_idle),
            granule_ms: timeout(policy.granule),
            session_bytes_max: policy.session_bytes_max,
            attributes_max: policy.attributes_max,
            sessions_max: policy.sessions_max,
            bytes_max: policy.bytes_max,
            principal_sessions_max: policy.principal_sessions_max,
            principal_overflow: match policy.principal_overflow {
                PrincipalOverflow::EndOldest => "end-oldest",
                _ => "refuse",
            },
            tombstone_ms: millis(policy.tombstone),
            events_max: policy.events_max,
            events_bytes_max: policy.events_bytes_max,
        }
    }

    /// Named as the options are.
    fn rows(&self) -> Vec<(&'static str, String)> {
        fn number<T: ToString>(limit: Option<T>) -> String {
            limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
        }
        vec![
            ("default-idle", duration(self.default_idle_ms)),
            ("default-absolute", duration(self.default_absolute_ms)),
            ("longest-idle", days(self.longest_idle_ms)),
            ("longest-absolute", days(self.longest_absolute_ms)),
            ("anonymous-idle", duration(self.anonymous_idle_ms)),
            ("granule", self.granule_ms.map_or_else(|| "none (idle/20)".to_owned(), |ms| duration(Some(ms)))),
            ("session-bytes-max", shown_size(self.session_bytes_max)),
            ("attributes-max", self.attributes_max.to_string()),
            ("sessions-max", number(self.sessions_max)),
            ("bytes-max", self.bytes_max.map_or_else(|| "none".to_owned(), shown_size)),
            ("principal-sessions-max", number(self.principal_sessions_max)),
            ("principal-overflow", self.principal_overflow.to_owned()),
            ("tombstone", duration(Some(self.tombstone_ms))),
            ("events-max", self.events_max.to_string()),
            ("events-bytes-max", shown_size(self.events_bytes_max)),
        ]
    }
}

/// Whole days as days: years and months, which humantime would make of them, have no fixed length.
fn days(ms: u64) -> String {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    if ms >= DAY_MS && ms.is_multiple_of(DAY_MS) {
        format!("{}days", ms / DAY_MS)
    } else {
        duration(Some(ms))
    }
}

impl CountersReport {
    fn of(counters: Counters) -> CountersReport {
        CountersReport {
            live: counters.live,
            bytes: counters.bytes,
            created: counters.created,
            expired: counters.expired,
            deleted: counters.deleted,
            lock_waits: counters.lock_waits,
            events: counters.events,
            event_bytes: counters.event_bytes,
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("sessions", self.live.to_string()),
            ("bytes", self.bytes.to_string()),
            ("created", self.created.to_string()),
            ("expired", self.expired.to_string()),
            ("deleted", self.deleted.to_string()),
            ("lock waits", self.lock_waits.to_string()),
            ("events kept", self.events.to_string()),
            ("event bytes", self.event_bytes.to_string()),
        ]
    }
}

impl Report for NamespaceReport {
    fn table(&self) -> String {
        let mut rows = vec![("name", self.name.clone())];
        rows.extend(self.counters.rows());
        format!("{}\n\n{}", pairs(&rows), pairs(&self.policy.rows()))
    }
}

impl Report for NamespacesReport {
    fn table(&self) -> String {
        let header = ["NAME", "SESSIONS", "BYTES", "CREATED", "EXPIRED", "DELETED", "LOCK WAITS", "EVENTS"];
        let row = |namespace: &NamespaceReport| {
            let counters = &namespace.counters;
            let numbers = [
                counters.live,
                counters.bytes,
                counters.created,
                counters.expired,
                counters.deleted,
                counters.lock_waits,
                counters.events,
            ];
            std::iter::once(namespace.name.clone()).chain(numbers.map(|n| n.to_string())).collect()
        };
        columns(&header, &[1, 2, 3, 4, 5, 6, 7], self.namespaces.iter().map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_are_days() {
        assert_eq!(days(366 * 24 * 3_600_000), "366days");
        assert_eq!(days(3_600_000), "1h");
    }
}
