//! The lock and its line.

use quorate_state::{LockSession, Outcome, Refusal, SessionKey, Waiter};

use super::{Kept, Model, SECOND, Session};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lock {
    pub(crate) fence: u64,
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) claimed: bool,
    pub(crate) lease: u64,
    pub(crate) owner: String,
    /// Token, patience, lease, owner.
    pub(crate) line: Vec<(u64, u64, u64, String)>,
}

impl Session {
    /// Who holds the lock at `now`, once what has lapsed has gone on.
    pub(crate) fn lock_at(&self, now: u64) -> Option<Lock> {
        let lock = self.lock.clone()?;
        if lock.until > now { Some(lock) } else { next_of(lock, now) }
    }

    /// May this caller change the session?
    pub(super) fn admits(&self, fence: Option<u64>, now: u64) -> Result<(), Refusal> {
        match (self.lock_at(now), fence) {
            (None, None) => Ok(()),
            (Some(lock), Some(fence)) if lock.claimed && lock.fence == fence => Ok(()),
            (_, Some(_)) => Err(Refusal::StaleFence),
            (Some(lock), None) => {
                Err(Refusal::Locked { age_ms: now - lock.since, remaining_ms: lock.until - now })
            }
        }
    }
}

/// The lock of whoever is next in line and still waits.
pub(super) fn next_of(mut lock: Lock, now: u64) -> Option<Lock> {
    lock.line.retain(|(_, patience, ..)| now < *patience);
    if lock.line.is_empty() {
        return None;
    }
    let (fence, _, lease, owner) = lock.line.remove(0);
    Some(Lock { fence, since: now, until: now + 2 * SECOND, claimed: false, lease, owner, line: lock.line })
}

impl Model {
    pub(super) fn settle(&mut self, key: SessionKey) {
        let now = self.cluster;
        if let Some(Kept::Session(session)) = self.kept.get_mut(&key) {
            session.lock = session.lock_at(now);
        }
    }

    pub(super) fn lock(&mut self, take: &LockSession) -> Result<Outcome, Refusal> {
        let (now, served, fence) = (self.cluster, self.served, self.next_fence);
        let lease = take.lease_ms.clamp(SECOND, 3_600 * SECOND);
        let wait = take.wait_ms.min(60 * SECOND);
        let session = self.session(&take.namespace, take.key)?;
        let namespace = session.namespace;
        let held = session.lock_at(now);
        if take.fence.is_some() {
            session.admits(take.fence, now)?;
            let mut lock = held.unwrap();
            (lock.until, lock.lease) = (now + lease, lease);
            let fence = lock.fence;
            (session.lock, session.touched) = (Some(lock), served);
            return Ok(Outcome::Locked { fence, remaining_ms: lease });
        }
        match held {
            None => {
                let owner = take.owner.to_string();
                let lock =
                    Lock { fence, since: now, until: now + lease, claimed: true, lease, owner, line: vec![] };
                (session.lock, session.touched) = (Some(lock), served);
                self.next_fence += 1;
                Ok(Outcome::Locked { fence, remaining_ms: lease })
            }
            Some(_) if wait == 0 => {
                session.admits(None, now)?;
                unreachable!("it is held")
            }
            Some(mut lock) => {
                lock.line.retain(|(_, patience, ..)| now < *patience);
                if lock.line.len() >= 1_024 {
                    return Err(Refusal::TooManyWaiters { max: 1_024 });
                }
                lock.line.push((fence, now + wait, lease, take.owner.to_string()));
                session.lock = Some(lock);
                self.next_fence += 1;
                self.space(namespace).lock_waits += 1;
                Ok(Outcome::Queued { fence })
            }
        }
    }

    pub(super) fn claim(&mut self, waiter: &Waiter) -> Result<Outcome, Refusal> {
        let (now, served, fence) = (self.cluster, self.served, waiter.fence);
        let session = self.session(&waiter.namespace, waiter.key)?;
        let Some(mut lock) = session.lock_at(now) else { return Err(Refusal::WaitOver) };
        let outcome = if lock.fence == fence && !lock.claimed {
            (lock.claimed, lock.since, lock.until) = (true, now, now + lock.lease);
            session.touched = served;
            Outcome::Locked { fence, remaining_ms: lock.lease }
        } else if lock.fence == fence {
            Outcome::Locked { fence, remaining_ms: lock.until - now }
        } else if lock.line.iter().any(|(waiting, ..)| *waiting == fence) {
            Outcome::Queued { fence }
        } else {
            return Err(Refusal::WaitOver);
        };
        session.lock = Some(lock);
        Ok(outcome)
    }

    pub(super) fn leave(&mut self, waiter: &Waiter) -> Result<Outcome, Refusal> {
        let now = self.cluster;
        let session = self.session(&waiter.namespace, waiter.key)?;
        session.lock = match session.lock_at(now) {
            Some(lock) if lock.fence == waiter.fence && !lock.claimed => next_of(lock, now),
            Some(mut lock) => {
                lock.line.retain(|(fence, ..)| *fence != waiter.fence);
                Some(lock)
            }
            None => None,
        };
        Ok(Outcome::Done)
    }

    pub(super) fn unlock(&mut self, holder: &Waiter) -> Result<Outcome, Refusal> {
        let (now, served) = (self.cluster, self.served);
        let session = self.session(&holder.namespace, holder.key)?;
        session.admits(Some(holder.fence), now)?;
        session.lock = next_of(session.lock_at(now).unwrap(), now);
        session.touched = served;
        Ok(Outcome::Done)
    }

    pub(super) fn break_lock(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        let now = self.cluster;
        let session = self.session(namespace, key)?;
        let lock = session.lock_at(now).ok_or(Refusal::NotLocked)?;
        // Only from whoever has taken it.
        session.lock = if lock.claimed { next_of(lock, now) } else { Some(lock) };
        Ok(Outcome::Done)
    }
}
