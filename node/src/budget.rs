//! Bytes in flight on this node: bounded, the excess is refused before anything happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bound, shared by all that take from it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes_max: u64,
    bytes: AtomicU64,
}

/// Bytes held until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Budget { shared: Arc::new(Shared { bytes_max, bytes: AtomicU64::new(0) }) }
    }

    /// Takes `bytes`, or `None` when that would exceed the bound.
    pub(crate) fn take(&self, bytes: u64) -> Option<Permit> {
        let held = self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { shared: Arc::clone(&self.shared), bytes };
        (held.saturating_add(bytes) <= self.shared.bytes_max).then_some(permit)
    }

    /// Bytes in flight now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Permit {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_bound_is_refused_and_holds_nothing() {
        let budget = Budget::new(10);
        let first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert_eq!(budget.held(), 6);
        let second = budget.take(4).unwrap();
        drop((first, second));
        assert_eq!(budget.held(), 0);
    }
}
