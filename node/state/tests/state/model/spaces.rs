//! Namespaces, their quotas, and what watchers are told.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quorate_state::{EndReason, Outcome, Overflow, Policy, PolicyChange, Refusal, SessionKey};

use super::sessions::size;
use super::{Kept, Model, SECOND, Session};
use crate::base::{SMALL, small_policy};

pub(crate) struct Space {
    pub(crate) id: u32,
    pub(crate) policy: Policy,
    pub(crate) created: u64,
    pub(crate) expired: u64,
    pub(crate) deleted: u64,
    pub(crate) lock_waits: u64,
    /// All there ever were.
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) index: u64,
    pub(crate) at: u64,
    pub(crate) key: SessionKey,
    pub(crate) version: u64,
    pub(crate) principal: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Created,
    Updated { previous: Option<String> },
    Renamed { to: SessionKey },
    Ended { why: EndReason, attributes: BTreeMap<String, Vec<u8>> },
}

impl Space {
    fn new(id: u32, policy: Policy) -> Self {
        Space { id, policy, created: 0, expired: 0, deleted: 0, lock_waits: 0, events: Vec::new() }
    }
}

pub(super) fn first() -> BTreeMap<String, Space> {
    [
        ("default".to_string(), Space::new(1, Policy::default())),
        (SMALL.to_string(), Space::new(2, small_policy())),
    ]
    .into()
}

impl Model {
    pub(super) fn space(&mut self, id: u32) -> &mut Space {
        self.spaces.values_mut().find(|space| space.id == id).unwrap()
    }

    pub(super) fn tell(&mut self, key: SessionKey, session: &Session, what: What) {
        let (index, at) = (self.index, self.cluster);
        let (version, principal) = (session.version, session.principal.clone());
        self.space(session.namespace).events.push(Event { index, at, key, version, principal, what });
    }

    /// The sessions of a namespace in memory: how many, and their bytes.
    pub(crate) fn usage(&self, id: u32) -> (u64, u64) {
        let sessions = self.kept.values().filter_map(|kept| match kept {
            Kept::Session(session) if session.namespace == id => Some(session),
            _ => None,
        });
        sessions.fold((0, 0), |(count, bytes), session| (count + 1, bytes + size(&session.attributes)))
    }

    /// Room for more sessions and bytes; where there is none, what is gone makes room.
    pub(super) fn must_have_room(
        &mut self,
        id: u32,
        key: SessionKey,
        policy: &Policy,
        (sessions, bytes): (u64, u64),
        ending: &[SessionKey],
    ) -> Result<(), Refusal> {
        let usage = |model: &Model| {
            let ends = ending.iter().map(|key| match &model.kept[key] {
                Kept::Session(session) => size(&session.attributes),
                other => panic!("{other:?}"),
            });
            let (count, bytes) = model.usage(id);
            (count - ending.len() as u64, bytes - ends.sum::<u64>())
        };
        if let (Some(max), 1) = (policy.more.sessions_max, sessions) {
            if usage(self).0 >= max {
                self.reap_all(id, key);
            }
            if usage(self).0 >= max {
                return Err(Refusal::NamespaceFull { max });
            }
        }
        if let (Some(max), 1..) = (policy.more.bytes_max, bytes) {
            if usage(self).1 + bytes > max {
                self.reap_all(id, key);
            }
            let bytes = usage(self).1 + bytes;
            if bytes > max {
                return Err(Refusal::NamespaceBytesExceeded { bytes, max });
            }
        }
        Ok(())
    }

    /// From this key on, round the end.
    fn reap_all(&mut self, id: u32, from: SessionKey) {
        let of = |kept: &Kept| matches!(kept, Kept::Session(session) if session.namespace == id);
        let mut keys: Vec<_> = self.kept.iter().filter(|(_, kept)| of(kept)).map(|(key, _)| *key).collect();
        keys.sort_by_key(|key| (*key < from, *key));
        for key in keys {
            self.reap(key);
        }
    }

    /// One more session for a principal: which of its sessions end for it.
    pub(super) fn must_be_allowed(
        &self,
        id: u32,
        principal: &str,
        policy: &Policy,
    ) -> Result<Vec<SessionKey>, Refusal> {
        let Some(max) = policy.more.principal_sessions_max else { return Ok(vec![]) };
        if principal.is_empty() {
            return Ok(vec![]);
        }
        let mut theirs: Vec<_> = self
            .kept
            .iter()
            .filter_map(|(key, kept)| match kept {
                Kept::Session(session) if session.namespace == id && session.principal == principal => {
                    Some((session.signed_in, *key))
                }
                _ => None,
            })
            .filter(|(_, key)| self.is_live(key))
            .collect();
        theirs.sort();
        if theirs.len() < max as usize {
            return Ok(vec![]);
        }
        if policy.more.principal_overflow == Overflow::Refuse {
            return Err(Refusal::TooManySessionsOfPrincipal { max: max.into() });
        }
        let beyond = theirs.len() - max as usize + 1;
        Ok(theirs.into_iter().take(beyond).map(|(_, key)| key).collect())
    }

    pub(super) fn end_all(&mut self, keys: Vec<SessionKey>) {
        for key in keys {
            self.end(key, EndReason::PrincipalLimit);
        }
    }

    pub(super) fn put_namespace(
        &mut self,
        name: &str,
        change: &PolicyChange,
        create: Option<bool>,
    ) -> Result<Outcome, Refusal> {
        let known = self.spaces.get(name);
        match (known, create) {
            (Some(_), Some(true)) => return Err(Refusal::NamespaceExists),
            (None, Some(false)) => return Err(Refusal::UnknownNamespace),
            (None, _) if self.spaces.len() >= 1_024 => return Err(Refusal::TooManyNamespaces { max: 1_024 }),
            _ => {}
        }
        let mut policy = known.map_or_else(Policy::default, |space| space.policy.clone());
        apply_change(&mut policy, change);
        check_policy(&policy)?;
        let created = known.is_none();
        if let Some(space) = self.spaces.get_mut(name) {
            space.policy = policy;
        } else {
            self.spaces.insert(name.to_string(), Space::new(self.next_space, policy));
            self.next_space += 1;
        }
        Ok(Outcome::NamespacePut { created })
    }

    pub(super) fn delete_namespace(&mut self, name: &str) -> Result<Outcome, Refusal> {
        if name == "default" {
            return Err(Refusal::NamespaceRequired);
        }
        self.spaces.remove(name).map(|_| Outcome::Done).ok_or(Refusal::UnknownNamespace)
    }
}

fn apply_change(policy: &mut Policy, change: &PolicyChange) {
    macro_rules! set {
        ($($from:ident => $($to:ident).+),* $(,)?) => {$(
            if let Some(value) = change.$from {
                policy.$($to).+ = value;
            }
        )*};
    }
    set! {
        default_idle_ms => default_timeouts.idle_ms,
        default_absolute_ms => default_timeouts.absolute_ms,
        idle_ms_max => idle_ms_max,
        absolute_ms_max => absolute_ms_max,
        session_bytes_max => session_bytes_max,
        attributes_max => attributes_max,
        tombstone_ms => tombstone_ms,
        anonymous_idle_ms => more.anonymous_idle_ms,
        granule_ms => more.granule_ms,
        sessions_max => more.sessions_max,
        bytes_max => more.bytes_max,
        principal_sessions_max => more.principal_sessions_max,
        principal_overflow => more.principal_overflow,
        events_max => more.events_max,
        events_bytes_max => more.events_bytes_max,
    }
}

fn check_policy(policy: &Policy) -> Result<(), Refusal> {
    let (year, more) = (366 * 24 * 3_600 * SECOND, &policy.more);
    let settings: [(&'static str, Option<u64>, u64, u64); 14] = [
        ("longest_idle_ms", Some(policy.idle_ms_max), SECOND, year),
        ("longest_absolute_ms", Some(policy.absolute_ms_max), SECOND, year),
        ("default_idle_ms", policy.default_timeouts.idle_ms, SECOND, policy.idle_ms_max),
        ("default_absolute_ms", policy.default_timeouts.absolute_ms, SECOND, policy.absolute_ms_max),
        ("anonymous_idle_ms", more.anonymous_idle_ms, SECOND, policy.idle_ms_max),
        ("granule_ms", more.granule_ms, SECOND, policy.idle_ms_max),
        ("session_bytes_max", Some(policy.session_bytes_max), 1, 1 << 20),
        ("attributes_max", Some(policy.attributes_max.into()), 1, 256),
        ("tombstone_ms", Some(policy.tombstone_ms), SECOND, 600 * SECOND),
        ("sessions_max", more.sessions_max, 1, u64::MAX),
        ("bytes_max", more.bytes_max, 1, u64::MAX),
        ("principal_sessions_max", more.principal_sessions_max.map(u64::from), 1, 1_000),
        ("events_max", Some(more.events_max.into()), 0, 1_000_000),
        ("events_bytes_max", Some(more.events_bytes_max), 0, 256 << 20),
    ];
    for (name, value, min, max) in settings {
        if value.is_some_and(|value| value < min || value > max) {
            return Err(Refusal::PolicyOutOfRange { name: Cow::Borrowed(name), min, max });
        }
    }
    Ok(())
}
