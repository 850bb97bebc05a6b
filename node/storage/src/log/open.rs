//! The checks at start: what the log holds, against what the floor file says it must.

use super::engine::LogEngine;
use super::tail::Tail;
use super::types::LogId;
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::floor::FloorState;

/// The log as found, if nothing of what was promised is missing.
///
/// # Errors
/// Damaged, or below the floor: something that was acknowledged may be gone.
pub(super) fn check(engine: &LogEngine, floor: &FloorState) -> Result<Tail, StorageError> {
    let damaged =
        |detail| StorageError::Corrupt { path: engine.path().to_owned(), detail, remedy: REMEDY_NEW_ID };
    let first = floor.purged.map(|purged| purged.index + 1).or(floor.first);
    let span = match (engine.span(floor.group), first) {
        (None, _) => None,
        (Some((found, _)), None) => {
            return Err(damaged(format!("it begins at {found}, which the floor file does not know of")));
        }
        (Some((found, _)), Some(first)) if found > first => {
            return Err(damaged(format!("entries {first} to {} are missing", found - 1)));
        }
        (Some((_, last)), Some(first)) => (last >= first).then_some((first, last)),
    };
    let id_at = |index| match engine.read(floor.group, index, index + 1, u64::MAX)?.pop() {
        Some(record) => Ok::<LogId, StorageError>(record.id),
        None => Err(damaged(format!("the entry at index {index} is missing"))),
    };
    let purged_at = floor.purged.map_or(0, |purged| purged.index);
    if let Some(synced) = floor.synced.filter(|synced| floor.purged.is_none() || synced.index > purged_at) {
        let Some(_) = span.filter(|(_, last)| *last >= synced.index) else {
            let end = span.map(|(_, last)| last).or(floor.purged.map(|purged| purged.index));
            let end = end.map_or_else(|| "is empty".into(), |end| format!("ends at index {end}"));
            return Err(damaged(format!(
                "it {end}, but entries up to index {} of term {} were synced and may have been acknowledged",
                synced.index, synced.term
            )));
        };
        let found = id_at(synced.index)?;
        if found != synced {
            return Err(damaged(format!(
                "its entry at index {} is of term {}, but one of term {} was synced there",
                synced.index, found.term, synced.term
            )));
        }
    }
    let last = span.map(|(_, last)| id_at(last)).transpose()?;
    let first = span.map(|(first, _)| first);
    Ok(Tail::found(first, last, floor))
}

/// Has the engine forget what is purged: a crash may have lost that.
pub(super) fn forget_purged(engine: &LogEngine, floor: &FloorState) -> Result<(), StorageError> {
    for group in engine.groups() {
        let Some((first, last)) = engine.span(group) else { continue };
        if group != floor.group {
            // Emptied for a snapshot.
            engine.compact(group, last + 1)?;
        } else if let Some(purged) = floor.purged.filter(|purged| purged.index >= first) {
            engine.compact(group, purged.index + 1)?;
        }
    }
    Ok(())
}
