//! The replicated state.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::changes::Changes;
use crate::clients::Clients;
use crate::command::Command;
use crate::digest::Digest;
use crate::expiry::Expiry;
use crate::frozen::Frozen;
use crate::header::{Header, Namespace, clocks_digest, member_digest, namespace_digest};
use crate::key::SessionKey;
use crate::member::{Member, NodeId};
use crate::outcome::Refusal;
use crate::policy::{NamespaceId, Policy};
use crate::record::{Ending, Record, Slot};
use crate::session::Session;
use crate::table::Table;
use crate::time::{Clocks, ClusterTime};

/// The newest semantics known here. See [`Command::requires`].
pub const APPLY_VERSION: u32 = 1;

/// The namespace that every cluster starts with.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Everything the cluster has agreed on. Changed by [`State::apply`] alone.
pub struct State {
    pub(crate) apply_version: u32,
    pub(crate) clocks: Clocks,
    pub(crate) last_tick_wall_ms: u64,
    pub(crate) namespaces: Arc<BTreeMap<Box<str>, Namespace>>,
    pub(crate) members: Arc<BTreeMap<NodeId, Member>>,
    /// Of namespaces and members.
    pub(crate) small_digest: Digest,
    pub(crate) table: Table,
    pub(crate) expiry: Expiry,
    pub(crate) clients: Clients,
}

impl Default for State {
    fn default() -> Self {
        State::new()
    }
}

impl State {
    /// The state before the first entry: one namespace, [`DEFAULT_NAMESPACE`], and nothing else.
    #[must_use]
    pub fn new() -> State {
        let namespace = Namespace { id: 1, policy: Policy::default() };
        let header = Header {
            apply_version: 1,
            clocks: Clocks::default(),
            last_tick_wall_ms: 0,
            namespaces: Arc::new(BTreeMap::from([(DEFAULT_NAMESPACE.into(), namespace)])),
            members: Arc::default(),
            records: 0,
            clients: 0,
            digest: Digest::default(),
        };
        State::assemble(&header, Table::new(), Expiry::default(), Clients::new())
    }

    pub(crate) fn assemble(header: &Header, table: Table, expiry: Expiry, clients: Clients) -> State {
        let mut small_digest = Digest::default();
        for (name, namespace) in header.namespaces.iter() {
            small_digest.add(namespace_digest(name, namespace));
        }
        for (node, member) in header.members.iter() {
            small_digest.add(member_digest(*node, member));
        }
        State {
            apply_version: header.apply_version,
            clocks: header.clocks,
            last_tick_wall_ms: header.last_tick_wall_ms,
            namespaces: Arc::clone(&header.namespaces),
            members: Arc::clone(&header.members),
            small_digest,
            table,
            expiry,
            clients,
        }
    }

    /// Whether this version knows what the command means. Before one it does not know, a node must stop.
    #[must_use]
    pub fn supports(command: &Command) -> bool {
        command.requires() <= APPLY_VERSION
    }

    /// Both clocks, as of the last entry.
    #[must_use]
    pub fn clocks(&self) -> Clocks {
        self.clocks
    }

    /// The semantics in force.
    #[must_use]
    pub fn apply_version(&self) -> u32 {
        self.apply_version
    }

    /// The proposer's wall clock at the last Tick, in milliseconds since the Unix epoch; 0 before the first.
    #[must_use]
    pub fn last_tick_wall_ms(&self) -> u64 {
        self.last_tick_wall_ms
    }

    /// The session of a key, judged at `now`, which may be later than the state's own clocks.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] (expired ones included) and [`Refusal::Renamed`].
    pub fn lookup(&self, key: &SessionKey, now: Clocks) -> Result<&Session, Refusal> {
        self.find(key, now).map(|(_, session)| session)
    }

    pub(crate) fn find(&self, key: &SessionKey, now: Clocks) -> Result<(Slot, &Session), Refusal> {
        match self.record(key, now) {
            None => Err(Refusal::NotFound),
            Some((slot, Record::Live(session))) => Ok((slot, session)),
            Some((_, Record::Tombstone(tombstone))) => Err(match tombstone.reason {
                Ending::Ended => Refusal::NotFound,
                Ending::Renamed => Refusal::Renamed,
            }),
        }
    }

    /// What a key stands for, unless that is logically gone.
    pub(crate) fn record(&self, key: &SessionKey, now: Clocks) -> Option<(Slot, &Record)> {
        let (slot, entry) = self.table.find(key)?;
        (!entry.record.is_due(now)).then_some((slot, &entry.record))
    }

    /// A namespace's number and policy.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<(NamespaceId, &Policy)> {
        self.namespaces.get(name).map(|namespace| (namespace.id, &namespace.policy))
    }

    /// The nodes that announced themselves.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Sessions that have not expired. (Exact but after a mass expiry, which is sorted out a few thousand
    /// sessions per entry.)
    #[must_use]
    pub fn live_sessions(&self) -> u64 {
        self.table
            .sessions()
            .saturating_sub(u64::try_from(self.expiry.expired_sessions()).unwrap_or(u64::MAX))
    }

    /// Records in memory: sessions, expired sessions and tombstones.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.table.records()
    }

    /// Open client handles.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Outcomes remembered for all client handles together. O(1).
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        self.clients.outcomes()
    }

    /// Of all that is replicated. O(1).
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut digest = clocks_digest(self.clocks, self.apply_version, self.last_tick_wall_ms);
        digest.add(self.small_digest);
        digest.add(self.table.digest());
        digest.add(self.clients.digest());
        digest
    }

    /// No deadline is reached before this cluster time; `None` when there is no deadline ahead. Often too early
    /// (touches move deadlines, not this), never too late.
    #[must_use]
    pub fn next_due(&self) -> Option<ClusterTime> {
        self.expiry.next_due()
    }

    /// Up to `limit` keys whose records are expired or lapsed by the state's own clocks and still in memory.
    #[must_use]
    pub fn reapable(&self, limit: usize) -> Vec<SessionKey> {
        let due = self.expiry.due().take(limit);
        due.filter_map(|slot| self.table.entry(slot)).map(|entry| entry.key).collect()
    }

    /// A view of the state as it is now: costs a pointer per 256 records, and no copy of any.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let header = Header {
            apply_version: self.apply_version,
            clocks: self.clocks,
            last_tick_wall_ms: self.last_tick_wall_ms,
            namespaces: Arc::clone(&self.namespaces),
            members: Arc::clone(&self.members),
            records: self.table.records(),
            clients: u64::try_from(self.clients.len()).unwrap_or(u64::MAX),
            digest: self.digest(),
        };
        Frozen::new(header, self.table.chunks().clone(), self.clients.shards().clone())
    }

    /// What changed since the last call, or since the state was made or restored.
    #[must_use = "what is taken is not told again"]
    pub fn take_changes(&mut self) -> Changes {
        Changes { slots: self.table.take_changed(), clients: self.clients.take_changed() }
    }
}
