//! From what was written down back to a state.

use std::sync::Arc;

use crate::clients::Clients;
use crate::digest::Digest;
use crate::encoding::{EncodingError, decode_client, decode_events, decode_record};
use crate::events::Events;
use crate::expiry::Expiry;
use crate::header::Header;
use crate::record::Slot;
use crate::revocation::Revocations;
use crate::state::{Parts, State};
use crate::table::Table;

/// Slots are dense: one beyond this many is corruption, not data.
const SLOTS_MAX: Slot = 1 << 32;

/// A state being put together from a header, then records, clients and blocks of events. Blocks come in the order of
/// [`crate::Frozen::event_blocks`], all else in any order.
pub struct Restore {
    header: Header,
    table: Table,
    clients: Clients,
    events: Events,
    /// Where the search for a free slot goes on.
    next: Slot,
}

/// What was written down is not a state. The data must not be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A piece does not read.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// Two records in one slot.
    #[error("slot {slot} holds two records")]
    SlotTaken {
        /// The slot.
        slot: Slot,
    },
    /// No table has that many slots.
    #[error("slot {slot} is out of range: slots go up to {}", SLOTS_MAX - 1)]
    SlotOutOfRange {
        /// The slot.
        slot: Slot,
    },
    /// Two records of one session.
    #[error("slots {first} and {second} hold the same session key {handle}")]
    KeyTwice {
        /// The key in hex.
        handle: String,
        /// The slot that came first.
        first: Slot,
        /// The other one.
        second: Slot,
    },
    /// Two clients of one id.
    #[error("client {id} comes twice")]
    ClientTwice {
        /// The handle's number.
        id: u64,
    },
    /// A block of events that does not follow the one before it.
    #[error("block {number} of the events of namespace {namespace} is out of order")]
    EventsOutOfOrder {
        /// The namespace's number.
        namespace: u32,
        /// The block's.
        number: u64,
    },
    /// Something is missing, or too much.
    #[error("there are {found} {what}, but the header counts {expected}")]
    Count {
        /// Records, clients or blocks of events.
        what: &'static str,
        /// How many were restored.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// Something is not as it was.
    #[error(
        "the digest is {found}, but the header says {expected}: a part is damaged, or not from the same position"
    )]
    Digest {
        /// Of what was restored.
        found: Digest,
        /// Of what was written down.
        expected: Digest,
    },
}

impl Restore {
    /// Starts with a header, as [`Header::encode`] wrote it.
    ///
    /// # Errors
    /// [`RestoreError::Encoding`].
    pub fn new(header: &[u8]) -> Result<Self, RestoreError> {
        let header = Header::decode(header)?;
        let mut events = Events::default();
        for (namespace, start) in &header.rings {
            events.restore_ring(*namespace, start.first, start.lost);
        }
        Ok(Restore { header, table: Table::new(), clients: Clients::new(), events, next: 0 })
    }

    /// What it started with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Puts a record, as [`crate::encode_record`] wrote it, back into the slot it had.
    ///
    /// # Errors
    /// [`RestoreError`]: it does not read, or slot or key are taken.
    pub fn insert_at(&mut self, slot: Slot, record: &[u8]) -> Result<(), RestoreError> {
        if slot >= SLOTS_MAX {
            return Err(RestoreError::SlotOutOfRange { slot });
        }
        let (key, record) = decode_record(record)?;
        if self.table.entry(slot).is_some() {
            return Err(RestoreError::SlotTaken { slot });
        }
        if let Some((first, _)) = self.table.find(&key) {
            return Err(RestoreError::KeyTwice { handle: key.handle(), first, second: slot });
        }
        self.table.put_at(slot, key, record);
        Ok(())
    }

    /// Puts a record into the next free slot, which it answers.
    ///
    /// # Errors
    /// As [`Restore::insert_at`].
    pub fn insert(&mut self, record: &[u8]) -> Result<Slot, RestoreError> {
        while self.table.entry(self.next).is_some() {
            self.next += 1;
        }
        self.insert_at(self.next, record)?;
        Ok(self.next)
    }

    /// Adds a client, as [`crate::encode_client`] wrote it.
    ///
    /// # Errors
    /// [`RestoreError`]: it does not read, or comes twice.
    pub fn client(&mut self, client: &[u8]) -> Result<(), RestoreError> {
        let (id, client) = decode_client(client)?;
        if self.clients.restore(id, client) { Ok(()) } else { Err(RestoreError::ClientTwice { id }) }
    }

    /// Adds a block of events, as [`crate::encode_events`] wrote it.
    ///
    /// # Errors
    /// [`RestoreError`]: it does not read, or does not follow the one before.
    pub fn events(&mut self, block: &[u8]) -> Result<(), RestoreError> {
        let (id, block) = decode_events(block)?;
        let (namespace, number) = id;
        if self.events.restore(id, block) {
            Ok(())
        } else {
            Err(RestoreError::EventsOutOfOrder { namespace, number })
        }
    }

    /// Checks counts and digest against the header.
    ///
    /// # Errors
    /// [`RestoreError::Count`] and [`RestoreError::Digest`].
    pub fn finish(mut self) -> Result<State, RestoreError> {
        let records = (self.table.records(), self.header.records, "records");
        let clients = (u64::try_from(self.clients.len()).unwrap_or(u64::MAX), self.header.clients, "clients");
        let events = (self.events.blocks(), self.header.event_blocks, "blocks of events");
        for (found, expected, what) in [records, clients, events] {
            if found != expected {
                return Err(RestoreError::Count { what, found, expected });
            }
        }
        self.table.settle_restored();
        self.clients.settle_restored();
        let mut expiry = Expiry::default();
        for (slot, entry) in self.table.chunks().iter() {
            expiry.set(slot, Some(&entry.record), self.header.clocks);
        }
        let revocations = Revocations::restore(Arc::clone(&self.header.revoked));
        for (namespace, principals) in self.header.revoked.iter() {
            for (principal, revocation) in principals {
                self.table.index_mut().doom_restored(*namespace, principal, revocation);
            }
        }
        let parts =
            Parts { table: self.table, expiry, clients: self.clients, events: self.events, revocations };
        let state = State::assemble(&self.header, parts);
        if state.digest() != self.header.digest {
            return Err(RestoreError::Digest { found: state.digest(), expected: self.header.digest });
        }
        Ok(state)
    }
}
