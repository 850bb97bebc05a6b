//! The array of slots, in chunks that frozen views share and the state copies on its first write after.

use std::sync::Arc;

use crate::record::{Entry, Slot};

/// Slots of one chunk: what the first write after a freeze copies (as pointers).
const CHUNK_SLOTS: u64 = 256;
const CHUNK_LEN: usize = 256;

#[derive(Clone)]
struct Chunk([Option<Arc<Entry>>; CHUNK_LEN]);

/// Cloning copies one pointer per chunk.
#[derive(Clone, Default)]
pub(crate) struct Chunks(Vec<Arc<Chunk>>);

/// Chunk and offset. A slot beyond what the machine can address is beyond the end too.
fn place(slot: Slot) -> (usize, usize) {
    let chunk = usize::try_from(slot / CHUNK_SLOTS).unwrap_or(usize::MAX);
    (chunk, usize::try_from(slot % CHUNK_SLOTS).unwrap_or(usize::MAX))
}

impl Chunks {
    /// One beyond the last slot there is room for.
    pub(crate) fn end(&self) -> Slot {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX).saturating_mul(CHUNK_SLOTS)
    }

    /// Makes room up to and including `slot`. New chunks are one empty chunk, shared until written.
    pub(crate) fn grow_to(&mut self, slot: Slot) {
        let (chunk, _) = place(slot);
        if chunk >= self.0.len() {
            let empty = Arc::new(Chunk([const { None }; CHUNK_LEN]));
            self.0.resize(chunk + 1, empty);
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Entry> {
        let (chunk, offset) = place(slot);
        self.0.get(chunk)?.0.get(offset)?.as_deref()
    }

    /// For a change in place; copies what a frozen view holds.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        let (chunk, offset) = place(slot);
        let chunk = Arc::make_mut(self.0.get_mut(chunk)?);
        chunk.0.get_mut(offset)?.as_mut().map(Arc::make_mut)
    }

    /// Puts `entry` into a slot there is room for; gives what was there.
    pub(crate) fn replace(&mut self, slot: Slot, entry: Option<Entry>) -> Option<Arc<Entry>> {
        let (chunk, offset) = place(slot);
        let chunk = Arc::make_mut(self.0.get_mut(chunk)?);
        std::mem::replace(chunk.0.get_mut(offset)?, entry.map(Arc::new))
    }

    /// All entries, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        let entries = self.0.iter().flat_map(|chunk| chunk.0.iter());
        (0..).zip(entries).filter_map(|(slot, entry)| Some((slot, entry.as_deref()?)))
    }
}
