//! The state's digest: a sum of hashes, so that each entry changes it by what the entry changed.
//!
//! An item's hash is XXH3-128 of one kind byte and the item's canonical encoding (postcard). The sum wraps. It is a
//! check against faults, not against forgers.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// Sums up everything replicated: equal on all replicas at the same position. Displays as 32 hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

/// Keeps items of different collections apart. The numbers are part of the format.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Record = 1,
    Attributes = 2,
    Client = 3,
    Remembered = 4,
    Namespace = 5,
    Member = 6,
    Clocks = 7,
    Operation = 8,
    More = 9,
    MorePolicy = 10,
    Counters = 11,
    Revocation = 12,
    Event = 13,
    EventsLost = 14,
    Numbers = 15,
    Lock = 16,
}

impl Digest {
    /// One item's hash.
    pub(crate) fn of<T: Serialize + ?Sized>(kind: Kind, item: &T) -> Digest {
        Digest(xxh3_128(&canonical(kind as u8, item)))
    }

    /// With another item.
    pub(crate) fn add(&mut self, item: Digest) {
        self.0 = self.0.wrapping_add(item.0);
    }

    /// Without an item that was added before.
    pub(crate) fn remove(&mut self, item: Digest) {
        self.0 = self.0.wrapping_sub(item.0);
    }
}

/// The tag byte, then `item` in postcard: the same bytes for the same value, on every machine.
pub(crate) fn canonical<T: Serialize + ?Sized>(tag: u8, item: &T) -> Vec<u8> {
    let mut start = Vec::with_capacity(128);
    start.push(tag);
    postcard::to_extend(item, start).expect("plain data of known lengths serialises into a growing vector")
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
