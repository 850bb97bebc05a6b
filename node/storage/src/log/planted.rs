//! A bug on purpose, in test builds only, to prove that the crash tests can fail.

/// Which bug is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// Calls back before anything is written. `linger`: and keeps the records in memory for a while, where a kill
    /// drops them as a power cut drops what is written but not synced.
    #[cfg(any(test, feature = "planted-bugs"))]
    AcknowledgeBeforeSync {
        linger: bool,
    },
}

impl Bug {
    /// `QUORATE_PLANTED_BUG=acknowledge-before-sync`, in a build with the feature `planted-bugs`; else none.
    pub(super) fn from_environment() -> Self {
        #[cfg(feature = "planted-bugs")]
        if std::env::var("QUORATE_PLANTED_BUG").is_ok_and(|bug| bug == "acknowledge-before-sync") {
            return Bug::AcknowledgeBeforeSync { linger: true };
        }
        Bug::None
    }

    pub(super) fn acknowledges_before_sync(self) -> bool {
        self != Bug::None
    }

    pub(super) fn linger(self) {
        #[cfg(feature = "planted-bugs")]
        if self == (Bug::AcknowledgeBeforeSync { linger: true }) {
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
    }
}
