//! Why the harness could not go on. A violation found is no error: see [`crate::Verdict`].

use std::path::PathBuf;
use std::time::Duration;

/// What went wrong in the harness or in a process it started.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A condition did not come true in time.
    #[error("{what}: not within {within:?}; {seen}")]
    Deadline {
        /// The condition.
        what: String,
        /// The time it was given.
        within: Duration,
        /// What was seen last.
        seen: String,
    },
    /// A node ended that should run.
    #[error("node {node} ended ({status}) but should run; the end of its log:\n{log}")]
    Ended {
        /// The node.
        node: u64,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A node that was told to stop did not end with success.
    #[error("node {node} did not stop in order ({status}); the end of its log:\n{log}")]
    Disorderly {
        /// The node.
        node: u64,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// There is no such node in this cluster.
    #[error("the cluster has no node {0}")]
    NoNode(u64),
    /// The client library refused or failed where it must not.
    #[error(transparent)]
    Client(#[from] quorate_client::Error),
    /// A plain gRPC call failed where it must not.
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] tonic::Status),
    /// What was recorded cannot be understood.
    #[error("{0}")]
    Unreadable(String),
}

impl HarnessError {
    /// For `map_err`: an [`HarnessError::Io`] on `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> HarnessError {
        let path = path.into();
        move |source| HarnessError::Io { action, path, source }
    }
}
