//! The session store on sled.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_state::{Frozen, Restore, State, encode_client, encode_record};
use serde::{Deserialize, Serialize};
use sled::{Batch, Db};

use super::chunked::{self, Assembler, Kind, Name, Value};
use super::cut::{AppliedPosition, Cut, Loaded};
use super::{current, real_sync};
use crate::data_dir::{DataDir, sync_dir};
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::floor::{Floor, SessionsFloor};

/// A dropped sled keeps its file lock for a moment.
const REOPEN_WITHIN: Duration = Duration::from_secs(10);
/// Records written by one batch of an installation.
const INSTALL_BATCH: usize = 5_000;
const META: Name = Name { kind: Kind::Meta, id: 0 };
const META_FORMAT: u8 = 1;

/// Sizes of the session store.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// sled's page cache.
    pub cache_bytes: u64,
}

/// What stands beside the records: where they are in the log, and everything of the state that is no record.
#[derive(Serialize, Deserialize)]
struct MetaRecord {
    index: u64,
    meta: Vec<u8>,
    header: Vec<u8>,
}

impl MetaRecord {
    fn encode(position: &AppliedPosition, frozen: &Frozen) -> Vec<u8> {
        let header = frozen.header().encode();
        let record = MetaRecord { index: position.index, meta: position.meta.to_vec(), header };
        postcard::to_extend(&record, vec![META_FORMAT]).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        match bytes.split_first() {
            Some((&META_FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| error.to_string()),
            _ => Err(format!("the meta record has an unknown format; this version reads {META_FORMAT}")),
        }
    }
}

/// An open session store. One thread owns it.
pub struct SledStore {
    db: Db,
    path: PathBuf,
    sessions: PathBuf,
    number: u64,
    /// Values of more than one part, and how many.
    parts: HashMap<Name, u16>,
    floor: Floor,
    options: SessionOptions,
    index: u64,
}

impl SledStore {
    /// Opens the store of `dir`, checks every record, and that nothing the floor promised is gone.
    ///
    /// # Errors
    /// Damaged, or below the floor.
    pub fn open(
        dir: &DataDir,
        floor: &Floor,
        options: SessionOptions,
    ) -> Result<(SledStore, Option<Loaded>), StorageError> {
        real_sync::keep();
        let sessions = dir.sessions_path();
        fs::create_dir_all(&sessions).map_err(StorageError::io("create", &sessions))?;
        sync_dir(dir.path())?;
        let promised = floor.sessions();
        let number = current::read(&sessions)?;
        if number.is_none() && promised.is_some() {
            return Err(damaged(&sessions, "CURRENT is missing, but sessions were stored here".into()));
        }
        current::remove_others(&sessions, number)?;
        let existing = number.is_some();
        let number = number.unwrap_or(1);
        let path = current::directory(&sessions, number);
        if existing && !path.join("db").exists() {
            return Err(damaged(&path, "CURRENT names it, but its database is missing".into()));
        }
        let db = open_sled(&path, options)?;
        if !existing {
            sync_dir(&path)?;
            current::switch(&sessions, number)?;
        }
        let mut store = SledStore {
            db,
            path,
            sessions,
            number,
            parts: HashMap::new(),
            floor: floor.clone(),
            options,
            index: 0,
        };
        let loaded = store.load()?;
        store.check_floor(promised, loaded.as_ref())?;
        store.index = loaded.as_ref().map_or(0, |loaded| loaded.position.index);
        Ok((store, loaded))
    }

    /// The log index of the last synced cut.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Writes a cut as one atomic batch; durable when it returns, and the floor raised to it.
    ///
    /// # Errors
    /// The write or its sync failed: the process must stop.
    pub fn write(&mut self, cut: &Cut) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        for slot in &cut.changes.slots {
            let name = Name { kind: Kind::Session, id: *slot };
            let value = cut.frozen.record(*slot).map(|(key, record)| encode_record(key, record));
            self.put_or_remove(&mut batch, name, value);
        }
        for client in &cut.changes.clients {
            let name = Name { kind: Kind::Client, id: *client };
            let value = cut.frozen.client(*client).map(|record| encode_client(*client, record));
            self.put_or_remove(&mut batch, name, value);
        }
        let meta = MetaRecord::encode(&cut.position, &cut.frozen);
        self.put_or_remove(&mut batch, META, Some(meta));
        self.apply(batch)?;
        self.flush()?;
        self.raise_floor(&cut.position, &cut.frozen)
    }

    /// Replaces everything by `frozen`: a new directory, filled, synced, read back, then switched to.
    ///
    /// # Errors
    /// As [`Self::write`]; the old content stays until the switch.
    pub fn install(&mut self, position: &AppliedPosition, frozen: &Frozen) -> Result<(), StorageError> {
        let number = self.number + 1;
        let path = current::directory(&self.sessions, number);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(StorageError::io("remove", &path))?;
        }
        let mut next = SledStore {
            db: open_sled(&path, self.options)?,
            path: path.clone(),
            sessions: self.sessions.clone(),
            number,
            parts: HashMap::new(),
            floor: self.floor.clone(),
            options: self.options,
            index: position.index,
        };
        next.fill(position, frozen)?;
        sync_dir(&path)?;
        let read_back = next.load()?.map(|loaded| (loaded.position.index, loaded.state.digest()));
        if read_back != Some((position.index, frozen.digest())) {
            return Err(damaged(&path, "what was written does not read back the same".into()));
        }
        current::switch(&self.sessions, number)?;
        next.raise_floor(position, frozen)?;
        *self = next;
        current::remove_others(&self.sessions, Some(number))
    }

    fn fill(&mut self, position: &AppliedPosition, frozen: &Frozen) -> Result<(), StorageError> {
        let records = frozen
            .records()
            .map(|(slot, key, record)| (Name { kind: Kind::Session, id: slot }, encode_record(key, record)));
        let clients = frozen
            .clients()
            .map(|(id, client)| (Name { kind: Kind::Client, id }, encode_client(id, client)));
        let mut values = records.chain(clients).peekable();
        while values.peek().is_some() {
            let mut batch = Batch::default();
            for (name, value) in values.by_ref().take(INSTALL_BATCH) {
                self.put_or_remove(&mut batch, name, Some(value));
            }
            self.apply(batch)?;
            self.flush()?;
        }
        let mut batch = Batch::default();
        self.put_or_remove(&mut batch, META, Some(MetaRecord::encode(position, frozen)));
        self.apply(batch)?;
        self.flush()
    }

    fn put_or_remove(&mut self, batch: &mut Batch, name: Name, value: Option<Vec<u8>>) {
        let old_parts = self.parts.get(&name).copied().unwrap_or(1);
        let parts = match value {
            Some(value) => chunked::put(batch, name, &value, old_parts),
            None => {
                chunked::remove(batch, name, old_parts);
                0
            }
        };
        if parts > 1 {
            self.parts.insert(name, parts);
        } else {
            self.parts.remove(&name);
        }
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        self.db.apply_batch(batch).map_err(|error| failed("write to the session store", &self.path, error))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.db.flush().map(drop).map_err(|error| failed("sync the session store", &self.path, error))
    }

    fn raise_floor(&mut self, position: &AppliedPosition, frozen: &Frozen) -> Result<(), StorageError> {
        self.index = position.index;
        self.floor.set_sessions(SessionsFloor {
            index: position.index,
            records: frozen.len(),
            digest: frozen.digest().0,
        })
    }

    /// Reads and checks everything. `None`: nothing was ever written.
    fn load(&mut self) -> Result<Option<Loaded>, StorageError> {
        let path = self.path.clone();
        let corrupt = |detail: String| damaged(&path, detail);
        let Some(meta) = self.scan_one(META)? else {
            return match self.db.is_empty() {
                true => Ok(None),
                false => Err(corrupt("it has records, but not the one that says where they stand".into())),
            };
        };
        let meta = MetaRecord::decode(&meta).map_err(corrupt)?;
        let mut restore = Restore::new(&meta.header).map_err(|error| corrupt(error.to_string()))?;
        let mut assembler = Assembler::default();
        for item in self.db.iter() {
            let (key, data) = item.map_err(|error| failed("read the session store", &path, error))?;
            let Some(Value { name, bytes, parts }) = assembler.push(&key, &data).map_err(corrupt)? else { continue };
            match name.kind {
                Kind::Session => restore.insert_at(name.id, &bytes).map_err(|error| corrupt(error.to_string()))?,
                Kind::Client => restore.client(&bytes).map_err(|error| corrupt(error.to_string()))?,
                Kind::Meta => {}
            }
            if parts > 1 {
                self.parts.insert(name, parts);
            }
        }
        assembler.finish().map_err(corrupt)?;
        let state: State = restore.finish().map_err(|error| corrupt(error.to_string()))?;
        let position = AppliedPosition { index: meta.index, meta: Bytes::from(meta.meta) };
        Ok(Some(Loaded { state, position }))
    }

    fn scan_one(&self, name: Name) -> Result<Option<Vec<u8>>, StorageError> {
        let mut assembler = Assembler::default();
        for item in self.db.scan_prefix([name.kind as u8]) {
            let (key, data) = item.map_err(|error| failed("read the session store", &self.path, error))?;
            let value = assembler.push(&key, &data).map_err(|detail| damaged(&self.path, detail))?;
            if let Some(value) = value.filter(|value| value.name == name) {
                return Ok(Some(value.bytes));
            }
        }
        assembler.finish().map_err(|detail| damaged(&self.path, detail))?;
        Ok(None)
    }

    fn check_floor(&self, promised: Option<SessionsFloor>, loaded: Option<&Loaded>) -> Result<(), StorageError> {
        let Some(promised) = promised else { return Ok(()) };
        let found = loaded.map(|loaded| (loaded.position.index, loaded.state.digest().0));
        match found {
            None => Err(damaged(&self.path, format!("it is empty, but {} records were stored", promised.records))),
            Some((index, _)) if index < promised.index => Err(damaged(
                &self.path,
                format!("it stands at log index {index}, but {} was stored and synced", promised.index),
            )),
            Some((index, digest)) if index == promised.index && digest != promised.digest => Err(damaged(
                &self.path,
                format!("its digest at log index {index} is not the one recorded when it was stored"),
            )),
            // One batch ahead of the floor: the process ended between the two syncs.
            Some(_) => Ok(()),
        }
    }
}

fn open_sled(path: &Path, options: SessionOptions) -> Result<Db, StorageError> {
    fs::create_dir_all(path).map_err(StorageError::io("create", path))?;
    // A kill while sled wrote one of these blocks its next open.
    for entry in fs::read_dir(path).map_err(StorageError::io("list", path))? {
        let file = entry.map_err(StorageError::io("list", path))?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&file).map_err(StorageError::io("remove", &file))?;
        }
    }
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(Some(1_000))
        .use_compression(false);
    let deadline = Instant::now() + REOPEN_WITHIN;
    loop {
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(Ok(db)) => return Ok(db),
            // The lock of a store just dropped: its threads hold it a moment longer.
            Ok(Err(sled::Error::Io(error))) if error.to_string().contains("lock") && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(Err(error)) => return Err(failed("open the session store", path, error)),
            Err(_) => return Err(damaged(path, "sled panicked while it recovered".into())),
        }
    }
}

fn failed(action: &'static str, path: &Path, error: sled::Error) -> StorageError {
    match error {
        sled::Error::Io(source) => StorageError::Io { path: path.to_owned(), action, source },
        other => damaged(path, other.to_string()),
    }
}

fn damaged(path: &Path, detail: String) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), detail, remedy: REMEDY_NEW_ID }
}
