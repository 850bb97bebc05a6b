//! Where a setting's value came from, and the raw values of one start.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from. `Display` is what error messages say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A line of the TOML file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) => write!(f, "flag --{name}"),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
            Source::Default => f.write_str("default"),
        }
    }
}

/// A raw value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// As written.
    pub value: String,
    /// By whom.
    pub source: Source,
}

/// The raw values by key name ([`super::Key::name`]), the strongest source of each.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, Given>);

impl Values {
    /// Records a value unless a stronger source has set the key already.
    pub(super) fn offer(&mut self, key: &'static str, value: String, source: Source) {
        self.0.entry(key).or_insert(Given { value, source });
    }

    pub(super) fn get(&self, key: &str) -> Option<&Given> {
        self.0.get(key)
    }

    pub(super) fn into_sources(self) -> BTreeMap<&'static str, Source> {
        self.0.into_iter().map(|(key, given)| (key, given.source)).collect()
    }
}
