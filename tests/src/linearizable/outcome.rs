//! What came of an operation.

use std::fmt;

use super::operation::Number;

/// A session, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its version.
    pub version: u64,
    /// The operation that wrote its value.
    pub value: Number,
    /// The operation that took its lock, while somebody has it.
    pub holder: Option<Number>,
}

/// What came of an operation. Refusals by the state of things are outcomes as good as any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; there is nothing to tell.
    Done,
    /// Created, written or renamed: it has this version now.
    Written(u64),
    /// Read.
    Found(Seen),
    /// Locked, with this fencing token.
    Locked(u64),
    /// There is no such session; `renamed`: it has another id.
    Missing {
        /// The reason says so.
        renamed: bool,
    },
    /// The id is in use; `ended`: it was until a moment ago.
    Taken {
        /// The reason says so.
        ended: bool,
    },
    /// It has this version, not the one required.
    Conflict(u64),
    /// Somebody holds the lock.
    InTheWay,
    /// The lock is not held with this token.
    NotHolder,
    /// Nobody holds the lock that was to be broken.
    NotLocked,
    /// No answer came: it may take effect at any time from its call on, or never.
    Unknown,
    /// A lock that was refused, but may have been taken meanwhile and lost again before its answer: an answer tells how
    /// the lock stands then, not how it stood when it was taken.
    MaybeTaken,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => f.write_str("done"),
            Outcome::Written(version) => write!(f, "v{version}"),
            Outcome::Found(Seen { version, value, holder }) => {
                let holder = holder.map_or(String::new(), |holder| format!(", locked by #{holder}"));
                write!(f, "found v{version} of #{value}{holder}")
            }
            Outcome::Locked(fence) => write!(f, "locked, fence {fence}"),
            Outcome::Missing { renamed: false } => f.write_str("not found"),
            Outcome::Missing { renamed: true } => f.write_str("not found: renamed"),
            Outcome::Taken { ended: false } => f.write_str("already exists"),
            Outcome::Taken { ended: true } => f.write_str("already exists: recently ended"),
            Outcome::Conflict(current) => write!(f, "conflict with v{current}"),
            Outcome::InTheWay => f.write_str("refused: locked"),
            Outcome::NotHolder => f.write_str("refused: stale fence"),
            Outcome::NotLocked => f.write_str("refused: not locked"),
            Outcome::Unknown => f.write_str("unknown"),
            Outcome::MaybeTaken => f.write_str("may have been taken for a moment"),
        }
    }
}
