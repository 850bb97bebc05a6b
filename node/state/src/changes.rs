//! What changed since somebody last asked: the write-behind's worklist. Local, in no digest.

use crate::command::ClientId;
use crate::events::EventBlockId;
use crate::record::Slot;

/// Slots, clients and blocks of events touched since the last take, each once, ascending. One that is absent from the frozen view
/// was freed or forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Slots whose record changed, came or went.
    pub slots: Vec<Slot>,
    /// Clients whose state changed, came or went.
    pub clients: Vec<ClientId>,
    /// Blocks of events that grew, came or went.
    pub events: Vec<EventBlockId>,
}

impl Changes {
    /// Nothing changed but, perhaps, the header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.clients.is_empty() && self.events.is_empty()
    }
}

/// A set of slots: a bit per slot says who is in the list, so a mark costs no search and the list no duplicates.
#[derive(Default)]
pub(crate) struct ChangedSlots {
    marks: Vec<u64>,
    list: Vec<Slot>,
}

impl ChangedSlots {
    pub(crate) fn mark(&mut self, slot: Slot) {
        let (word, bit) = place(slot);
        if word >= self.marks.len() {
            self.marks.resize(word + 1, 0);
        }
        if let Some(marks) = self.marks.get_mut(word)
            && *marks & bit == 0
        {
            *marks |= bit;
            self.list.push(slot);
        }
    }

    /// The slots marked, ascending; none is afterwards.
    pub(crate) fn take(&mut self) -> Vec<Slot> {
        let mut list = std::mem::take(&mut self.list);
        for slot in &list {
            let (word, bit) = place(*slot);
            if let Some(marks) = self.marks.get_mut(word) {
                *marks &= !bit;
            }
        }
        list.sort_unstable();
        list
    }
}

fn place(slot: Slot) -> (usize, u64) {
    (usize::try_from(slot / 64).unwrap_or(usize::MAX - 1), 1 << (slot % 64))
}
