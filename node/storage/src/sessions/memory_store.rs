//! A store without a disk, for simulations: what it holds outlives it in its clones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_state::{Frozen, Restore, RestoreError};

use crate::error::StorageError;
use crate::sessions::item::{Item, decode_position, edits, everything};
use crate::sessions::store::{Health, StateStore};
use crate::sessions::{AppliedPosition, Cut, Loaded, WriteReport};

#[derive(Default)]
struct Kept {
    index: u64,
    items: BTreeMap<Item, Vec<u8>>,
}

/// Keeps the same items as the store on disk. Clones share them: keep one to "reopen" after a crash.
#[derive(Clone, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
}

impl MemoryStore {
    /// What it holds; `None` before the first write.
    ///
    /// # Errors
    /// [`RestoreError`]: what was written is not a state, which is a bug.
    pub fn load(&self) -> Result<Option<Loaded>, RestoreError> {
        let kept = self.kept.lock();
        let (Some(header), Some(position)) = (kept.items.get(&Item::Header), kept.items.get(&Item::Position))
        else {
            return Ok(None);
        };
        let mut restore = Restore::new(header)?;
        for (item, value) in &kept.items {
            match item {
                Item::Header | Item::Position => {}
                Item::Record(slot) => restore.insert_at(*slot, value)?,
                Item::Client(_) => restore.client(value)?,
                Item::Events(_) => restore.events(value)?,
            }
        }
        let records = restore.header().records;
        let state = restore.finish()?;
        let position =
            decode_position(position).expect("nobody else writes here, and nothing is damaged in memory");
        Ok(Some(Loaded { state, position, records, took: Duration::ZERO }))
    }
}

impl StateStore for MemoryStore {
    fn index(&self) -> u64 {
        self.kept.lock().index
    }

    fn write(&mut self, cut: Cut) -> Result<WriteReport, StorageError> {
        let mut kept = self.kept.lock();
        let mut report = WriteReport::default();
        if cut.position.index <= kept.index {
            return Ok(report);
        }
        for (item, value) in edits(&cut) {
            if let Some(value) = value {
                report.written += 1;
                report.bytes += u64::try_from(value.len()).unwrap_or(u64::MAX);
                kept.items.insert(item, value);
            } else {
                report.removed += 1;
                kept.items.remove(&item);
            }
        }
        kept.index = cut.position.index;
        Ok(report)
    }

    fn install(&mut self, position: AppliedPosition, frozen: Frozen) -> Result<WriteReport, StorageError> {
        let mut kept = self.kept.lock();
        kept.items = everything(&position, &frozen).collect();
        kept.index = position.index;
        Ok(WriteReport {
            written: u64::try_from(kept.items.len()).unwrap_or(u64::MAX),
            ..WriteReport::default()
        })
    }

    fn close(&mut self) {}

    fn health(&self) -> Health {
        Box::new(|| Ok(()))
    }
}
