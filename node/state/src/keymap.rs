//! From session keys to slots.
//!
//! Many small maps instead of one large one: a large one stops the world for 100 ms when it rehashes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::key::SessionKey;
use crate::record::Slot;

/// Picked by a key's first byte.
const SHARDS: usize = 256;

type Shard = HashMap<SessionKey, Slot, BuildHasherDefault<KeyHasher>>;

/// Never iterated: its order means nothing.
pub(crate) struct KeyMap {
    shards: Vec<Shard>,
}

impl KeyMap {
    pub(crate) fn new() -> Self {
        KeyMap { shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect() }
    }

    pub(crate) fn get(&self, key: &SessionKey) -> Option<Slot> {
        self.shards.get(shard_of(key))?.get(key).copied()
    }

    pub(crate) fn insert(&mut self, key: SessionKey, slot: Slot) {
        if let Some(shard) = self.shards.get_mut(shard_of(&key)) {
            shard.insert(key, slot);
        }
    }

    pub(crate) fn remove(&mut self, key: &SessionKey) -> Option<Slot> {
        self.shards.get_mut(shard_of(key))?.remove(key)
    }
}

fn shard_of(key: &SessionKey) -> usize {
    let [first, ..] = key.0;
    usize::from(first)
}

/// Keys are pieces of SHA-256 already: their last 8 bytes are their hash.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    /// The key's length, the same for all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
