//! The session store of a production node: sled, by slot.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use quorate_state::{Frozen, Header};

use crate::data_dir::DataDir;
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::floor::{Floor, SessionsFloor};
use crate::sessions::database::{Database, Noted, guarded};
use crate::sessions::directory::SessionsDir;
use crate::sessions::item::{Edit, Item, edits, everything};
use crate::sessions::load::{Loaded, check_floor, load, verify};
use crate::sessions::parts::{PartCounts, split};
use crate::sessions::store::{Health, StateStore};
use crate::sessions::{AppliedPosition, Cut, WriteReport, priority};

/// An install writes batches of about this many bytes: it need not be atomic, CURRENT makes it so.
const INSTALL_BATCH_BYTES: u64 = 8 << 20;

/// How the session store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// The bound of sled's page cache, in bytes.
    pub cache_bytes: u64,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { cache_bytes: 64 << 20 }
    }
}

/// An open session store. It holds the `Db`, and nothing else does.
pub struct SledStore {
    dir: SessionsDir,
    number: u64,
    /// `None` once closed.
    database: Option<Database>,
    counts: PartCounts,
    index: u64,
    floor: Floor,
    options: SessionOptions,
    noted: Noted,
    /// Told of each step of a write or an install, so that a test can end the story there.
    #[cfg(test)]
    pub(crate) at_step: Option<Box<dyn FnMut(&'static str) + Send>>,
}

impl SledStore {
    /// Opens the session store in `dir`, making it when the floor knows of none, and loads what it holds (`None`
    /// before the first write). Takes a while with many sessions: about 2 s per million.
    ///
    /// # Errors
    /// The store is damaged, behind the floor, or cannot be read. Nothing was changed but what sled repairs itself.
    pub fn open(
        dir: &DataDir,
        floor: &Floor,
        options: SessionOptions,
    ) -> Result<(SledStore, Option<Loaded>), StorageError> {
        let path = dir.sessions_path();
        // On a thread of its own, because sled's threads take its priority.
        std::thread::scope(|scope| {
            let opening =
                std::thread::Builder::new().name("quorate-sessions".into()).spawn_scoped(scope, || {
                    priority::lower();
                    Self::open_here(path.clone(), floor, options)
                });
            let opening = opening.map_err(StorageError::io("start a thread for", &path))?;
            opening.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    fn open_here(
        path: PathBuf,
        floor: &Floor,
        options: SessionOptions,
    ) -> Result<(SledStore, Option<Loaded>), StorageError> {
        let dir = SessionsDir::open(path)?;
        let promised = floor.sessions();
        let number = match (dir.current()?, promised) {
            (Some(number), _) => number,
            (None, None) => create(&dir, options)?,
            (None, Some(promised)) => {
                return Err(StorageError::Corrupt {
                    path: dir.current_path(),
                    detail: format!("it is missing, but named the state at log index {}", promised.index),
                    remedy: REMEDY_NEW_ID,
                });
            }
        };
        let state_path = dir.state_path(number);
        let database = Database::open(&state_path, options.cache_bytes)?;
        let mut counts = PartCounts::default();
        let loaded = guarded(&state_path, || load(&database, &mut counts))?;
        check_floor(&state_path, loaded.as_ref(), promised)?;
        // Only now: what is in force is sound.
        dir.remove_others(Some(number))?;
        let store = SledStore {
            dir,
            number,
            noted: Arc::new(Mutex::new(Some(database.note()))),
            database: Some(database),
            counts,
            index: loaded.as_ref().map_or(0, |loaded| loaded.position.index),
            floor: floor.clone(),
            options,
            #[cfg(test)]
            at_step: None,
        };
        Ok((store, loaded))
    }

    fn database(&self) -> Result<&Database, StorageError> {
        self.database.as_ref().ok_or_else(|| StorageError::Refused {
            path: self.dir.state_path(self.number),
            detail: "the session store is closed".into(),
            remedy: "start the node again",
        })
    }

    fn promise(&self, index: u64, header: &Header) -> Result<(), StorageError> {
        self.floor.set_sessions(SessionsFloor { index, records: header.records, digest: header.digest.0 })
    }

    /// Writes and syncs a new database with all of `frozen` in it; reads it back from the disk.
    fn build(
        &mut self,
        number: u64,
        position: &AppliedPosition,
        frozen: &Frozen,
        report: &mut WriteReport,
    ) -> Result<(Database, PartCounts), StorageError> {
        let path = self.dir.state_path(number);
        self.dir.remove(number)?;
        self.step("a new directory");
        let database = Database::open(&path, self.options.cache_bytes)?;
        *self.noted.lock() = Some(database.note());
        let mut counts = PartCounts::default();
        let mut batch = Batch::default();
        for (item, value) in everything(position, frozen) {
            batch.put(&path, &mut counts, (item, Some(value)), report)?;
            if batch.bytes >= INSTALL_BATCH_BYTES {
                database.apply(std::mem::take(&mut batch).writes)?;
                // sled reuses what it believes synced: so, before the next batch.
                database.sync()?;
                self.step("a batch of many");
            }
        }
        database.apply(batch.writes)?;
        self.step("written");
        database.sync()?;
        database.close();
        self.step("synced");
        // From the disk, not from sled's cache.
        let database = Database::open(&path, self.options.cache_bytes)?;
        *self.noted.lock() = Some(database.note());
        let counts = guarded(&path, || verify(&database, position, frozen))?;
        Ok((database, counts))
    }

    fn write_batch(&mut self, cut: Cut) -> Result<WriteReport, StorageError> {
        let started = Instant::now();
        let mut report = WriteReport::default();
        let path = self.database()?.path().to_owned();
        let mut batch = Batch::default();
        for edit in edits(&cut) {
            batch.put(&path, &mut self.counts, edit, &mut report)?;
        }
        let (index, header) = (cut.position.index, cut.frozen.header().clone());
        // The view is let go early: while it is held, the state copies what it changes.
        drop(cut);
        self.step("before the batch");
        self.database()?.apply(batch.writes)?;
        self.step("written");
        self.database()?.sync()?;
        self.step("synced");
        self.promise(index, &header)?;
        self.step("promised");
        self.index = index;
        report.took = started.elapsed();
        Ok(report)
    }

    fn replace(&mut self, position: &AppliedPosition, frozen: &Frozen) -> Result<WriteReport, StorageError> {
        let started = Instant::now();
        let mut report = WriteReport::default();
        let (old, new) = (self.number, self.number + 1);
        let (database, counts) = self.build(new, position, frozen, &mut report)?;
        self.step("verified");
        self.dir.switch(new)?;
        self.step("switched");
        self.promise(position.index, frozen.header())?;
        self.step("promised");
        let replaced = self.database.replace(database);
        (self.number, self.counts, self.index) = (new, counts, position.index);
        if let Some(replaced) = replaced {
            replaced.close();
        }
        self.dir.remove(old)?;
        self.step("the old one removed");
        report.took = started.elapsed();
        Ok(report)
    }

    /// How many keys sled holds.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.database().unwrap().scan().map(Result::unwrap).count()
    }

    #[cfg(test)]
    fn step(&mut self, name: &'static str) {
        if let Some(at_step) = &mut self.at_step {
            at_step(name);
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests use it")]
    fn step(&mut self, _name: &'static str) {}
}

/// Makes the first, empty database and puts it in force.
fn create(dir: &SessionsDir, options: SessionOptions) -> Result<u64, StorageError> {
    const FIRST: u64 = 1;
    dir.remove_others(None)?;
    let database = Database::open(&dir.state_path(FIRST), options.cache_bytes)?;
    database.sync()?;
    database.close();
    dir.switch(FIRST)?;
    Ok(FIRST)
}

/// What goes into sled at once.
#[derive(Default)]
struct Batch {
    writes: sled::Batch,
    bytes: u64,
}

impl Batch {
    fn put(
        &mut self,
        path: &Path,
        counts: &mut PartCounts,
        (item, value): Edit,
        report: &mut WriteReport,
    ) -> Result<(), StorageError> {
        let parts = match &value {
            None => Vec::new(),
            Some(value) => split(item, value).map_err(|_| StorageError::Refused {
                path: path.to_owned(),
                detail: format!("{item} is too long to be kept: {} bytes", value.len()),
                remedy: "report this: a limit was not enforced",
            })?,
        };
        let now = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        let before = counts.set(item, now);
        match item {
            Item::Header | Item::Position => {}
            _ if now > 0 => report.written += 1,
            _ if before > 0 => report.removed += 1,
            // It came and went since the last cut.
            _ => return Ok(()),
        }
        for stale in now..before {
            self.writes.remove(item.key(stale));
        }
        for (number, part) in (0..).zip(parts) {
            let key = item.key(number);
            let bytes = u64::try_from(key.len() + part.len()).unwrap_or(u64::MAX);
            self.bytes += bytes;
            report.bytes += bytes;
            self.writes.insert(key, part);
        }
        Ok(())
    }
}

impl StateStore for SledStore {
    fn index(&self) -> u64 {
        self.index
    }

    fn write(&mut self, cut: Cut) -> Result<WriteReport, StorageError> {
        let (index, persisted) = (cut.position.index, self.index);
        if index <= persisted {
            tracing::debug!(index, persisted, "left out a cut that a snapshot has overtaken");
            return Ok(WriteReport::default());
        }
        guarded(&self.dir.state_path(self.number), || self.write_batch(cut))
    }

    fn install(&mut self, position: AppliedPosition, frozen: Frozen) -> Result<WriteReport, StorageError> {
        guarded(&self.dir.state_path(self.number + 1), || self.replace(&position, &frozen))
    }

    fn close(&mut self) {
        *self.noted.lock() = None;
        if let Some(database) = self.database.take() {
            database.close();
        }
    }

    fn health(&self) -> Health {
        Database::health(&self.noted)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.close();
    }
}
