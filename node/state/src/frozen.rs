//! An unchanging view of the state, for everything that reads much: write-behind, snapshots, backup, verify, list.

use std::sync::Arc;

use crate::chunks::Chunks;
use crate::client::Client;
use crate::clients::ClientShards;
use crate::command::ClientId;
use crate::digest::Digest;
use crate::events::{EventBlock, EventBlockId, Rings};
use crate::header::Header;
use crate::key::SessionKey;
use crate::record::{Record, Slot};

/// The state as it was when frozen. It shares all data with the state, which copies a piece on its first write
/// after; drop it to spare that.
#[derive(Clone)]
pub struct Frozen {
    view: Arc<View>,
}

struct View {
    header: Header,
    chunks: Chunks,
    clients: ClientShards,
    rings: Rings,
}

impl Frozen {
    pub(crate) fn new(header: Header, chunks: Chunks, clients: ClientShards, rings: Rings) -> Self {
        Frozen { view: Arc::new(View { header, chunks, clients, rings }) }
    }

    /// Clocks, namespaces, members, counts, digest.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.view.header
    }

    /// What a slot holds; `None` when it is free.
    #[must_use]
    pub fn record(&self, slot: Slot) -> Option<(SessionKey, &Record)> {
        self.view.chunks.get(slot).map(|entry| (entry.key, &entry.record))
    }

    /// All records by slot, expired ones included.
    pub fn records(&self) -> impl Iterator<Item = (Slot, SessionKey, &Record)> {
        self.view.chunks.iter().map(|(slot, entry)| (slot, entry.key, &entry.record))
    }

    /// A client handle; `None` when it is not open.
    #[must_use]
    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.view.clients.get(id)
    }

    /// All client handles, in the same order on every node.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        self.view.clients.iter()
    }

    /// A block of events; `None` when it is not kept.
    #[must_use]
    pub fn event_block(&self, id: EventBlockId) -> Option<&EventBlock> {
        self.view.rings.block(id)
    }

    /// All blocks of events, by namespace and number: the order in which they are restored.
    pub fn event_blocks(&self) -> impl Iterator<Item = (EventBlockId, &EventBlock)> {
        self.view.rings.blocks()
    }

    /// The digest of the state when it was frozen.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.view.header.digest
    }

    /// Sessions and tombstones.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.view.header.records
    }

    /// One beyond the highest slot there can be a record in.
    #[must_use]
    pub fn slots_end(&self) -> Slot {
        self.view.chunks.end()
    }

    /// No record at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
