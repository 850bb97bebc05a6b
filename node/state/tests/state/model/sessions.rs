//! Create, write, touch, delete, regenerate, revoke, and how what is gone leaves memory.

use std::collections::BTreeMap;

use quorate_state::{
    AttributeChange, CreateSession, EndReason, Outcome, Policy, Refusal, RegenerateSession, RevokePrincipal,
    SessionKey, Timeouts, WriteSession,
};

use super::{Kept, Model, SECOND, Session, What, locks};

type Attributes = BTreeMap<String, Vec<u8>>;

/// The longest timeout there is: a policy that allows it sets none.
const YEAR: u64 = 366 * 24 * 3_600 * SECOND;

fn first(timeouts: [Option<u64>; 3]) -> Option<u64> {
    timeouts.into_iter().flatten().next()
}

impl Session {
    /// Fixes the idle timeout that holds, by the policy of this moment.
    fn fix_idle(&mut self, policy: &Policy) {
        self.idle = self.own_idle;
        if let (Some(anonymous), true) = (policy.more.anonymous_idle_ms, self.principal.is_empty()) {
            self.idle = Some(self.own_idle.unwrap_or(anonymous).min(anonymous));
        }
        self.granule = match (self.idle, policy.more.granule_ms) {
            (None, _) => 0,
            (Some(idle), None) => SECOND.max(idle / 20),
            (Some(idle), Some(granule)) => SECOND.max(granule.min(idle)),
        };
    }
}

impl Model {
    pub(super) fn create(&mut self, create: &CreateSession) -> Result<Outcome, Refusal> {
        let space = self.spaces.get(create.namespace.as_ref()).ok_or(Refusal::UnknownNamespace)?;
        let (id, policy) = (space.id, space.policy.clone());
        self.reap(create.key);
        self.must_be_free(create.key)?;
        check_timeouts(create.timeouts, &policy)?;
        let attributes: Attributes =
            create.attributes.iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect();
        check_attributes(&attributes, &policy)?;
        let ending = self.must_be_allowed(id, &create.principal, &policy)?;
        self.must_have_room(id, create.key, &policy, (1, size(&attributes)), &ending)?;
        self.end_all(ending);
        let mut session = Session {
            namespace: id,
            version: 1,
            created: self.cluster,
            own_idle: first([
                create.timeouts.idle_ms,
                policy.default_timeouts.idle_ms,
                (policy.idle_ms_max < YEAR).then_some(policy.idle_ms_max),
            ]),
            idle: None,
            absolute: first([
                create.timeouts.absolute_ms,
                policy.default_timeouts.absolute_ms,
                (policy.absolute_ms_max < YEAR).then_some(policy.absolute_ms_max),
            ]),
            granule: 0,
            touched: self.served,
            principal: create.principal.to_string(),
            signed_in: if create.principal.is_empty() { 0 } else { self.index },
            revoked: false,
            lock: None,
            attributes,
        };
        session.fix_idle(&policy);
        self.tell(create.key, &session, What::Created);
        self.space(id).created += 1;
        self.kept.insert(create.key, Kept::Session(session));
        Ok(Outcome::Written { version: 1 })
    }

    pub(super) fn write(&mut self, write: &WriteSession) -> Result<Outcome, Refusal> {
        let (served, now, index) = (self.served, self.cluster, self.index);
        let mut session = self.session(&write.namespace, write.key)?.clone();
        session.admits(write.fence, now)?;
        if let Some(version) = write.if_version
            && version != session.version
        {
            return Err(Refusal::VersionConflict { current: session.version });
        }
        let policy = self.spaces[write.namespace.as_ref()].policy.clone();
        check_timeouts(write.timeouts, &policy)?;
        let changed = changed(&session.attributes, &write.change);
        if write.change != AttributeChange::Keep {
            check_attributes(&changed, &policy)?;
        }
        let more = size(&changed).saturating_sub(size(&session.attributes));
        let signs_in = write.principal.as_ref().is_some_and(|principal| **principal != *session.principal);
        let ending = match &write.principal {
            Some(principal) if signs_in => self.must_be_allowed(session.namespace, principal, &policy)?,
            _ => vec![],
        };
        self.must_have_room(session.namespace, write.key, &policy, (0, more), &ending)?;
        self.end_all(ending);
        session.lock = session.lock_at(now);
        if write.release && write.fence.is_some() {
            session.lock = session.lock.and_then(|lock| locks::next_of(lock, now));
        }
        let nothing = write.change == AttributeChange::Keep
            && write.principal.is_none()
            && write.timeouts.idle_ms.is_none()
            && write.timeouts.absolute_ms.is_none();
        session.attributes = changed;
        session.touched = served;
        let previous = signs_in.then(|| session.principal.clone());
        if signs_in {
            session.principal = write.principal.as_deref().unwrap().to_string();
            session.signed_in = if session.principal.is_empty() { 0 } else { index };
        }
        let before = (session.idle, session.granule);
        if write.timeouts.idle_ms.is_some() {
            session.own_idle = write.timeouts.idle_ms;
        }
        if write.timeouts.idle_ms.is_some() || signs_in {
            session.fix_idle(&policy);
            if write.timeouts.idle_ms.is_none() && session.idle == before.0 {
                session.granule = before.1;
            }
        }
        session.absolute = write.timeouts.absolute_ms.or(session.absolute);
        if !nothing {
            session.version += 1;
            self.tell(write.key, &session, What::Updated { previous });
        }
        let version = session.version;
        self.kept.insert(write.key, Kept::Session(session));
        Ok(Outcome::Written { version })
    }

    pub(super) fn touch(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        let (served, cluster) = (self.served, self.cluster);
        let session = self.session(namespace, key)?;
        session.touched = served;
        let absolute = session.absolute.map(|absolute| session.created + absolute - cluster);
        let remaining_ms = match (session.idle, absolute) {
            (Some(idle), Some(absolute)) => Some(idle.min(absolute)),
            (idle, absolute) => idle.or(absolute),
        };
        Ok(Outcome::Touched { remaining_ms })
    }

    pub(super) fn delete(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        self.session(namespace, key)?;
        self.end(key, EndReason::Logout);
        Ok(Outcome::Done)
    }

    /// Ends a live session, with a tombstone.
    pub(super) fn end(&mut self, key: SessionKey, why: EndReason) {
        let Some(Kept::Session(session)) = self.kept.get(&key).cloned() else { panic!("a live session") };
        self.tell(key, &session, What::Ended { why, attributes: session.attributes.clone() });
        let space = self.space(session.namespace);
        space.deleted += 1;
        let tombstone_ms = space.policy.tombstone_ms;
        self.kept.insert(key, Kept::Ended { until: self.cluster + tombstone_ms });
    }

    pub(super) fn regenerate(&mut self, regenerate: &RegenerateSession) -> Result<Outcome, Refusal> {
        let (now, served) = (self.cluster, self.served);
        let mut moved = self.session(&regenerate.namespace, regenerate.key)?.clone();
        moved.admits(regenerate.fence, now)?;
        self.reap(regenerate.new_key);
        self.must_be_free(regenerate.new_key)?;
        moved.lock = moved.lock_at(now).map(|lock| super::Lock { line: vec![], ..lock });
        moved.version += 1;
        moved.touched = served;
        let version = moved.version;
        self.tell(regenerate.key, &moved, What::Renamed { to: regenerate.new_key });
        self.kept.insert(regenerate.new_key, Kept::Session(moved));
        self.kept.insert(regenerate.key, Kept::Renamed { until: now + 60 * SECOND });
        Ok(Outcome::Written { version })
    }

    pub(super) fn revoke(&mut self, revoke: &RevokePrincipal) -> Result<Outcome, Refusal> {
        let (namespace, principal, except) = (&*revoke.namespace, &*revoke.principal, revoke.except);
        let id = self.spaces.get(namespace).ok_or(Refusal::UnknownNamespace)?.id;
        if let Some(key) = except
            && self.session(namespace, key)?.principal != principal
        {
            return Err(Refusal::NotOfPrincipal);
        }
        let mut sessions = 0;
        for (key, kept) in &mut self.kept {
            let Kept::Session(session) = kept else { continue };
            let theirs = session.namespace == id && session.principal == principal && !principal.is_empty();
            if theirs && !session.revoked && Some(*key) != except {
                session.revoked = true;
                sessions += 1;
            }
        }
        Ok(Outcome::Revoked { sessions })
    }

    /// What is gone leaves memory, and its end is told. What was revoked leaves a tombstone.
    pub(super) fn reap(&mut self, key: SessionKey) {
        if !self.is_gone(&key) {
            return;
        }
        let Some(Kept::Session(session)) = self.kept.remove(&key) else { return };
        if !self.spaces.values().any(|space| space.id == session.namespace) {
            return;
        }
        let (_, absolute) = session.ends();
        let why = if session.revoked {
            EndReason::Revoked
        } else if absolute.is_some_and(|ends| self.cluster >= ends) {
            EndReason::Absolute
        } else {
            EndReason::Idle
        };
        self.tell(key, &session, What::Ended { why, attributes: session.attributes.clone() });
        let now = self.cluster;
        let space = self.space(session.namespace);
        if why != EndReason::Revoked {
            space.expired += 1;
            return;
        }
        space.deleted += 1;
        let until = now + space.policy.tombstone_ms;
        self.kept.insert(key, Kept::Ended { until });
    }

    fn must_be_free(&self, key: SessionKey) -> Result<(), Refusal> {
        match self.kept.get(&key) {
            _ if self.is_gone(&key) => Ok(()),
            Some(Kept::Session(_)) => Err(Refusal::AlreadyExists),
            _ => Err(Refusal::RecentlyEnded),
        }
    }
}

pub(super) fn size(attributes: &Attributes) -> u64 {
    attributes.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
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

fn check_attributes(attributes: &Attributes, policy: &Policy) -> Result<(), Refusal> {
    let count = attributes.len() as u64;
    if count > u64::from(policy.attributes_max) {
        return Err(Refusal::TooManyAttributes { count, max: u64::from(policy.attributes_max) });
    }
    let bytes = size(attributes);
    if bytes > policy.session_bytes_max {
        return Err(Refusal::SessionTooLarge { bytes, max: policy.session_bytes_max });
    }
    Ok(())
}

fn changed(now: &Attributes, change: &AttributeChange) -> Attributes {
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
