//! The replicated state.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::changes::Changes;
use crate::clients::Clients;
use crate::command::Command;
use crate::digest::Digest;
use crate::event::{Cursor, Event};
use crate::events::{Events, Lost};
use crate::expiry::Expiry;
use crate::frozen::Frozen;
use crate::header::{Header, clocks_digest, member_digest, numbers_digest};
use crate::key::SessionKey;
use crate::lock::Fence;
use crate::member::{Member, NodeId};
use crate::namespace::{Counters, Namespace, Usage};
use crate::outcome::Refusal;
use crate::policy::{NamespaceId, Policy};
use crate::record::{Ending, Entry, Record, Slot};
use crate::revocation::Revocations;
use crate::session::Session;
use crate::table::Table;
use crate::time::{Clocks, ClusterTime};

/// The newest semantics known here. See [`Command::requires`].
pub const APPLY_VERSION: u32 = 2;

/// The namespace that every cluster starts with.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Attribute names and values of the sessions that one Reap names, about: no more once there are so many.
const REAP_BYTES: u64 = 4 << 20;

/// Everything the cluster has agreed on. Changed by [`State::apply`] alone.
pub struct State {
    pub(crate) apply_version: u32,
    pub(crate) clocks: Clocks,
    pub(crate) last_tick_wall_ms: u64,
    pub(crate) namespaces: Arc<BTreeMap<Box<str>, Namespace>>,
    /// Of those that exist.
    pub(crate) namespace_names: BTreeMap<NamespaceId, Box<str>>,
    pub(crate) next_namespace: NamespaceId,
    pub(crate) next_fence: Fence,
    pub(crate) members: Arc<BTreeMap<NodeId, Member>>,
    /// Of namespaces and members.
    pub(crate) small_digest: Digest,
    pub(crate) table: Table,
    pub(crate) expiry: Expiry,
    pub(crate) clients: Clients,
    pub(crate) events: Events,
    pub(crate) revocations: Revocations,
    /// The log index of the entry that is being applied.
    pub(crate) index: u64,
    /// Waiters for locks who have to look again. Local, in no digest.
    pub(crate) woken: Vec<Fence>,
}

/// What a state is put together from, besides its header.
pub(crate) struct Parts {
    pub(crate) table: Table,
    pub(crate) expiry: Expiry,
    pub(crate) clients: Clients,
    pub(crate) events: Events,
    pub(crate) revocations: Revocations,
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
        let namespace = Namespace { id: 1, policy: Policy::default(), counters: Counters::default() };
        let header = Header {
            apply_version: 1,
            clocks: Clocks::default(),
            last_tick_wall_ms: 0,
            namespaces: Arc::new(BTreeMap::from([(DEFAULT_NAMESPACE.into(), namespace)])),
            members: Arc::default(),
            records: 0,
            clients: 0,
            digest: Digest::default(),
            next_fence: 1,
            next_namespace: 2,
            revoked: Arc::default(),
            rings: BTreeMap::new(),
            event_blocks: 0,
        };
        let parts = Parts {
            table: Table::new(),
            expiry: Expiry::default(),
            clients: Clients::new(),
            events: Events::default(),
            revocations: Revocations::default(),
        };
        State::assemble(&header, parts)
    }

    pub(crate) fn assemble(header: &Header, parts: Parts) -> State {
        let Parts { table, expiry, clients, events, revocations } = parts;
        let mut small_digest = Digest::default();
        let mut namespace_names = BTreeMap::new();
        for (name, namespace) in header.namespaces.iter() {
            small_digest.add(namespace.digest(name));
            namespace_names.insert(namespace.id, name.clone());
        }
        for (node, member) in header.members.iter() {
            small_digest.add(member_digest(*node, member));
        }
        State {
            apply_version: header.apply_version,
            clocks: header.clocks,
            last_tick_wall_ms: header.last_tick_wall_ms,
            namespaces: Arc::clone(&header.namespaces),
            namespace_names,
            next_namespace: header.next_namespace,
            next_fence: header.next_fence,
            members: Arc::clone(&header.members),
            small_digest,
            table,
            expiry,
            clients,
            events,
            revocations,
            index: 0,
            woken: Vec::new(),
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

    /// The median of a majority's wall clocks at the last Tick, advanced by the jumps since, in milliseconds since the Unix
    /// epoch; 0 before the first.
    #[must_use]
    pub fn last_tick_wall_ms(&self) -> u64 {
        self.last_tick_wall_ms
    }

    /// The session of a key in a namespace, judged at `now`, which may be later than the state's own clocks.
    ///
    /// # Errors
    /// [`Refusal::UnknownNamespace`], [`Refusal::NotFound`] (expired and revoked ones included) and [`Refusal::Renamed`].
    pub fn lookup(&self, namespace: &str, key: &SessionKey, now: Clocks) -> Result<&Session, Refusal> {
        let (id, _) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        self.find(id, key, now).map(|(_, session)| session)
    }

    /// A key is derived from its namespace's name, so a session of another namespace under it is one of an earlier
    /// namespace of that name.
    pub(crate) fn find(
        &self,
        namespace: NamespaceId,
        key: &SessionKey,
        now: Clocks,
    ) -> Result<(Slot, &Session), Refusal> {
        match self.record(key, now) {
            Some((slot, Record::Live(session))) if session.namespace == namespace => Ok((slot, session)),
            Some((_, Record::Tombstone(tombstone))) if tombstone.reason == Ending::Renamed => {
                Err(Refusal::Renamed)
            }
            _ => Err(Refusal::NotFound),
        }
    }

    /// What a key stands for, unless that is logically gone.
    pub(crate) fn record(&self, key: &SessionKey, now: Clocks) -> Option<(Slot, &Record)> {
        let (slot, entry) = self.table.find(key)?;
        (!self.is_gone(entry, now)).then_some((slot, &entry.record))
    }

    /// Whether a record is expired, lapsed, revoked or of a namespace that was deleted: logically gone, whether or not it
    /// has left memory.
    pub(crate) fn is_gone(&self, entry: &Entry, now: Clocks) -> bool {
        entry.record.is_due(now)
            || match &entry.record {
                Record::Live(session) => {
                    !self.namespace_names.contains_key(&session.namespace)
                        || self.revocations.covers(&entry.key, session)
                }
                Record::Tombstone(_) => false,
            }
    }

    /// A namespace's number and policy.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<(NamespaceId, &Policy)> {
        self.namespaces.get(name).map(|namespace| (namespace.id, &namespace.policy))
    }

    /// All namespaces by name, with what each takes now.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &Namespace, Usage)> {
        self.namespaces
            .iter()
            .map(|(name, namespace)| (name.as_ref(), namespace, self.table.index().usage(namespace.id)))
    }

    /// As [`Self::namespaces`], of one.
    #[must_use]
    pub fn namespace_named(&self, name: &str) -> Option<(&str, &Namespace, Usage)> {
        let (name, namespace) = self.namespaces.get_key_value(name)?;
        Some((name, namespace, self.table.index().usage(namespace.id)))
    }

    /// Events kept of a namespace, and their bytes.
    #[must_use]
    pub fn events_kept(&self, namespace: NamespaceId) -> (u64, u64) {
        self.events.rings().ring(namespace).map_or((0, 0), |ring| (ring.count(), ring.bytes()))
    }

    /// Events of a namespace behind `after`, in order.
    ///
    /// # Errors
    /// [`Lost`]: some of them are no longer kept.
    pub fn events(
        &self,
        namespace: NamespaceId,
        after: Cursor,
    ) -> Result<impl Iterator<Item = &Event>, Lost> {
        let ring = self.events.rings().ring(namespace);
        let events = ring.map(|ring| ring.after(after)).transpose()?;
        Ok(events.into_iter().flatten())
    }

    /// The nodes that announced themselves.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Sessions in memory that have not expired. (After a mass expiry some that have still count, until a few thousand
    /// per entry are sorted out; those revoked count until they are reaped.)
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
        digest.add(numbers_digest(self.next_fence, self.next_namespace, &self.namespaces));
        for namespace in self.namespaces.values() {
            digest.add(namespace.counters_digest());
        }
        digest.add(self.table.digest());
        digest.add(self.clients.digest());
        digest.add(self.events.digest());
        digest.add(self.revocations.digest());
        digest
    }

    /// No deadline is reached before this cluster time; `None` when there is no deadline ahead. Often too early
    /// (touches move deadlines, not this), never too late.
    #[must_use]
    pub fn next_due(&self) -> Option<ClusterTime> {
        self.expiry.next_due()
    }

    /// Up to `limit` keys whose records are gone by the state's own clocks and still in memory; fewer where their attributes
    /// take much, so that to reap them takes no entry long.
    #[must_use]
    pub fn reapable(&self, limit: usize) -> Vec<SessionKey> {
        let index = self.table.index();
        let due = self.expiry.due().filter_map(|slot| self.table.entry(slot)).map(|entry| entry.key);
        let deleted = index.namespaces().filter(|namespace| !self.namespace_names.contains_key(namespace));
        let deleted = deleted.flat_map(|namespace| index.keys(namespace, Bound::Unbounded));
        let mut bytes = 0_u64;
        let has_room = |key: &SessionKey| {
            let before = bytes;
            bytes = bytes.saturating_add(self.table.find(key).map_or(0, |(_, entry)| entry.attribute_bytes));
            before < REAP_BYTES
        };
        due.chain(index.doomed()).chain(deleted).take(limit).take_while(has_room).collect()
    }

    /// When the first lock for which somebody waits lapses.
    #[must_use]
    pub fn next_lock_lapse(&self) -> Option<ClusterTime> {
        self.expiry.next_lock()
    }

    /// Up to `limit` sessions whose locks have lapsed by `now` and for which somebody waits.
    #[must_use]
    pub fn lapsed_locks(&self, now: ClusterTime, limit: usize) -> Vec<SessionKey> {
        let slots = self.expiry.lapsed_locks(now).take(limit);
        slots.filter_map(|slot| self.table.entry(slot)).map(|entry| entry.key).collect()
    }

    /// Tokens of the waiters for locks who have to look how they stand, since the last call.
    #[must_use = "what is taken is not told again"]
    pub fn take_woken(&mut self) -> Vec<Fence> {
        std::mem::take(&mut self.woken)
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
            next_fence: self.next_fence,
            next_namespace: self.next_namespace,
            revoked: Arc::clone(self.revocations.all()),
            rings: self.events.starts(),
            event_blocks: self.events.blocks(),
        };
        let (chunks, clients) = (self.table.chunks().clone(), self.clients.shards().clone());
        Frozen::new(header, chunks, clients, self.events.rings().clone())
    }

    /// What changed since the last call, or since the state was made or restored.
    #[must_use = "what is taken is not told again"]
    pub fn take_changes(&mut self) -> Changes {
        Changes {
            slots: self.table.take_changed(),
            clients: self.clients.take_changed(),
            events: self.events.take_changed(),
        }
    }
}
