//! A session's exclusive lock: who holds it, until when, and who waits in line.
//!
//! Whoever comes takes the next number of one counter of the whole cluster. It is the place in line and, once the turn
//! comes, the *fencing token*: within a session each holder's is above all earlier ones', whoever led meanwhile. (Fencing:
//! Kleppmann, "How to do distributed locking", 2016.)
//!
//! A lock that comes to a waiter's turn waits for it to claim it, [`Limits::CLAIM_MS`], then passes on. All is judged by
//! cluster time: in an outage leases run out, since nobody can say what their holders do.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::outcome::Refusal;
use crate::policy::Limits;
use crate::time::{ClusterTime, Millis};

/// A fencing token. Rises with every lock taken or queued for; 0 is never one.
pub type Fence = u64;

/// A lock that somebody holds, and its line. A session without one is free, and nobody waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who holds it, or has been granted it.
    pub holder: Holder,
    /// Who waits, the first first.
    pub waiting: VecDeque<Ticket>,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its token.
    pub fence: Fence,
    /// When it took the lock.
    pub since: ClusterTime,
    /// When the lease lapses, or, not claimed, the grant.
    pub until: ClusterTime,
    /// False while a waiter whose turn has come has not been heard of.
    pub claimed: bool,
    /// The lease that it asked for.
    pub lease_ms: Millis,
    /// What it calls itself; for people.
    pub owner: Box<str>,
}

/// A place in line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The token it will have.
    pub fence: Fence,
    /// Until when it waits.
    pub until: ClusterTime,
    /// The lease that it asks for.
    pub lease_ms: Millis,
    /// What it calls itself; for people.
    pub owner: Box<str>,
}

/// What tells a lock from what one entry makes of it, whatever the length of its line: tickets come at the end of the line, each
/// with a higher token than all before, and never change while they stand in it.
#[derive(PartialEq, Eq)]
pub(crate) struct Mark {
    fence: Fence,
    since: ClusterTime,
    until: ClusterTime,
    claimed: bool,
    lease_ms: Millis,
    waiting: usize,
    last: Option<Fence>,
}

/// How a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Still in line.
    Waiting,
    /// Its turn has come: it must claim the lock.
    Granted,
    /// It has claimed the lock, which it holds.
    Held {
        /// Until the lease lapses.
        remaining_ms: Millis,
    },
    /// Neither in line nor the holder: it waited too long, did not claim, or what it held has lapsed or was given back.
    Over,
}

/// A lock as it is kept: none is free.
pub(crate) type Slot = Option<Box<Lock>>;

impl Holder {
    pub(crate) fn new(ticket: Ticket, now: ClusterTime) -> Self {
        let until = ClusterTime(now.0.saturating_add(ticket.lease_ms));
        let Ticket { fence, lease_ms, owner, .. } = ticket;
        Holder { fence, since: now, until, claimed: true, lease_ms, owner }
    }

    fn granted(ticket: Ticket, now: ClusterTime) -> Self {
        let until = ClusterTime(now.0.saturating_add(Limits::CLAIM_MS));
        Holder { until, claimed: false, ..Holder::new(ticket, now) }
    }

    pub(crate) fn remaining_ms(&self, now: ClusterTime) -> Millis {
        self.until.0.saturating_sub(now.0)
    }
}

impl Lock {
    /// See [`Mark`].
    pub(crate) fn mark(&self) -> Mark {
        let Holder { fence, since, until, claimed, lease_ms, .. } = self.holder;
        let last = self.waiting.back().map(|ticket| ticket.fence);
        Mark { fence, since, until, claimed, lease_ms, waiting: self.waiting.len(), last }
    }

    /// Drops those in line who waited long enough.
    fn forget_expired(&mut self, now: ClusterTime) {
        self.waiting.retain(|ticket| now < ticket.until);
    }

    /// The refusal of whoever needs the lock to be free.
    pub(crate) fn refusal(&self, now: ClusterTime) -> Refusal {
        let age_ms = now.0.saturating_sub(self.holder.since.0);
        Refusal::Locked { age_ms, remaining_ms: self.holder.remaining_ms(now) }
    }
}

/// Whether it is no longer its holder's.
pub(crate) fn has_lapsed(slot: &Slot, now: ClusterTime) -> bool {
    slot.as_ref().is_some_and(|lock| lock.holder.until <= now)
}

/// Lets a lapsed lock go, and the next in line have it. Gives the token of a waiter whose turn came.
pub(crate) fn settle(slot: &mut Slot, now: ClusterTime) -> Option<Fence> {
    if has_lapsed(slot, now) { pass_on(slot, now) } else { None }
}

/// What [`settle`] makes of a lock. A line may be long: it is copied only where that is another than what is there.
pub(crate) fn settled(slot: &Slot, now: ClusterTime) -> Cow<'_, Slot> {
    if !has_lapsed(slot, now) {
        return Cow::Borrowed(slot);
    }
    let mut slot = slot.clone();
    settle(&mut slot, now);
    Cow::Owned(slot)
}

/// Takes the lock from its holder and gives it to the next in line.
pub(crate) fn pass_on(slot: &mut Slot, now: ClusterTime) -> Option<Fence> {
    let lock = slot.as_mut()?;
    lock.forget_expired(now);
    let Some(ticket) = lock.waiting.pop_front() else {
        *slot = None;
        return None;
    };
    lock.holder = Holder::granted(ticket, now);
    Some(lock.holder.fence)
}

/// Whether the holder of `fence` may write: it holds the lock, by claim. Of a settled lock.
pub(crate) fn holds(slot: &Slot, fence: Fence) -> bool {
    slot.as_ref().is_some_and(|lock| lock.holder.claimed && lock.holder.fence == fence)
}

/// Whether a caller with this token, or without one, may change the session. Of a settled lock.
pub(crate) fn check(slot: &Slot, fence: Option<Fence>, now: ClusterTime) -> Result<(), Refusal> {
    match (slot, fence) {
        (_, Some(fence)) if !holds(slot, fence) => Err(Refusal::StaleFence),
        (Some(lock), None) => Err(lock.refusal(now)),
        _ => Ok(()),
    }
}

/// How the waiter of `fence` stands. Of a settled lock.
pub(crate) fn turn(slot: &Slot, fence: Fence, now: ClusterTime) -> Turn {
    let Some(lock) = slot else { return Turn::Over };
    if lock.holder.fence == fence {
        let remaining_ms = lock.holder.remaining_ms(now);
        if lock.holder.claimed { Turn::Held { remaining_ms } } else { Turn::Granted }
    } else if lock.waiting.iter().any(|ticket| ticket.fence == fence) {
        Turn::Waiting
    } else {
        Turn::Over
    }
}

/// Whether somebody more may stand in line. Of a settled lock that is held.
pub(crate) fn check_room(lock: &Lock, now: ClusterTime) -> Result<(), Refusal> {
    let waits = |ticket: &&Ticket| now < ticket.until;
    // Counted only where it matters: the line may be long.
    if lock.waiting.len() >= Limits::WAITERS_MAX
        && lock.waiting.iter().filter(waits).count() >= Limits::WAITERS_MAX
    {
        return Err(Refusal::TooManyWaiters { max: Limits::WAITERS_MAX as u64 });
    }
    Ok(())
}

/// Puts a ticket in line, where there is room. Of a settled lock that is held.
pub(crate) fn queue(lock: &mut Lock, ticket: Ticket, now: ClusterTime) {
    lock.forget_expired(now);
    lock.waiting.push_back(ticket);
}

/// Takes a ticket out of the line; one whose turn has come and was not claimed passes on. Gives the token of a waiter whose
/// turn came.
pub(crate) fn leave(slot: &mut Slot, fence: Fence, now: ClusterTime) -> Option<Fence> {
    let lock = slot.as_mut()?;
    if lock.holder.fence == fence && !lock.holder.claimed {
        return pass_on(slot, now);
    }
    lock.waiting.retain(|ticket| ticket.fence != fence);
    None
}
