//! What a client asks of one session.

use std::fmt;

/// Which of the ids that a session has had: 0 is the one it was created under, and each new id has the next number.
/// Ids themselves are secrets, also here.
pub type Key = u8;

/// Ids that one session can have had.
pub const KEYS_MAX: Key = 64;

/// The number of an operation among those on its session. What it writes, and what it calls itself as a lock's owner,
/// is this number.
pub type Number = u32;

/// What a client asks of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Create it, under key 0.
    Create,
    /// Read it.
    Get {
        /// Its id, as the client believes; so below.
        key: Key,
    },
    /// Renew its idle deadline.
    Touch {
        /// Its id.
        key: Key,
    },
    /// Replace its value.
    Write {
        /// Its id.
        key: Key,
        /// The version it must have.
        if_version: Option<u64>,
        /// Under the lock that this operation has taken; `None`: without any.
        holder: Option<Number>,
        /// Give that lock back in the same step.
        release: bool,
    },
    /// End it.
    Delete {
        /// Its id.
        key: Key,
    },
    /// Give it another id.
    Regenerate {
        /// Its id.
        from: Key,
        /// The new one, which no other operation asks for.
        to: Key,
        /// As in a write.
        holder: Option<Number>,
    },
    /// Take its lock, without waiting, for longer than any history.
    Lock {
        /// Its id.
        key: Key,
    },
    /// Renew the lease of its lock.
    Renew {
        /// Its id.
        key: Key,
        /// The operation that took the lock.
        holder: Number,
    },
    /// Give its lock back.
    Unlock {
        /// Its id.
        key: Key,
        /// The operation that took the lock.
        holder: Number,
    },
    /// Take the lock away from whoever has it.
    Break {
        /// Its id.
        key: Key,
    },
    /// Nobody asks for it: the absolute deadline that this create set has passed.
    Expire {
        /// The create.
        create: Number,
    },
}

impl Operation {
    /// Its name, one of [`Operation::NAMES`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Get { .. } => "get",
            Operation::Touch { .. } => "touch",
            Operation::Write { if_version: None, .. } => "write",
            Operation::Write { if_version: Some(_), .. } => "write_if_version",
            Operation::Delete { .. } => "delete",
            Operation::Regenerate { .. } => "regenerate",
            Operation::Lock { .. } => "lock",
            Operation::Renew { .. } => "renew",
            Operation::Unlock { .. } => "unlock",
            Operation::Break { .. } => "break",
            Operation::Expire { .. } => "expire",
        }
    }

    /// All that clients ask for.
    pub const NAMES: [&str; 11] = [
        "create",
        "get",
        "touch",
        "write",
        "write_if_version",
        "delete",
        "regenerate",
        "lock",
        "renew",
        "unlock",
        "break",
    ];

    /// Whether it leaves the session as it was, but for its idle deadline and its lease.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        matches!(self, Operation::Get { .. } | Operation::Touch { .. } | Operation::Renew { .. })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under =
            |holder: &Option<Number>| holder.map_or(String::new(), |holder| format!(" under #{holder}"));
        f.write_str(self.name())?;
        match self {
            Operation::Create => Ok(()),
            Operation::Get { key }
            | Operation::Touch { key }
            | Operation::Delete { key }
            | Operation::Lock { key }
            | Operation::Break { key } => write!(f, " k{key}"),
            Operation::Write { key, if_version, holder, release } => {
                let version = if_version.map_or(String::new(), |version| format!(" v{version}"));
                let release = if *release { " and release" } else { "" };
                write!(f, " k{key}{version}{}{release}", under(holder))
            }
            Operation::Regenerate { from, to, holder } => write!(f, " k{from} to k{to}{}", under(holder)),
            Operation::Renew { key, holder } | Operation::Unlock { key, holder } => {
                write!(f, " k{key} under #{holder}")
            }
            Operation::Expire { create } => write!(f, " what #{create} created"),
        }
    }
}
