//! Storage errors: what happened, to which file, and what to do about it.

use std::path::{Path, PathBuf};

/// The remedy whenever what a node promised may be gone: its old votes and acknowledgements must not be forgotten.
pub(crate) const REMEDY_NEW_ID: &str = "do not reuse this node id with other data: empty the directory and bring the node back under a new node id";

/// What went wrong with a file. None of these is ever taken for "nothing there".
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The reason.
        source: std::io::Error,
    },
    /// The content fails its checksum, does not decode, or contradicts what was promised.
    #[error("{path} is damaged: {detail}; {remedy}", path = .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong, with offsets or indexes.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The content is sound, but not this process's to use.
    #[error("{path} is refused: {detail}; {remedy}", path = .path.display())]
    Refused {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl StorageError {
    /// For `map_err`: an [`StorageError::Io`] on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StorageError {
        let path = path.to_owned();
        move |source| StorageError::Io { path, action, source }
    }
}

/// Ends the process: after a failed write or sync nothing on disk can be trusted to be what was acknowledged.
pub fn fatal(error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "storage failed: the process stops; nothing more is acknowledged");
    eprintln!(
        "quorated: storage failed: {error}\n\
         quorated: nothing more is acknowledged. Check the disk (space, health), then start the node again"
    );
    std::process::abort()
}
