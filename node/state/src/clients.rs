//! The retry table: all open client handles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::client::{Admission, Client, ClientEntry, is_spare, minute};
use crate::command::{ClientId, RequestId};
use crate::digest::Digest;
use crate::outcome::{Outcome, Refusal};
use crate::policy::Limits;
use crate::time::ClusterTime;

/// Picked by a client's low byte; frozen views share shards, the state copies one on its first write after.
const SHARDS: usize = 256;

/// Clients forgotten by one entry: bounds its work. Each may have thousands of outcomes.
const FORGET_MAX: usize = 64;

type Shard = BTreeMap<ClientId, Arc<ClientEntry>>;

/// How much is kept before clients are forgotten early. Smaller in tests alone: it is part of what an entry means.
struct Most {
    clients: usize,
    outcomes: u64,
}

impl Default for Most {
    fn default() -> Self {
        Most { clients: Limits::CLIENTS_MAX, outcomes: Limits::OUTCOMES_TOTAL_MAX }
    }
}

/// A view of all clients: cloning copies one pointer per shard.
#[derive(Clone)]
pub(crate) struct ClientShards(Vec<Arc<Shard>>);

pub(crate) struct Clients {
    shards: ClientShards,
    count: usize,
    /// Of all clients together. Follows from them.
    outcomes: u64,
    most: Most,
    digest: Digest,
    /// By the minute from which on each counts as unused. Follows from the clients, so it is the same everywhere.
    idle: BTreeSet<(u64, ClientId)>,
    changed: BTreeSet<ClientId>,
}

impl ClientShards {
    fn new() -> Self {
        let empty = Arc::new(Shard::new());
        ClientShards(vec![empty; SHARDS])
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<&Client> {
        self.0.get(shard_of(id))?.get(&id).map(|entry| &entry.client)
    }

    /// By shard, then by id: the same order everywhere.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        self.0.iter().flat_map(|shard| shard.iter()).map(|(id, entry)| (*id, &entry.client))
    }

    fn shard_mut(&mut self, id: ClientId) -> Option<&mut Shard> {
        self.0.get_mut(shard_of(id)).map(Arc::make_mut)
    }
}

fn shard_of(id: ClientId) -> usize {
    let [low, ..] = id.to_le_bytes();
    usize::from(low)
}

impl Clients {
    pub(crate) fn new() -> Self {
        Clients {
            shards: ClientShards::new(),
            count: 0,
            outcomes: 0,
            most: Most::default(),
            digest: Digest::default(),
            idle: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Outcomes kept for all clients together.
    pub(crate) fn outcomes(&self) -> u64 {
        self.outcomes
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn shards(&self) -> &ClientShards {
        &self.shards
    }

    pub(crate) fn take_changed(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    pub(crate) fn open(&mut self, id: ClientId, now: ClusterTime) -> Result<(), Refusal> {
        if self.shards.get(id).is_some() {
            return Err(Refusal::ClientTaken);
        }
        if self.count >= self.most.clients && !self.forget_spare(now) {
            return Err(Refusal::TooManyClients { max: Limits::CLIENTS_MAX as u64 });
        }
        self.insert(ClientEntry::open(id, now));
        Ok(())
    }

    /// Adds a client whose id is free; false if it is not.
    pub(crate) fn restore(&mut self, id: ClientId, client: Client) -> bool {
        let free = self.shards.get(id).is_none();
        if free {
            self.insert(ClientEntry::restore(id, client));
        }
        free
    }

    /// Judges a request of a client, which counts as a use of it.
    pub(crate) fn admit(&mut self, request: RequestId, fingerprint: u128, now: ClusterTime) -> Admission {
        self.mark_used(request.client, now);
        if self.outcomes >= self.most.outcomes {
            self.thin_out(now);
        }
        let full = self.outcomes >= self.most.outcomes;
        let mut dropped = 0;
        let admission = Self::change(&mut self.shards, &mut self.digest, request.client, |entry| {
            let before = entry.client.outcomes();
            let admission = entry.admit(request, fingerprint, full);
            dropped = before - entry.client.outcomes();
            admission
        });
        self.outcomes -= dropped as u64;
        match admission {
            None => Admission::Refused(Refusal::UnknownClient),
            Some(admission) => {
                self.changed.insert(request.client);
                admission
            }
        }
    }

    fn mark_used(&mut self, id: ClientId, now: ClusterTime) {
        let minute = minute(now);
        if self.shards.get(id).is_none_or(|client| client.used_minute == minute) {
            return;
        }
        let idle = &mut self.idle;
        Self::change(&mut self.shards, &mut self.digest, id, |entry| {
            idle.remove(&(entry.client.idle_minute(), entry.id));
            entry.use_at(minute);
            idle.insert((entry.client.idle_minute(), entry.id));
        });
    }

    /// Keeps the outcome of an admitted request.
    pub(crate) fn remember(&mut self, request: RequestId, fingerprint: u128, outcome: Outcome) {
        let remembered = Self::change(&mut self.shards, &mut self.digest, request.client, |entry| {
            entry.remember(request.sequence, fingerprint, outcome);
        });
        self.outcomes += u64::from(remembered.is_some());
    }

    /// Forgets clients unused for long, a bounded number at a time.
    pub(crate) fn sweep(&mut self, now: ClusterTime) {
        let minute = minute(now);
        for _ in 0..FORGET_MAX {
            match self.idle.first() {
                Some(&(idle_minute, id)) if idle_minute <= minute => self.forget(idle_minute, id),
                _ => return,
            }
        }
    }

    /// Forgets the client unused for longest, unless it was used lately; whether it did.
    fn forget_spare(&mut self, now: ClusterTime) -> bool {
        match self.idle.first() {
            Some(&(idle_minute, id)) if is_spare(idle_minute, minute(now)) => {
                self.forget(idle_minute, id);
                true
            }
            _ => false,
        }
    }

    /// Forgets clients unused for longest until there is room for an outcome, a bounded number at a time.
    fn thin_out(&mut self, now: ClusterTime) {
        for _ in 0..FORGET_MAX {
            if self.outcomes < self.most.outcomes || !self.forget_spare(now) {
                return;
            }
        }
    }

    /// After a restore: nothing counts as changed.
    pub(crate) fn settle_restored(&mut self) {
        self.changed.clear();
    }

    fn insert(&mut self, entry: ClientEntry) {
        self.count += 1;
        self.outcomes += entry.client.outcomes() as u64;
        self.digest.add(entry.digest);
        self.idle.insert((entry.client.idle_minute(), entry.id));
        self.changed.insert(entry.id);
        if let Some(shard) = self.shards.shard_mut(entry.id) {
            shard.insert(entry.id, Arc::new(entry));
        }
    }

    fn forget(&mut self, idle_minute: u64, id: ClientId) {
        self.idle.remove(&(idle_minute, id));
        if let Some(entry) = self.shards.shard_mut(id).and_then(|shard| shard.remove(&id)) {
            self.count -= 1;
            self.outcomes -= entry.client.outcomes() as u64;
            self.digest.remove(entry.digest);
            self.changed.insert(id);
        }
    }

    /// Changes a client in place and keeps the digest up.
    fn change<R>(
        shards: &mut ClientShards,
        digest: &mut Digest,
        id: ClientId,
        change: impl FnOnce(&mut ClientEntry) -> R,
    ) -> Option<R> {
        // Looked up first: an unknown client copies no shard.
        shards.get(id)?;
        let entry = Arc::make_mut(shards.shard_mut(id)?.get_mut(&id)?);
        digest.remove(entry.digest);
        let result = change(entry);
        digest.add(entry.digest);
        Some(result)
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
