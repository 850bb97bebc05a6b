//! From a database back to a state, checked against itself and against the floor.

use std::path::Path;
use std::time::{Duration, Instant};

use quorate_state::{Frozen, Restore, RestoreError, State, encode_client, encode_events, encode_record};

use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::floor::SessionsFloor;
use crate::sessions::AppliedPosition;
use crate::sessions::database::Database;
use crate::sessions::item::{Item, decode_position, everything};
use crate::sessions::parts::{Assembler, PartCounts, Whole};

/// What a store held when it was opened.
pub struct Loaded {
    /// The state; its slots are those of the store.
    pub state: State,
    /// Up to where it holds the log.
    pub position: AppliedPosition,
    /// Sessions and tombstones read.
    pub records: u64,
    /// How long reading took.
    pub took: Duration,
}

fn corrupt(path: &Path, detail: impl ToString) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), detail: detail.to_string(), remedy: REMEDY_NEW_ID }
}

/// Hands every item of a database to `take`, in the order of the keys.
fn items(
    path: &Path,
    entries: impl Iterator<Item = Result<(sled::IVec, sled::IVec), StorageError>>,
    mut take: impl FnMut(Whole) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut assembler = Assembler::default();
    for entry in entries {
        let (key, part) = entry?;
        if let Some(whole) = assembler.push(&key, &part).map_err(|detail| corrupt(path, detail))? {
            take(whole)?;
        }
    }
    assembler.finish().map_err(|detail| corrupt(path, detail))
}

/// Reads all of a database; `None` when there is nothing in it. Notes the parts of its items.
pub(crate) fn load(database: &Database, counts: &mut PartCounts) -> Result<Option<Loaded>, StorageError> {
    let (started, path) = (Instant::now(), database.path());
    let (mut header, mut position) = (None, None);
    items(path, database.scan_prefix(b"m"), |whole| {
        match whole.item {
            Item::Header => header = Some(whole.value),
            _ => position = Some(whole.value),
        }
        Ok(())
    })?;
    let (header, position) = match (header, position) {
        (Some(header), Some(position)) => (header, position),
        (None, None) => {
            let mut entries = database.scan();
            return match entries.next() {
                None => Ok(None),
                Some(Err(error)) => Err(error),
                Some(Ok(_)) => Err(corrupt(path, "there are items, but neither header nor position")),
            };
        }
        (None, _) => return Err(corrupt(path, "the header is missing")),
        (_, None) => return Err(corrupt(path, "the position is missing")),
    };
    let position = decode_position(&position).map_err(|detail| corrupt(path, detail))?;
    let mut restore = Restore::new(&header).map_err(|error| corrupt(path, error))?;
    items(path, database.scan(), |Whole { item, value, parts }| {
        counts.set(item, parts);
        let restored: Result<(), RestoreError> = match item {
            Item::Header | Item::Position => Ok(()),
            Item::Record(slot) => restore.insert_at(slot, &value),
            Item::Client(_) => restore.client(&value),
            Item::Events(_) => restore.events(&value),
        };
        restored.map_err(|error| corrupt(path, format!("{item}: {error}")))
    })?;
    let records = restore.header().records;
    let state = restore.finish().map_err(|error| corrupt(path, error))?;
    Ok(Some(Loaded { state, position, records, took: started.elapsed() }))
}

/// Compares what was found with what was promised. Ahead of the promise is legal: the process may end between the
/// sync of a batch and the promise. Behind it is loss.
pub(crate) fn check_floor(
    path: &Path,
    loaded: Option<&Loaded>,
    floor: Option<SessionsFloor>,
) -> Result<(), StorageError> {
    let Some(floor) = floor else { return Ok(()) };
    let Some(loaded) = loaded else {
        return Err(corrupt(path, format!("it is empty, but held the state at log index {}", floor.index)));
    };
    let found = SessionsFloor {
        index: loaded.position.index,
        records: loaded.records,
        digest: loaded.state.digest().0,
    };
    if found.index < floor.index {
        let detail = format!("it stands at log index {}, but stood at {} before", found.index, floor.index);
        return Err(corrupt(path, detail));
    }
    if found.index == floor.index && found != floor {
        let detail = format!(
            "at log index {} it holds {} records with digest {:032x}, but held {} with {:032x}",
            found.index, found.records, found.digest, floor.records, floor.digest
        );
        return Err(corrupt(path, detail));
    }
    Ok(())
}

/// Reads a database back and compares it, item by item, with what was written. Notes the parts of its items.
pub(crate) fn verify(
    database: &Database,
    position: &AppliedPosition,
    frozen: &Frozen,
) -> Result<PartCounts, StorageError> {
    let path = database.path();
    let mut counts = PartCounts::default();
    let mut found = 0_u64;
    let mut expected = Expected::new(position, frozen);
    items(path, database.scan(), |Whole { item, value, parts }| {
        found += 1;
        counts.set(item, parts);
        if expected.is(item, &value) {
            Ok(())
        } else {
            Err(corrupt(path, format!("{item} is not what was written")))
        }
    })?;
    let header = frozen.header();
    let written = 2 + header.records + header.clients + header.event_blocks;
    if found != written {
        return Err(corrupt(path, format!("{found} items were found where {written} were written")));
    }
    Ok(counts)
}

/// What must be found, whatever the order.
struct Expected<'a> {
    frozen: &'a Frozen,
    /// Header and position.
    small: Vec<(Item, Vec<u8>)>,
}

impl<'a> Expected<'a> {
    fn new(position: &AppliedPosition, frozen: &'a Frozen) -> Self {
        Expected { frozen, small: everything(position, frozen).take(2).collect() }
    }

    fn is(&mut self, item: Item, value: &[u8]) -> bool {
        match item {
            Item::Header | Item::Position => {
                self.small.iter().any(|(at, bytes)| *at == item && bytes == value)
            }
            Item::Record(slot) => {
                self.frozen.record(slot).is_some_and(|(key, record)| encode_record(key, record) == value)
            }
            Item::Client(id) => {
                self.frozen.client(id).is_some_and(|client| encode_client(id, client) == value)
            }
            Item::Events(id) => {
                self.frozen.event_block(id).is_some_and(|block| encode_events(id, block) == value)
            }
        }
    }
}
