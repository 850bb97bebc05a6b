//! Locks.

use std::ops::RangeInclusive;

use quorate_proto::v1;
use quorate_state::{Fence, Limits, LockSession, Millis, Operation, Waiter};

use super::attribute::{Selection, selection};
use super::{Request, mutation, name, stake};
use crate::services::answer::Reply;
use crate::services::failure::Failure;
use crate::services::lock::Locking;

pub(super) fn lock(lock: &v1::LockRequest) -> Result<Request, Failure> {
    let (namespace, key) = name::session(&lock.namespace, &lock.id)?;
    let lease_ms = if lock.lease_ms == 0 { Limits::LEASE_MS_DEFAULT } else { lock.lease_ms };
    let leases = Limits::LEASE_MS_MIN..=Limits::LEASE_MS_MAX;
    check_range("LEASE_OUT_OF_RANGE", "lease_ms", lease_ms, leases)?;
    check_range("WAIT_OUT_OF_RANGE", "wait_ms", lock.wait_ms, 0..=Limits::WAIT_MS_MAX)?;
    let fence = lock.fence.map(fence).transpose()?;
    let chosen: Selection = selection(lock.attributes.as_ref())?;
    let locking = Locking {
        namespace: namespace.clone(),
        key,
        waits: lock.wait_ms > 0 && fence.is_none(),
        stake: stake(lock.request_id.as_ref()),
        renews: fence.is_some(),
        get: lock.get.then_some(chosen),
    };
    let operation = Operation::Lock(LockSession {
        namespace,
        key,
        lease_ms,
        wait_ms: lock.wait_ms,
        fence,
        owner: name::owner(&lock.owner)?,
    });
    mutation(lock.request_id.as_ref(), operation, Reply::Lock(Box::new(locking)))
}

pub(super) fn unlock(unlock: &v1::UnlockRequest) -> Result<Request, Failure> {
    let (namespace, key) = name::session(&unlock.namespace, &unlock.id)?;
    let operation = Operation::Unlock(Waiter { namespace, key, fence: fence(unlock.fence)? });
    mutation(unlock.request_id.as_ref(), operation, Reply::Unlock)
}

pub(super) fn break_lock(lock: &v1::BreakLockRequest) -> Result<Request, Failure> {
    let (namespace, key) = (name::namespace(&lock.namespace)?, name::handle(&lock.handle)?);
    mutation(lock.request_id.as_ref(), Operation::BreakLock { namespace, key }, Reply::BreakLock)
}

/// A lock's token.
pub(super) fn fence(fence: u64) -> Result<Fence, Failure> {
    if fence == 0 {
        let message = "fence is 0; it is the token from the answer to Lock";
        return Err(Failure::invalid("INVALID_FENCE", "fence", message));
    }
    Ok(fence)
}

fn check_range(
    reason: &'static str,
    field: &'static str,
    given_ms: Millis,
    range: RangeInclusive<Millis>,
) -> Result<(), Failure> {
    if range.contains(&given_ms) {
        return Ok(());
    }
    let (min_ms, max_ms) = (*range.start(), *range.end());
    let message = format!("{field} of {given_ms} ms is out of range: {min_ms} to {max_ms} ms are allowed");
    let failure = Failure::invalid(reason, field, message);
    Err(failure.fact("given_ms", given_ms).fact("min_ms", min_ms).fact("max_ms", max_ms))
}
