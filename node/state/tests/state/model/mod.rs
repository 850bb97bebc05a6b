//! A naive store, written from the contract and not from the code: plain maps, everything recomputed, nothing shared.
//!
//! What is gone (expired, revoked, of a deleted namespace) stays in the map, as in a node's memory, until it is reaped:
//! only then is its end told and counted.
//!
//! ```text
//! mod      the maps, time, commands        sessions   create, write, touch, delete, regenerate, revoke
//! clients  exactly once                    locks      the lock and its line
//! spaces   namespaces, quotas, events
//! ```

mod clients;
mod locks;
mod sessions;
mod spaces;

use std::collections::BTreeMap;

use quorate_state::{Command, Member, Operation, Outcome, Refusal, SessionKey};

pub(crate) use self::clients::Client;
pub(crate) use self::locks::Lock;
pub(crate) use self::spaces::{Event, Space, What};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    /// The namespace's number: one that was deleted and made again has another.
    pub(crate) namespace: u32,
    pub(crate) version: u64,
    pub(crate) created: u64,
    /// As set, or by default.
    pub(crate) own_idle: Option<u64>,
    /// As it holds.
    pub(crate) idle: Option<u64>,
    pub(crate) absolute: Option<u64>,
    pub(crate) granule: u64,
    pub(crate) touched: u64,
    pub(crate) principal: String,
    /// The entry that signed it in.
    pub(crate) signed_in: u64,
    pub(crate) revoked: bool,
    pub(crate) lock: Option<Lock>,
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model is naive")]
pub(crate) enum Kept {
    Session(Session),
    Ended { until: u64 },
    Renamed { until: u64 },
}

pub(crate) struct Model {
    pub(crate) cluster: u64,
    pub(crate) served: u64,
    pub(crate) wall: u64,
    pub(crate) apply_version: u32,
    pub(crate) index: u64,
    pub(crate) next_fence: u64,
    pub(crate) next_space: u32,
    pub(crate) kept: BTreeMap<SessionKey, Kept>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) spaces: BTreeMap<String, Space>,
}

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60_000;

impl Session {
    /// When it ends, on served and on cluster time.
    pub(crate) fn ends(&self) -> (Option<u64>, Option<u64>) {
        let idle = self.idle.map(|idle| self.touched + idle + self.granule);
        (idle, self.absolute.map(|absolute| self.created + absolute))
    }
}

impl Model {
    pub(crate) fn new() -> Model {
        Model {
            cluster: 0,
            served: 0,
            wall: 0,
            apply_version: 2,
            index: 0,
            next_fence: 1,
            next_space: 3,
            kept: BTreeMap::new(),
            clients: BTreeMap::new(),
            members: BTreeMap::new(),
            spaces: spaces::first(),
        }
    }

    pub(crate) fn apply(&mut self, stamp: u64, command: &Command) -> Outcome {
        self.index += 1;
        self.pass_time(stamp);
        self.run_command(command).unwrap_or_else(Outcome::Refused)
    }

    fn run_command(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Tick { wall_ms } => {
                self.wall = *wall_ms;
                Ok(Outcome::Done)
            }
            Command::Reap { keys } => {
                for key in keys {
                    self.reap(*key);
                }
                Ok(Outcome::Done)
            }
            Command::OpenClient { client } => self.open_client(*client),
            Command::Announce { node, member } => match self.members.get(node) {
                Some(old) if old.incarnation != member.incarnation => {
                    Err(Refusal::IncarnationMismatch { recorded: old.incarnation })
                }
                _ => {
                    self.members.insert(*node, member.clone());
                    Ok(Outcome::Done)
                }
            },
            Command::RaiseApplyVersion { version } => {
                if *version < self.apply_version {
                    return Err(Refusal::ApplyVersionLower { current: self.apply_version });
                }
                self.apply_version = *version;
                Ok(Outcome::Done)
            }
            Command::TimeJump { by_ms } => {
                self.cluster = self.cluster.saturating_add(*by_ms);
                self.wall = self.wall.saturating_add(*by_ms);
                self.forget_unused_clients();
                Ok(Outcome::Done)
            }
            Command::ClaimLock(waiter) => self.claim(waiter),
            Command::LeaveLine(waiter) => self.leave(waiter),
            Command::SettleLocks { keys } => {
                for key in keys {
                    if self.is_live(key) {
                        self.settle(*key);
                    }
                }
                Ok(Outcome::Done)
            }
            Command::Operate { request: None, operation } => self.operate(operation),
            Command::Operate { request: Some(request), operation } => self.operate_once(request, operation),
        }
    }

    fn pass_time(&mut self, stamp: u64) {
        if self.cluster == 0 {
            self.cluster = stamp;
            self.served = stamp;
        } else if stamp > self.cluster {
            let elapsed = (stamp - self.cluster).min(60 * SECOND);
            self.cluster += elapsed;
            if elapsed <= 5 * SECOND {
                self.served += elapsed;
            }
        }
        self.forget_unused_clients();
    }

    fn forget_unused_clients(&mut self) {
        self.clients.retain(|_, client| self.cluster / MINUTE <= client.used / MINUTE + 60);
    }

    pub(crate) fn is_expired(&self, session: &Session) -> bool {
        let (idle, absolute) = session.ends();
        idle.is_some_and(|ends| self.served >= ends) || absolute.is_some_and(|ends| self.cluster >= ends)
    }

    /// Whether a key stands for nothing any more, though it may still be in memory.
    pub(crate) fn is_gone(&self, key: &SessionKey) -> bool {
        match self.kept.get(key) {
            None => true,
            Some(Kept::Ended { until } | Kept::Renamed { until }) => self.cluster >= *until,
            Some(Kept::Session(session)) => {
                let exists = self.spaces.values().any(|space| space.id == session.namespace);
                self.is_expired(session) || session.revoked || !exists
            }
        }
    }

    pub(crate) fn is_live(&self, key: &SessionKey) -> bool {
        matches!(self.kept.get(key), Some(Kept::Session(_))) && !self.is_gone(key)
    }

    /// The session of a key in a namespace.
    pub(crate) fn session(&mut self, namespace: &str, key: SessionKey) -> Result<&mut Session, Refusal> {
        let id = self.spaces.get(namespace).ok_or(Refusal::UnknownNamespace)?.id;
        if self.is_gone(&key) {
            return Err(Refusal::NotFound);
        }
        match self.kept.get_mut(&key) {
            Some(Kept::Renamed { .. }) => Err(Refusal::Renamed),
            Some(Kept::Session(session)) if session.namespace == id => Ok(session),
            _ => Err(Refusal::NotFound),
        }
    }

    pub(crate) fn operate(&mut self, operation: &Operation) -> Result<Outcome, Refusal> {
        match operation {
            Operation::Create(create) => self.create(create),
            Operation::Write(write) => self.write(write),
            Operation::Touch { namespace, key } => self.touch(namespace, *key),
            Operation::TouchMany { namespace, keys } => {
                if !self.spaces.contains_key(namespace.as_ref()) {
                    return Err(Refusal::UnknownNamespace);
                }
                let missing = (0..).zip(keys).filter(|(_, key)| self.touch(namespace, **key).is_err());
                Ok(Outcome::TouchedMany { missing: missing.map(|(place, _)| place).collect() })
            }
            Operation::Delete { namespace, key } => self.delete(namespace, *key),
            Operation::Regenerate(regenerate) => self.regenerate(regenerate),
            Operation::Lock(lock) => self.lock(lock),
            Operation::Unlock(holder) => self.unlock(holder),
            Operation::BreakLock { namespace, key } => self.break_lock(namespace, *key),
            Operation::Revoke(revoke) => self.revoke(revoke),
            Operation::PutNamespace { name, change, create } => self.put_namespace(name, change, *create),
            Operation::DeleteNamespace { name } => self.delete_namespace(name),
        }
    }
}
