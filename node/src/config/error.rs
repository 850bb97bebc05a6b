//! Why a start was refused: which key, which value, from where, and what is allowed.

use std::path::PathBuf;

use super::source::Source;

/// The settings cannot be used. Nothing has been touched.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is not of its key's kind or out of its range.
    #[error("{key} = {value:?} (from {origin}) is refused: {allowed}")]
    BadValue {
        /// The key, as its flag is written.
        key: &'static str,
        /// As given.
        value: String,
        /// By whom.
        origin: Source,
        /// What would be accepted.
        allowed: String,
    },
    /// The file names a key that does not exist.
    #[error("unknown key {key:?} (from {origin}): the keys are {known}")]
    UnknownKey {
        /// As written.
        key: String,
        /// Where.
        origin: Source,
        /// Every key, as files write them.
        known: String,
    },
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not valid TOML, line {line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
}
