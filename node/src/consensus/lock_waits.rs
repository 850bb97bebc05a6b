//! Who on this node waits for a lock's turn. The state says whose turn has come as entries apply; each is woken to look.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_state::Fence;
use tokio::sync::Notify;

/// All that wait on this node. Bounded by the operations in flight.
#[derive(Debug, Default)]
pub(crate) struct LockWaits {
    /// By token; after a retry there may be two of one.
    bells: Mutex<HashMap<Fence, Vec<Arc<Notify>>>>,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct LockWait {
    waits: Arc<LockWaits>,
    fence: Fence,
    bell: Arc<Notify>,
}

impl LockWaits {
    /// Begins to wait. Look at the state after this, not before: what happens from here on wakes.
    pub(crate) fn listen(self: &Arc<Self>, fence: Fence) -> LockWait {
        let bell = Arc::new(Notify::new());
        self.bells.lock().entry(fence).or_default().push(Arc::clone(&bell));
        LockWait { waits: Arc::clone(self), fence, bell }
    }

    /// Whether anybody waits under this token.
    pub(crate) fn is_awaited(&self, fence: Fence) -> bool {
        self.bells.lock().contains_key(&fence)
    }

    /// Wakes those of these tokens; most nodes have none of them.
    pub(crate) fn wake(&self, fences: &[Fence]) {
        if fences.is_empty() {
            return;
        }
        let bells = self.bells.lock();
        fences.iter().filter_map(|fence| bells.get(fence)).flatten().for_each(|bell| bell.notify_one());
    }

    /// Wakes all: this node leads no longer, or has another state.
    pub(crate) fn wake_all(&self) {
        self.bells.lock().values().flatten().for_each(|bell| bell.notify_one());
    }
}

impl LockWait {
    /// Returns once there is a reason to look, since the last time it returned.
    pub(crate) async fn woken(&self) {
        self.bell.notified().await;
    }
}

impl Drop for LockWait {
    fn drop(&mut self) {
        let mut bells = self.waits.bells.lock();
        if let Some(own) = bells.get_mut(&self.fence) {
            own.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            if own.is_empty() {
                bells.remove(&self.fence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_wakes_once() {
        let waits = Arc::new(LockWaits::default());
        let (first, second, other) = (waits.listen(7), waits.listen(7), waits.listen(8));
        waits.wake(&[7, 9]);
        assert!(first.woken().now_or_never().is_some() && second.woken().now_or_never().is_some());
        assert!(first.woken().now_or_never().is_none() && other.woken().now_or_never().is_none());
        waits.wake_all();
        assert!(first.woken().now_or_never().is_some() && other.woken().now_or_never().is_some());
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let waits = Arc::new(LockWaits::default());
        let (first, second) = (waits.listen(7), waits.listen(7));
        drop(first);
        assert!(waits.is_awaited(7));
        drop(second);
        assert!(!waits.is_awaited(7) && waits.bells.lock().is_empty());
    }
}
