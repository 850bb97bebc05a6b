//! What each command does.
//!
//! ```text
//! mod         the clocks, then the command       create      insert-only
//! operate     one mutation, once per request id  write       replace or patch
//! limits      timeouts and sizes                 touch       of one session or of many
//! quota       room in a namespace, sign-ins      end         delete, regenerate, reap
//! account     counters and events                lock        the lock and its line
//! namespace   policies                           revoke      all sessions of a principal
//! ```

mod account;
mod create;
mod end;
mod limits;
mod lock;
mod namespace;
mod operate;
mod quota;
mod revoke;
mod touch;
mod write;

use std::sync::Arc;

use self::account::ACCOUNTS_FROM;
use crate::command::{Command, Operation, Proposal};
use crate::header::member_digest;
use crate::member::{Member, NodeId};
use crate::outcome::{Outcome, Refusal};
use crate::state::State;
use crate::time::Clocks;

/// How many records an entry sorts out whose deadlines it may have reached. After a mass expiry that is work for a
/// while, which those who wait for their writes should not feel: ticks and reaping do the most of it. More than the
/// two that an entry can add, so that none is left over for long; and few, for each costs the cache misses of a look-up.
fn looks_max(command: &Command) -> usize {
    match command {
        Command::Tick { .. } | Command::Reap { .. } | Command::TimeJump { .. } => 512,
        _ => 4,
    }
}

impl Command {
    /// The apply version that a node must know to apply this command.
    #[must_use]
    pub fn requires(&self) -> u32 {
        match self {
            Command::RaiseApplyVersion { version } => *version,
            Command::Tick { .. }
            | Command::OpenClient { .. }
            | Command::Reap { .. }
            | Command::Announce { .. }
            | Command::TimeJump { .. } => 1,
            Command::Operate { operation, .. } => operation.requires(),
            Command::ClaimLock(_) | Command::LeaveLine(_) | Command::SettleLocks { .. } => 2,
        }
    }
}

impl Operation {
    fn requires(&self) -> u32 {
        match self {
            Operation::Create(_) | Operation::Touch { .. } | Operation::Delete { .. } => 1,
            Operation::Write(write) => 1 + u32::from(write.fence.is_some()),
            Operation::Regenerate(regenerate) => 1 + u32::from(regenerate.fence.is_some()),
            Operation::TouchMany { .. }
            | Operation::Lock(_)
            | Operation::Unlock(_)
            | Operation::BreakLock { .. }
            | Operation::Revoke(_)
            | Operation::PutNamespace { .. }
            | Operation::DeleteNamespace { .. } => 2,
        }
    }
}

impl State {
    /// Applies the log entry at `index`: first the clocks advance to its stamp, then the command runs by the new clocks.
    ///
    /// The caller has asked [`State::supports`]. Attribute values are kept as they come, so they must own their
    /// memory, as those of [`Proposal::decode`] do. Never panics, whatever the proposal.
    pub fn apply(&mut self, index: u64, proposal: Proposal) -> Outcome {
        self.index = index;
        self.events.free_some();
        let looks_max = looks_max(&proposal.command);
        self.set_clocks(self.clocks.advanced_to(proposal.stamp), looks_max);
        let raises = matches!(proposal.command, Command::RaiseApplyVersion { .. });
        if !raises && proposal.command.requires() > self.apply_version {
            // Not remembered for a request id: the next try may find the version raised.
            return Outcome::Refused(Refusal::NotYetSupported { current: self.apply_version });
        }
        let result = match proposal.command {
            Command::Tick { wall_ms } => {
                self.last_tick_wall_ms = wall_ms;
                Ok(Outcome::Done)
            }
            Command::OpenClient { client } => {
                self.clients.open(client, self.clocks.cluster).map(|()| Outcome::ClientOpened(client))
            }
            Command::Operate { request, operation } => return self.operate(request, operation),
            Command::Reap { keys } => Ok(self.reap(&keys)),
            Command::ClaimLock(waiter) => self.claim_lock(&waiter),
            Command::LeaveLine(waiter) => self.leave_line(&waiter),
            Command::SettleLocks { keys } => Ok(self.settle_locks(&keys)),
            Command::Announce { node, member } => self.announce(node, member),
            Command::RaiseApplyVersion { version } => self.raise_apply_version(version),
            Command::TimeJump { by_ms } => {
                self.set_clocks(self.clocks.jumped(by_ms), looks_max);
                self.last_tick_wall_ms = self.last_tick_wall_ms.saturating_add(by_ms);
                Ok(Outcome::Done)
            }
        };
        result.unwrap_or_else(Outcome::Refused)
    }

    fn set_clocks(&mut self, clocks: Clocks, looks_max: usize) {
        self.clocks = clocks;
        self.expiry.advance(clocks, &self.table, looks_max);
        self.clients.sweep(clocks.cluster);
    }

    fn announce(&mut self, node: NodeId, member: Member) -> Result<Outcome, Refusal> {
        let known = self.members.get(&node);
        if let Some(known) = known {
            if known.incarnation != member.incarnation {
                return Err(Refusal::IncarnationMismatch { recorded: known.incarnation });
            }
            self.small_digest.remove(member_digest(node, known));
        }
        self.small_digest.add(member_digest(node, &member));
        Arc::make_mut(&mut self.members).insert(node, member);
        Ok(Outcome::Done)
    }

    fn raise_apply_version(&mut self, version: u32) -> Result<Outcome, Refusal> {
        if version < self.apply_version {
            return Err(Refusal::ApplyVersionLower { current: self.apply_version });
        }
        let begins_to_tell = self.apply_version < ACCOUNTS_FROM && version >= ACCOUNTS_FROM;
        self.apply_version = version;
        if begins_to_tell {
            // Nothing was told before: whoever asks for it must not take that for nothing having happened.
            for namespace in self.namespace_names.keys() {
                self.events.open(*namespace, self.index);
            }
        }
        Ok(Outcome::Done)
    }
}
