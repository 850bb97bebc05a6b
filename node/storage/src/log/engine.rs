//! raft-engine, and how entries stand in it.
//!
//! ```text
//! entry value: index u64 LE | term u64 LE | node u64 LE | payload        (raft-engine adds a CRC32 per block)
//! ```

use std::path::{Path, PathBuf};

use bytes::Bytes;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};

use super::raft_log::LogOptions;
use super::types::{LogId, LogRecord};
use crate::error::{REMEDY_NEW_ID, StorageError};

const HEAD_BYTES: usize = 24;

/// Tells raft-engine where an entry's index stands.
struct EntryFormat;

impl MessageExt for EntryFormat {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

fn encode(record: &LogRecord) -> BytesValue {
    let mut value = Vec::with_capacity(HEAD_BYTES + record.bytes.len());
    for word in [record.id.index, record.id.term, record.id.node] {
        value.extend(word.to_le_bytes());
    }
    value.extend_from_slice(&record.bytes);
    let mut entry = BytesValue::new();
    entry.set_value(value);
    entry
}

fn decode(entry: BytesValue) -> Option<LogRecord> {
    let mut bytes = Bytes::from(entry.value);
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
    engine: Engine,
    path: PathBuf,
}

impl LogEngine {
    pub(super) fn open(path: &Path, options: &LogOptions) -> Result<Self, StorageError> {
        let config = Config {
            dir: path.to_string_lossy().into_owned(),
            recovery_mode: RecoveryMode::TolerateTailCorruption,
            recovery_threads: 2,
            batch_compression_threshold: ReadableSize(0),
            target_file_size: ReadableSize(options.file_bytes),
            purge_threshold: ReadableSize(options.purge_threshold_bytes),
            enable_log_recycle: true,
            prefill_for_recycle: options.prefill_bytes > 0,
            prefill_limit: (options.prefill_bytes > 0).then_some(ReadableSize(options.prefill_bytes)),
            ..Config::default()
        };
        let opened = std::panic::catch_unwind(|| Engine::open(config));
        let engine = match opened {
            Ok(Ok(engine)) => engine,
            Ok(Err(raft_engine::Error::Io(source))) => {
                return Err(StorageError::Io { path: path.to_owned(), action: "open the log", source });
            }
            Ok(Err(error)) => return Err(damaged(path, error.to_string())),
            Err(_) => return Err(damaged(path, "raft-engine panicked while it recovered".into())),
        };
        Ok(LogEngine { engine, path: path.to_owned() })
    }

    /// First and last index of `group`.
    pub(super) fn span(&self, group: u64) -> Option<(u64, u64)> {
        self.engine.first_index(group).zip(self.engine.last_index(group))
    }

    /// All groups that hold anything.
    pub(super) fn groups(&self) -> Vec<u64> {
        self.engine.raft_groups()
    }

    /// Writes the records and syncs; durable when it returns.
    pub(super) fn append<'a>(
        &self,
        group: u64,
        records: impl Iterator<Item = &'a LogRecord>,
    ) -> Result<(), StorageError> {
        let entries: Vec<BytesValue> = records.map(encode).collect();
        let mut batch = LogBatch::with_capacity(entries.len());
        batch
            .add_entries::<EntryFormat>(group, &entries)
            .and_then(|()| self.engine.write(&mut batch, true))
            .map(drop)
            .map_err(|error| self.failed("write to the log", error))
    }

    /// The records in `[from, to)` that are there, at most about `bytes_max` of them, at least one if any is.
    pub(super) fn read(
        &self,
        group: u64,
        from: u64,
        to: u64,
        bytes_max: Option<usize>,
    ) -> Result<Vec<LogRecord>, StorageError> {
        let mut entries = Vec::new();
        self.engine
            .fetch_entries_to::<EntryFormat>(group, from, to, bytes_max, &mut entries)
            .map_err(|error| self.failed("read from the log", error))?;
        let mut records = Vec::with_capacity(entries.len());
        for (entry, index) in entries.into_iter().zip(from..) {
            match decode(entry).filter(|record| record.id.index == index) {
                Some(record) => records.push(record),
                None => {
                    return Err(damaged(&self.path, format!("the entry at index {index} is another one")));
                }
            }
        }
        Ok(records)
    }

    /// Forgets all entries before `index`. Their space is reclaimed by [`Self::reclaim`].
    pub(super) fn compact(&self, group: u64, index: u64) {
        self.engine.compact_to(group, index);
    }

    /// Recycles files that hold no live entry.
    pub(super) fn reclaim(&self) -> Result<(), StorageError> {
        self.engine
            .purge_expired_files()
            .map(drop)
            .map_err(|error| self.failed("reclaim space of the log", error))
    }

    /// Bytes that the log takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.engine.get_used_size() as u64
    }

    fn failed(&self, action: &'static str, error: raft_engine::Error) -> StorageError {
        let source = match error {
            raft_engine::Error::Io(source) => source,
            other => std::io::Error::other(other.to_string()),
        };
        StorageError::Io { path: self.path.clone(), action, source }
    }
}

fn damaged(path: &Path, detail: String) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), detail, remedy: REMEDY_NEW_ID }
}
