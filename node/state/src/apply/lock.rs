//! Lock, unlock, and what happens to the line.

use crate::command::{LockSession, Waiter};
use crate::key::SessionKey;
use crate::lock::{self, Fence, Holder, Lock, Ticket, Turn};
use crate::outcome::{Outcome, Refusal};
use crate::policy::Limits;
use crate::record::{Record, Slot};
use crate::state::State;
use crate::time::ClusterTime;

/// A session's lock as it is now: what has lapsed has gone on.
struct Settled {
    slot: Slot,
    lock: lock::Slot,
    /// Whose turn came by that.
    woken: Option<Fence>,
}

impl State {
    /// Takes the lock, renews it, or gets in line; a touch too, unless it waits.
    pub(super) fn lock(&mut self, take: LockSession) -> Result<Outcome, Refusal> {
        let (slot, session) = self.find_in(&take.namespace, &take.key)?;
        let (namespace, now) = (session.namespace, self.clocks.cluster);
        let mut lock = session.lock.clone();
        let mut woken = lock::settle(&mut lock, now);
        let lease_ms = take.lease_ms.clamp(Limits::LEASE_MS_MIN, Limits::LEASE_MS_MAX);
        let wait_ms = take.wait_ms.min(Limits::WAIT_MS_MAX);
        let mut ticket =
            Ticket { fence: self.next_fence, until: later(now, wait_ms), lease_ms, owner: take.owner };
        let outcome = if let Some(fence) = take.fence {
            lock::check(&lock, Some(fence), now)?;
            if let Some(lock) = &mut lock {
                (lock.holder.until, lock.holder.lease_ms) = (later(now, lease_ms), lease_ms);
            }
            Outcome::Locked { fence, remaining_ms: lease_ms }
        } else if let Some(lock) = &mut lock {
            if wait_ms == 0 {
                lock::check(&Some(lock.clone()), None, now)?;
            }
            let fence = ticket.fence;
            lock::queue(lock, ticket, now)?;
            self.next_fence += 1;
            self.count(namespace, |counters| counters.lock_waits += 1);
            Outcome::Queued { fence }
        } else {
            ticket.until = now;
            let fence = ticket.fence;
            self.next_fence += 1;
            let holder = Holder::new(ticket, now);
            lock = Some(Box::new(Lock { holder, waiting: Default::default() }));
            woken = None;
            Outcome::Locked { fence, remaining_ms: lease_ms }
        };
        let touches = matches!(outcome, Outcome::Locked { .. });
        self.set_lock(slot, lock, woken, touches);
        Ok(outcome)
    }

    /// A waiter whose turn has come takes the lock; a touch too. Asked again, it answers the same.
    pub(super) fn claim_lock(&mut self, waiter: &Waiter) -> Result<Outcome, Refusal> {
        let Settled { slot, mut lock, woken } = self.settled(&waiter.namespace, &waiter.key)?;
        let (fence, now) = (waiter.fence, self.clocks.cluster);
        let (outcome, touches) = match lock::turn(&lock, fence, now) {
            Turn::Over => return Err(Refusal::WaitOver),
            Turn::Waiting => (Outcome::Queued { fence }, false),
            Turn::Held { remaining_ms } => (Outcome::Locked { fence, remaining_ms }, false),
            Turn::Granted => {
                let lease_ms = lock.as_mut().map_or(0, |lock| {
                    let holder = &mut lock.holder;
                    (holder.claimed, holder.since) = (true, now);
                    holder.until = later(now, holder.lease_ms);
                    holder.lease_ms
                });
                (Outcome::Locked { fence, remaining_ms: lease_ms }, true)
            }
        };
        self.set_lock(slot, lock, woken, touches);
        Ok(outcome)
    }

    /// A waiter gives up.
    pub(super) fn leave_line(&mut self, waiter: &Waiter) -> Result<Outcome, Refusal> {
        let Settled { slot, mut lock, woken } = self.settled(&waiter.namespace, &waiter.key)?;
        self.woken.extend(woken);
        // The same call, sent again, may have begun to listen under this token since.
        self.woken.push(waiter.fence);
        let woken = lock::leave(&mut lock, waiter.fence, self.clocks.cluster);
        self.set_lock(slot, lock, woken, false);
        Ok(Outcome::Done)
    }

    /// Gives the lock back; a touch too.
    pub(super) fn unlock(&mut self, holder: &Waiter) -> Result<Outcome, Refusal> {
        let Settled { slot, mut lock, .. } = self.settled(&holder.namespace, &holder.key)?;
        lock::check(&lock, Some(holder.fence), self.clocks.cluster)?;
        let woken = lock::pass_on(&mut lock, self.clocks.cluster);
        self.set_lock(slot, lock, woken, true);
        Ok(Outcome::Done)
    }

    /// Takes the lock from whoever has taken it. A waiter whose turn has come keeps its turn.
    pub(super) fn break_lock(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        let Settled { slot, mut lock, mut woken } = self.settled(namespace, &key)?;
        let holder = lock.as_ref().map(|lock| &lock.holder).ok_or(Refusal::NotLocked)?;
        if holder.claimed {
            woken = lock::pass_on(&mut lock, self.clocks.cluster);
        }
        self.set_lock(slot, lock, woken, false);
        Ok(Outcome::Done)
    }

    /// Lapsed locks for which somebody waits go to the next in line.
    pub(super) fn settle_locks(&mut self, keys: &[SessionKey]) -> Outcome {
        for key in keys.iter().take(Limits::REAP_MAX) {
            let Some((slot, Record::Live(session))) = self.record(key, self.clocks) else { continue };
            let mut lock = session.lock.clone();
            let before = lock.is_some();
            let woken = lock::settle(&mut lock, self.clocks.cluster);
            if woken.is_some() || before != lock.is_some() {
                self.set_lock(slot, lock, woken, false);
            }
        }
        Outcome::Done
    }

    /// Tells all who wait for a session's lock that it has ended, or has another key.
    pub(super) fn wake_line(&mut self, lock: Option<&Lock>) {
        let Some(lock) = lock else { return };
        if !lock.holder.claimed {
            self.woken.push(lock.holder.fence);
        }
        self.woken.extend(lock.waiting.iter().map(|ticket| ticket.fence));
    }

    fn settled(&self, namespace: &str, key: &SessionKey) -> Result<Settled, Refusal> {
        let (slot, session) = self.find_in(namespace, key)?;
        let mut lock = session.lock.clone();
        let woken = lock::settle(&mut lock, self.clocks.cluster);
        Ok(Settled { slot, lock, woken })
    }

    fn set_lock(&mut self, slot: Slot, lock: lock::Slot, woken: Option<Fence>, touches: bool) {
        self.woken.extend(woken);
        let served = self.clocks.served;
        self.table.update(slot, false, |session| {
            session.lock = lock;
            if touches {
                session.last_touch = served;
            }
        });
        self.relock(slot);
    }

    /// After a session's lock changed.
    pub(super) fn relock(&mut self, slot: Slot) {
        self.expiry.set_lock(slot, self.table.entry(slot).map(|entry| &entry.record));
    }
}

fn later(now: ClusterTime, by_ms: u64) -> ClusterTime {
    ClusterTime(now.0.saturating_add(by_ms))
}
