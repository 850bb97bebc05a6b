//! What each command does.
//!
//! ```text
//! mod         the clocks, then the command       create      insert-only
//! operate     one mutation, once per request id  write       replace or patch; touch
//! limits      timeouts and sizes                 end         delete, regenerate, reap
//! ```

mod create;
mod end;
mod limits;
mod operate;
mod write;

use std::sync::Arc;

use crate::command::{Command, Proposal};
use crate::header::member_digest;
use crate::key::SessionKey;
use crate::member::{Member, NodeId};
use crate::outcome::{Outcome, Refusal};
use crate::record::{Record, Slot};
use crate::state::State;
use crate::time::Clocks;

impl Command {
    /// The apply version that a node must know to apply this command.
    #[must_use]
    pub fn requires(&self) -> u32 {
        match self {
            Command::RaiseApplyVersion { version } => *version,
            Command::Tick { .. }
            | Command::OpenClient { .. }
            | Command::Operate { .. }
            | Command::Reap { .. }
            | Command::Announce { .. }
            | Command::TimeJump { .. } => 1,
        }
    }
}

impl State {
    /// Applies one log entry: first the clocks advance to its stamp, then the command runs by the new clocks.
    ///
    /// The caller has asked [`State::supports`]. Attribute values are kept as they come, so they must own their
    /// memory, as those of [`Proposal::decode`] do. Never panics, whatever the proposal.
    pub fn apply(&mut self, proposal: Proposal) -> Outcome {
        self.set_clocks(self.clocks.advanced_to(proposal.stamp));
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
            Command::Announce { node, member } => self.announce(node, member),
            Command::RaiseApplyVersion { version } => self.raise_apply_version(version),
            Command::TimeJump { by_ms } => {
                self.set_clocks(self.clocks.jumped(by_ms));
                self.last_tick_wall_ms = self.last_tick_wall_ms.saturating_add(by_ms);
                Ok(Outcome::Done)
            }
        };
        result.unwrap_or_else(Outcome::Refused)
    }

    fn set_clocks(&mut self, clocks: Clocks) {
        self.clocks = clocks;
        self.expiry.advance(clocks, &self.table);
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
        self.apply_version = version;
        Ok(Outcome::Done)
    }

    /// Sets what a key stands for.
    fn put(&mut self, key: SessionKey, record: Record) {
        let slot = self.table.put(key, record);
        self.expiry.set(slot, self.table.entry(slot).map(|entry| &entry.record), self.clocks);
    }

    /// After a session's timeouts changed.
    fn reschedule(&mut self, slot: Slot) {
        if let Some(entry) = self.table.entry(slot) {
            self.expiry.lower(slot, &entry.record, self.clocks);
        }
    }
}
