//! A naive store, written from the contract and not from the code: plain maps, everything recomputed, nothing shared,
//! nothing lazy. What has expired is removed before each command.

use std::collections::BTreeMap;

use quorate_state::{
    AttributeChange, Command, Member, Operation, Outcome, Policy, Refusal, RequestId, SessionKey, Timeouts,
};

use crate::base::{SMALL, small_policy};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) namespace: String,
    pub(crate) version: u64,
    pub(crate) created: u64,
    pub(crate) idle: Option<u64>,
    pub(crate) absolute: Option<u64>,
    pub(crate) granule: u64,
    pub(crate) touched: u64,
    pub(crate) principal: String,
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Session(Session),
    Ended { until: u64 },
    Renamed { until: u64 },
}

#[derive(Default)]
pub(crate) struct Client {
    lowest: u64,
    used: u64,
    outcomes: BTreeMap<u64, (Operation, Outcome)>,
}

pub(crate) struct Model {
    pub(crate) cluster: u64,
    pub(crate) served: u64,
    pub(crate) wall: u64,
    pub(crate) apply_version: u32,
    pub(crate) kept: BTreeMap<SessionKey, Kept>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) members: BTreeMap<u64, Member>,
    policies: BTreeMap<String, Policy>,
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60_000;

impl Session {
    /// When it ends, on served and on cluster time.
    pub(crate) fn ends(&self) -> (Option<u64>, Option<u64>) {
        let idle = self.idle.map(|idle| self.touched + idle + self.granule);
        (idle, self.absolute.map(|absolute| self.created + absolute))
    }

    fn set_idle(&mut self, idle: Option<u64>) {
        self.idle = idle;
        self.granule = match idle {
            None => 0,
            Some(idle) => SECOND.max(idle / 20),
        };
    }
}

impl Model {
    pub(crate) fn new() -> Model {
        let policies = [("default".to_string(), Policy::default()), (SMALL.to_string(), small_policy())];
        Model {
            cluster: 0,
            served: 0,
            wall: 0,
            apply_version: 1,
            kept: BTreeMap::new(),
            clients: BTreeMap::new(),
            members: BTreeMap::new(),
            policies: policies.into(),
        }
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.kept.values().filter_map(|kept| match kept {
            Kept::Session(session) => Some(session),
            _ => None,
        })
    }

    pub(crate) fn apply(&mut self, stamp: u64, command: &Command) -> Outcome {
        self.pass_time(stamp);
        self.drop_expired();
        let outcome = self.run_command(command);
        // A write may set a deadline that has passed.
        self.drop_expired();
        outcome
    }

    fn run_command(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Tick { wall_ms } => {
                self.wall = *wall_ms;
                Outcome::Done
            }
            Command::Reap { .. } => Outcome::Done,
            Command::OpenClient { client } => {
                if self.clients.contains_key(client) {
                    return Outcome::Refused(Refusal::ClientTaken);
                }
                if self.clients.len() >= 100_000 && !self.forget_spare_client() {
                    return Outcome::Refused(Refusal::TooManyClients { max: 100_000 });
                }
                self.clients.insert(*client, Client { used: self.cluster, ..Client::default() });
                Outcome::ClientOpened(*client)
            }
            Command::Announce { node, member } => {
                match self.members.get(node) {
                    Some(old) if old.incarnation != member.incarnation => {
                        return Outcome::Refused(Refusal::IncarnationMismatch { recorded: old.incarnation });
                    }
                    _ => self.members.insert(*node, member.clone()),
                };
                Outcome::Done
            }
            Command::RaiseApplyVersion { version } => {
                if *version < self.apply_version {
                    return Outcome::Refused(Refusal::ApplyVersionLower { current: self.apply_version });
                }
                self.apply_version = *version;
                Outcome::Done
            }
            Command::TimeJump { by_ms } => {
                self.cluster = self.cluster.saturating_add(*by_ms);
                self.wall = self.wall.saturating_add(*by_ms);
                self.forget_unused_clients();
                Outcome::Done
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

    fn drop_expired(&mut self) {
        let (cluster, served) = (self.cluster, self.served);
        self.kept.retain(|_, kept| match kept {
            Kept::Ended { until } | Kept::Renamed { until } => cluster < *until,
            Kept::Session(session) => {
                let (idle, absolute) = session.ends();
                idle.is_none_or(|ends| served < ends) && absolute.is_none_or(|ends| cluster < ends)
            }
        });
    }

    pub(crate) fn outcomes(&self) -> usize {
        self.clients.values().map(|client| client.outcomes.len()).sum()
    }

    /// The one unused for longest, of those the one with the lowest number; none that was used within five minutes.
    fn forget_spare_client(&mut self) -> bool {
        let oldest = self.clients.iter().min_by_key(|(id, client)| (client.used / MINUTE, **id));
        let Some((id, client)) = oldest else { return false };
        let (id, spare) = (*id, self.cluster / MINUTE > client.used / MINUTE + 5);
        if spare {
            self.clients.remove(&id);
        }
        spare
    }

    fn operate_once(&mut self, request: &RequestId, operation: &Operation) -> Outcome {
        let now = self.cluster;
        if let Some(client) = self.clients.get_mut(&request.client) {
            client.used = now;
        }
        for _ in 0..64 {
            if self.outcomes() < 1 << 21 || !self.forget_spare_client() {
                break;
            }
        }
        let full = self.outcomes() >= 1 << 21;
        let Some(client) = self.clients.get_mut(&request.client) else {
            return Outcome::Refused(Refusal::UnknownClient);
        };
        if request.sequence < client.lowest || request.sequence < request.lowest_unanswered {
            return Outcome::Refused(Refusal::StaleRequest);
        }
        client.lowest = client.lowest.max(request.lowest_unanswered);
        let lowest = client.lowest;
        client.outcomes.retain(|sequence, _| *sequence >= lowest);
        if let Some((known, outcome)) = client.outcomes.get(&request.sequence) {
            return if known == operation {
                outcome.clone()
            } else {
                Outcome::Refused(Refusal::RequestMismatch)
            };
        }
        if request.sequence >= lowest + 4_096 {
            return Outcome::Refused(Refusal::TooManyOutstanding { max: 4_096 });
        }
        if full && client.outcomes.len() >= 16 {
            return Outcome::Refused(Refusal::TooManyOutcomes { max: 1 << 21 });
        }
        let outcome = self.operate(operation);
        let client = self.clients.get_mut(&request.client).unwrap();
        client.outcomes.insert(request.sequence, (operation.clone(), outcome.clone()));
        outcome
    }

    fn operate(&mut self, operation: &Operation) -> Outcome {
        let namespace = match operation {
            Operation::Create(create) => &create.namespace,
            Operation::Write(write) => &write.namespace,
            Operation::Touch { namespace, .. } | Operation::Delete { namespace, .. } => namespace,
            Operation::Regenerate(regenerate) => &regenerate.namespace,
        };
        let Some(policy) = self.policies.get(namespace.as_ref()).cloned() else {
            return Outcome::Refused(Refusal::UnknownNamespace);
        };
        self.run(operation, namespace, &policy).unwrap_or_else(Outcome::Refused)
    }

    fn run(&mut self, operation: &Operation, namespace: &str, policy: &Policy) -> Result<Outcome, Refusal> {
        match operation {
            Operation::Create(create) => {
                self.must_be_free(create.key)?;
                check_timeouts(create.timeouts, policy)?;
                let attributes: BTreeMap<_, _> = create
                    .attributes
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_vec()))
                    .collect();
                check_attributes(&attributes, policy)?;
                let mut session = Session {
                    namespace: namespace.to_string(),
                    version: 1,
                    created: self.cluster,
                    idle: None,
                    absolute: create.timeouts.absolute_ms.or(policy.default_timeouts.absolute_ms),
                    granule: 0,
                    touched: self.served,
                    principal: create.principal.to_string(),
                    attributes,
                };
                session.set_idle(create.timeouts.idle_ms.or(policy.default_timeouts.idle_ms));
                self.kept.insert(create.key, Kept::Session(session));
                Ok(Outcome::Written { version: 1 })
            }
            Operation::Write(write) => {
                let served = self.served;
                let session = self.session(namespace, write.key)?;
                if let Some(version) = write.if_version
                    && version != session.version
                {
                    return Err(Refusal::VersionConflict { current: session.version });
                }
                check_timeouts(write.timeouts, policy)?;
                let changed = changed(&session.attributes, &write.change);
                if write.change != AttributeChange::Keep {
                    check_attributes(&changed, policy)?;
                }
                let nothing = write.change == AttributeChange::Keep
                    && write.principal.is_none()
                    && write.timeouts.idle_ms.is_none()
                    && write.timeouts.absolute_ms.is_none();
                if !nothing {
                    session.version += 1;
                }
                session.attributes = changed;
                session.touched = served;
                if let Some(principal) = &write.principal {
                    session.principal = principal.to_string();
                }
                if write.timeouts.idle_ms.is_some() {
                    session.set_idle(write.timeouts.idle_ms);
                }
                session.absolute = write.timeouts.absolute_ms.or(session.absolute);
                Ok(Outcome::Written { version: session.version })
            }
            Operation::Touch { key, .. } => {
                let (served, cluster) = (self.served, self.cluster);
                let session = self.session(namespace, *key)?;
                session.touched = served;
                let absolute = session.absolute.map(|absolute| session.created + absolute - cluster);
                let remaining_ms = match (session.idle, absolute) {
                    (Some(idle), Some(absolute)) => Some(idle.min(absolute)),
                    (idle, absolute) => idle.or(absolute),
                };
                Ok(Outcome::Touched { remaining_ms })
            }
            Operation::Delete { key, .. } => {
                self.session(namespace, *key)?;
                self.put_tombstone(*key, Kept::Ended { until: self.cluster + policy.tombstone_ms });
                Ok(Outcome::Done)
            }
            Operation::Regenerate(regenerate) => {
                let mut moved = self.session(namespace, regenerate.key)?.clone();
                self.must_be_free(regenerate.new_key)?;
                moved.version += 1;
                moved.touched = self.served;
                let version = moved.version;
                self.kept.insert(regenerate.new_key, Kept::Session(moved));
                self.put_tombstone(regenerate.key, Kept::Renamed { until: self.cluster + 60 * SECOND });
                Ok(Outcome::Written { version })
            }
        }
    }

    fn put_tombstone(&mut self, key: SessionKey, tombstone: Kept) {
        self.kept.insert(key, tombstone);
    }

    fn session(&mut self, namespace: &str, key: SessionKey) -> Result<&mut Session, Refusal> {
        match self.kept.get_mut(&key) {
            Some(Kept::Renamed { .. }) => Err(Refusal::Renamed),
            Some(Kept::Session(session)) if session.namespace == namespace => Ok(session),
            _ => Err(Refusal::NotFound),
        }
    }

    fn must_be_free(&self, key: SessionKey) -> Result<(), Refusal> {
        match self.kept.get(&key) {
            None => Ok(()),
            Some(Kept::Session(_)) => Err(Refusal::AlreadyExists),
            Some(_) => Err(Refusal::RecentlyEnded),
        }
    }
}

fn check_timeouts(given: Timeouts, policy: &Policy) -> Result<(), Refusal> {
    for (given, max_ms) in [(given.idle_ms, policy.idle_ms_max), (given.absolute_ms, policy.absolute_ms_max)]
    {
        if let Some(given_ms) = given
            && (given_ms < SECOND || given_ms > max_ms)
        {
            return Err(Refusal::TimeoutOutOfRange { given_ms, min_ms: SECOND, max_ms });
        }
    }
    Ok(())
}

fn check_attributes(attributes: &BTreeMap<String, Vec<u8>>, policy: &Policy) -> Result<(), Refusal> {
    let count = attributes.len() as u64;
    if count > u64::from(policy.attributes_max) {
        return Err(Refusal::TooManyAttributes { count, max: u64::from(policy.attributes_max) });
    }
    let bytes = attributes.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum();
    if bytes > policy.session_bytes_max {
        return Err(Refusal::SessionTooLarge { bytes, max: policy.session_bytes_max });
    }
    Ok(())
}

fn changed(now: &BTreeMap<String, Vec<u8>>, change: &AttributeChange) -> BTreeMap<String, Vec<u8>> {
    let mut then = now.clone();
    let set = match change {
        AttributeChange::Keep => return then,
        AttributeChange::Replace(new) => {
            then.clear();
            new
        }
        AttributeChange::Patch { set, remove } => {
            then.retain(|name, _| !remove.iter().any(|removed| **removed == **name));
            set
        }
    };
    for (name, value) in set {
        then.insert(name.to_string(), value.to_vec());
    }
    then
}
