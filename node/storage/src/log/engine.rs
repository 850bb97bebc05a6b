//! raft-engine, and how entries stand in it.
//!
//! ```text
//! entry value: index u64 LE | term u64 LE | node u64 LE | payload | XXH3 of all before, u64 LE
//! ```
//!
//! raft-engine adds a CRC32 per block; the sum of ours also covers its headers, which nothing else does.

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use protobuf::well_known_types::BytesValue;
use raft_engine::env::{FileSystem as _, Handle as _, Permission};
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};

use super::options::LogOptions;
use super::types::{LogId, LogRecord};
use crate::checksum;
use crate::disk::Disk;
use crate::error::{REMEDY_NEW_ID, StorageError};

const HEAD_BYTES: usize = 24;
const SUM_BYTES: usize = 8;
/// A file's header after its magic: version and alignment; ours is always 0.
const VERSION_AT: u64 = 53;
const UNALIGNED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
/// One read takes at most this much: raft-engine adds lengths up in 32 bits.
const READ_BYTES_MAX: usize = 64 << 20;
/// One read takes at most this many entries.
const READ_ENTRIES_MAX: u64 = 65_536;

/// Tells raft-engine where an entry's index stands.
struct EntryFormat;

impl MessageExt for EntryFormat {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

fn encode(record: &LogRecord) -> BytesValue {
    let mut value = Vec::with_capacity(HEAD_BYTES + record.bytes.len() + SUM_BYTES);
    for word in [record.id.index, record.id.term, record.id.node] {
        value.extend(word.to_le_bytes());
    }
    value.extend_from_slice(&record.bytes);
    value.extend(checksum(&value).to_le_bytes());
    let mut entry = BytesValue::new();
    entry.set_value(value);
    entry
}

fn decode(entry: BytesValue) -> Option<LogRecord> {
    let mut bytes = Bytes::from(entry.value);
    let (content, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    if checksum(content) != u64::from_le_bytes(*sum) {
        return None;
    }
    bytes.truncate(content.len());
    let mut word = || {
        let word = u64::from_le_bytes(*bytes.first_chunk()?);
        bytes = bytes.slice(8..);
        Some(word)
    };
    let (index, term, node) = (word()?, word()?, word()?);
    Some(LogRecord { id: LogId { term, node, index }, bytes })
}

/// raft-engine, opened on the log's directory.
pub(super) struct LogEngine {
    /// `None` only while it is being dropped.
    engine: Option<Engine<Disk>>,
    path: PathBuf,
    /// Held while reading, and alone while files go: raft-engine looks an entry's place up first and its file after.
    files: RwLock<()>,
}

impl LogEngine {
    /// Opens what is in `path`; all that it finds is synced.
    pub(super) fn open(path: &Path, disk: &Disk, options: &LogOptions) -> Result<Self, StorageError> {
        prepare(path, disk)?;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Engine::open_with_file_system(config(path, options), Arc::new(disk.clone()))
        }));
        let engine = match opened {
            Ok(Ok(engine)) => engine,
            Ok(Err(raft_engine::Error::Io(source))) => {
                return Err(StorageError::Io { path: path.to_owned(), action: "open the log", source });
            }
            Ok(Err(error)) => return Err(damaged(path, error.to_string())),
            Err(panic) => return Err(damaged(path, message(&*panic))),
        };
        let engine = LogEngine { engine: Some(engine), path: path.to_owned(), files: RwLock::default() };
        for directory in [Some(path), path.parent()].into_iter().flatten() {
            disk.sync_dir(directory).map_err(StorageError::io("sync the directory", directory))?;
        }
        Ok(engine)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// First and last index of `group`.
    pub(super) fn span(&self, group: u64) -> Option<(u64, u64)> {
        let engine = self.engine.as_ref()?;
        engine.first_index(group).zip(engine.last_index(group))
    }

    /// All groups that hold, or held, anything.
    pub(super) fn groups(&self) -> Vec<u64> {
        self.engine.as_ref().map(Engine::raft_groups).unwrap_or_default()
    }

    /// Writes the records, which are consecutive, and syncs; durable when it returns.
    pub(super) fn append<'a>(
        &self,
        group: u64,
        records: impl Iterator<Item = &'a LogRecord>,
    ) -> Result<(), StorageError> {
        let entries: Vec<BytesValue> = records.map(encode).collect();
        let mut batch = LogBatch::with_capacity(1);
        self.guard("write to the log", |engine| {
            batch.add_entries::<EntryFormat>(group, &entries)?;
            engine.write(&mut batch, true).map(drop)
        })
    }

    /// The records in `[from, to)`, at most about `bytes_max` of them, at least one.
    ///
    /// # Errors
    /// One is missing, damaged, or cannot be read.
    pub(super) fn read(
        &self,
        group: u64,
        from: u64,
        to: u64,
        bytes_max: u64,
    ) -> Result<Vec<LogRecord>, StorageError> {
        let mut records: Vec<LogRecord> = Vec::new();
        let mut bytes = 0;
        loop {
            let next = from + records.len() as u64;
            if next >= to || (bytes >= bytes_max && !records.is_empty()) {
                return Ok(records);
            }
            let limit = usize::try_from(bytes_max - bytes).unwrap_or(usize::MAX).min(READ_BYTES_MAX);
            let end = to.min(next + READ_ENTRIES_MAX);
            for (entry, index) in self.fetch(group, next, end, limit)?.into_iter().zip(next..) {
                let record = decode(entry).filter(|record| record.id.index == index);
                let record = record
                    .ok_or_else(|| damaged(&self.path, format!("the entry at index {index} is not sound")))?;
                let is_beyond = bytes + record.bytes.len() as u64 > bytes_max;
                if is_beyond && !records.is_empty() {
                    return Ok(records);
                }
                bytes += record.bytes.len() as u64;
                records.push(record);
            }
        }
    }

    /// Reads in a thread of its own: what raft-engine remembers per thread may be another log's.
    fn fetch(&self, group: u64, from: u64, to: u64, limit: usize) -> Result<Vec<BytesValue>, StorageError> {
        let read = || {
            let _files = self.files.read();
            let mut entries = Vec::new();
            self.guard("read from the log", |engine| {
                engine.fetch_entries_to::<EntryFormat>(group, from, to, Some(limit), &mut entries).map(drop)
            })?;
            Ok(entries)
        };
        let entries: Vec<BytesValue> = std::thread::scope(|scope| {
            let reading = std::thread::Builder::new().name("quorate-read".into()).spawn_scoped(scope, read);
            let reading = reading.map_err(StorageError::io("start a thread to read", &self.path))?;
            reading.join().unwrap_or_else(|panic| Err(damaged(&self.path, message(&*panic))))
        })?;
        if entries.is_empty() {
            return Err(damaged(&self.path, format!("entries {from} to {} are missing", to - 1)));
        }
        Ok(entries)
    }

    /// Forgets all entries of `group` before `index`; not durable. Their space is reclaimed by [`Self::reclaim`].
    pub(super) fn compact(&self, group: u64, index: u64) -> Result<(), StorageError> {
        let mut batch = LogBatch::with_capacity(1);
        batch.add_command(group, Command::Compact { index });
        self.guard("write to the log", |engine| engine.write(&mut batch, false).map(drop))
    }

    /// Recycles files that hold no live entry. In a thread of its own, as [`Self::fetch`].
    pub(super) fn reclaim(&self) -> Result<(), StorageError> {
        let reclaim = || {
            let _files = self.files.write();
            self.guard("reclaim space of the log", Engine::purge_expired_files)
        };
        let groups = std::thread::scope(|scope| {
            let reclaiming =
                std::thread::Builder::new().name("quorate-recycle".into()).spawn_scoped(scope, reclaim);
            let reclaiming = reclaiming.map_err(StorageError::io("start a thread to reclaim", &self.path))?;
            reclaiming.join().unwrap_or_else(|panic| Err(damaged(&self.path, message(&*panic))))
        })?;
        if !groups.is_empty() {
            // Only a purge can help: the log waits for the session store.
            tracing::warn!(
                bytes = self.bytes(),
                "the log's old files still hold entries that are not purged"
            );
        }
        Ok(())
    }

    /// Bytes that the log takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.engine.as_ref().map_or(0, |engine| engine.get_used_size() as u64)
    }

    /// Calls raft-engine; its panics (a failed sync is one) become errors.
    fn guard<T>(
        &self,
        action: &'static str,
        call: impl FnOnce(&Engine<Disk>) -> raft_engine::Result<T>,
    ) -> Result<T, StorageError> {
        let io = |source| StorageError::Io { path: self.path.clone(), action, source };
        let Some(engine) = &self.engine else { return Err(io(std::io::ErrorKind::NotConnected.into())) };
        match catch_unwind(AssertUnwindSafe(|| call(engine))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(raft_engine::Error::Io(source))) => Err(io(source)),
            Ok(Err(error)) => Err(io(std::io::Error::other(error.to_string()))),
            Err(panic) => Err(io(std::io::Error::other(message(&*panic)))),
        }
    }
}

impl Drop for LogEngine {
    fn drop(&mut self) {
        // raft-engine cuts its last file to size and syncs it here; it panics when that fails. All that was
        // acknowledged is synced already.
        let engine = self.engine.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(engine))) {
            tracing::error!(path = %self.path.display(), error = message(&*panic), "the log was not closed in order");
        }
    }
}

fn config(path: &Path, options: &LogOptions) -> Config {
    // raft-engine makes half as many files again as the limit says.
    let prefill = options.prefill_bytes / 3 * 2;
    let prefills = prefill >= options.file_bytes;
    Config {
        dir: path.to_string_lossy().into_owned(),
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        recovery_threads: 2,
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(options.file_bytes),
        purge_threshold: ReadableSize(options.purge_threshold_bytes),
        enable_log_recycle: true,
        prefill_for_recycle: prefills,
        prefill_limit: prefills.then_some(ReadableSize(prefill)),
        ..Config::default()
    }
}

/// Syncs the log's files: a process that was killed may have left entries written but not synced, and from here on
/// they count. Refuses a file whose header asks for an alignment: raft-engine would take any number for it.
fn prepare(path: &Path, disk: &Disk) -> Result<(), StorageError> {
    if !path.exists() {
        return Ok(());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(StorageError::io("list", path))? {
        let file = entry.map_err(StorageError::io("list", path))?.path();
        if file.extension().is_some_and(|extension| extension == "raftlog" || extension == "rewrite") {
            files.push(file);
        }
    }
    files.sort();
    for file in files {
        let handle = disk.open(&file, Permission::ReadWrite).map_err(StorageError::io("open", &file))?;
        handle.sync().map_err(StorageError::io("sync", &file))?;
        let mut header = [0; 16];
        let is_whole = handle.read_exact_at(&mut header, VERSION_AT).is_ok();
        // (After a torn header raft-engine writes one of version 1, which has no alignment.)
        if is_whole && header != UNALIGNED && header.first_chunk::<8>() == UNALIGNED.first_chunk::<8>() {
            return Err(damaged(&file, "its header is not sound".into()));
        }
    }
    Ok(())
}

fn damaged(path: &Path, detail: String) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), detail, remedy: REMEDY_NEW_ID }
}

/// What a panic said.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}
