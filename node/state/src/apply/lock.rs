//! Lock, unlock, and what happens to the line.

use std::borrow::Cow;

use crate::command::{LockSession, Waiter};
use crate::key::SessionKey;
use crate::lock::{self, Fence, Holder, Lock, Ticket, Turn};
use crate::outcome::{Outcome, Refusal};
use crate::policy::{Limits, NamespaceId};
use crate::record::{Record, Slot};
use crate::state::State;
use crate::time::ClusterTime;

impl State {
    /// Takes the lock, renews it, or gets in line; a touch too, unless it waits.
    pub(super) fn lock(&mut self, take: LockSession) -> Result<Outcome, Refusal> {
        let now = self.clocks.cluster;
        let lease_ms = take.lease_ms.clamp(Limits::LEASE_MS_MIN, Limits::LEASE_MS_MAX);
        let wait_ms = take.wait_ms.min(Limits::WAIT_MS_MAX);
        let (slot, namespace, lock) = self.settled(&take.namespace, &take.key)?;
        if let Some(fence) = take.fence {
            lock::check(&lock, Some(fence), now)?;
            self.change_lock(slot, true, |lock| {
                if let Some(lock) = lock {
                    (lock.holder.until, lock.holder.lease_ms) = (later(now, lease_ms), lease_ms);
                }
                None
            });
            return Ok(Outcome::Locked { fence, remaining_ms: lease_ms });
        }
        let fence = self.next_fence;
        let ticket = Ticket { fence, until: later(now, wait_ms), lease_ms, owner: take.owner };
        if let Some(lock) = lock.as_deref() {
            if wait_ms == 0 {
                return Err(lock.refusal(now));
            }
            lock::check_room(lock, now)?;
            self.change_lock(slot, false, |lock| {
                if let Some(lock) = lock {
                    lock::queue(lock, ticket, now);
                }
                None
            });
            self.next_fence += 1;
            self.count(namespace, |counters| counters.lock_waits += 1);
            return Ok(Outcome::Queued { fence });
        }
        self.next_fence += 1;
        self.change_lock(slot, true, |lock| {
            *lock = Some(Box::new(Lock { holder: Holder::new(ticket, now), waiting: Default::default() }));
            None
        });
        Ok(Outcome::Locked { fence, remaining_ms: lease_ms })
    }

    /// A waiter whose turn has come takes the lock; a touch too. Asked again, it answers the same.
    pub(super) fn claim_lock(&mut self, waiter: &Waiter) -> Result<Outcome, Refusal> {
        let (fence, now) = (waiter.fence, self.clocks.cluster);
        let (slot, _, lock) = self.settled(&waiter.namespace, &waiter.key)?;
        let (outcome, touches) = match lock::turn(&lock, fence, now) {
            Turn::Over => return Err(Refusal::WaitOver),
            Turn::Waiting => (Outcome::Queued { fence }, false),
            Turn::Held { remaining_ms } => (Outcome::Locked { fence, remaining_ms }, false),
            Turn::Granted => {
                let remaining_ms = lock.as_ref().as_ref().map_or(0, |lock| lock.holder.lease_ms);
                (Outcome::Locked { fence, remaining_ms }, true)
            }
        };
        self.change_lock(slot, touches, |lock| {
            if let (true, Some(lock)) = (touches, lock) {
                let holder = &mut lock.holder;
                (holder.claimed, holder.since) = (true, now);
                holder.until = later(now, holder.lease_ms);
            }
            None
        });
        Ok(outcome)
    }

    /// A waiter gives up.
    pub(super) fn leave_line(&mut self, waiter: &Waiter) -> Result<Outcome, Refusal> {
        let now = self.clocks.cluster;
        let (slot, _) = self.find_in(&waiter.namespace, &waiter.key)?;
        // The same call, sent again, may have begun to listen under this token since.
        self.woken.push(waiter.fence);
        self.change_lock(slot, false, |lock| lock::leave(lock, waiter.fence, now));
        Ok(Outcome::Done)
    }

    /// Gives the lock back; a touch too.
    pub(super) fn unlock(&mut self, holder: &Waiter) -> Result<Outcome, Refusal> {
        let now = self.clocks.cluster;
        let (slot, _, lock) = self.settled(&holder.namespace, &holder.key)?;
        lock::check(&lock, Some(holder.fence), now)?;
        self.change_lock(slot, true, |lock| lock::pass_on(lock, now));
        Ok(Outcome::Done)
    }

    /// Takes the lock from whoever has taken it. A waiter whose turn has come keeps its turn.
    pub(super) fn break_lock(&mut self, namespace: &str, key: SessionKey) -> Result<Outcome, Refusal> {
        let now = self.clocks.cluster;
        let (slot, _, lock) = self.settled(namespace, &key)?;
        let claimed = lock.as_deref().ok_or(Refusal::NotLocked)?.holder.claimed;
        self.change_lock(slot, false, |lock| if claimed { lock::pass_on(lock, now) } else { None });
        Ok(Outcome::Done)
    }

    /// Lapsed locks for which somebody waits go to the next in line.
    pub(super) fn settle_locks(&mut self, keys: &[SessionKey]) -> Outcome {
        for key in keys.iter().take(Limits::REAP_MAX) {
            let Some((slot, Record::Live(session))) = self.record(key, self.clocks) else { continue };
            if lock::has_lapsed(&session.lock, self.clocks.cluster) {
                self.change_lock(slot, false, |_| None);
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

    /// A session's slot and namespace, and its lock as it is now: what has lapsed has gone on.
    fn settled(
        &self,
        namespace: &str,
        key: &SessionKey,
    ) -> Result<(Slot, NamespaceId, Cow<'_, lock::Slot>), Refusal> {
        let (slot, session) = self.find_in(namespace, key)?;
        Ok((slot, session.namespace, lock::settled(&session.lock, self.clocks.cluster)))
    }

    /// Settles a session's lock and changes it, where it stands: its line may be long. `change` gives the token of a waiter
    /// whose turn came.
    fn change_lock(
        &mut self,
        slot: Slot,
        touches: bool,
        change: impl FnOnce(&mut lock::Slot) -> Option<Fence>,
    ) {
        let now = self.clocks;
        let woken = &mut self.woken;
        self.table.update(slot, false, |session| {
            woken.extend(lock::settle(&mut session.lock, now.cluster));
            woken.extend(change(&mut session.lock));
            if touches {
                session.last_touch = now.served;
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
