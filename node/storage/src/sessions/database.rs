//! One sled database, with a guard for each of sled 0.34's known faults.
//!
//! - Its `flush` does not sync: see `real_sync`.
//! - Its flusher thread syncs the same descriptor now and then and only logs an error, which the kernel tells once
//!   per descriptor: every sync here ends with one on a descriptor of our own.
//! - A kill while it opens leaves `snap.*.generating` files that block the next open: they are removed.
//! - After it is dropped its threads hold the file's lock a moment longer: opening and closing wait for that.
//! - An error in its I/O threads is only noted, and a caller may wait for ever: [`Database::health`].
//! - Damaged files can make it panic: a panic while opening or reading is an error like any other.
//! - It does not sync its `conf` file nor its directory: done here.

use std::any::Any;
use std::fs::{self, File};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use crate::data_dir::sync_dir;
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::sessions::directory::sync_file;
use crate::sessions::real_sync;
use crate::sessions::store::Health;

/// How long an earlier owner's threads may hold the lock.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// sled reclaims space in its flusher thread only, this often.
const FLUSH_EVERY_MS: u64 = 500;

/// The configuration of whichever database is open: it carries sled's note of an I/O error. Shared with the watchdog.
pub(crate) type Noted = Arc<Mutex<Option<(sled::Config, PathBuf)>>>;

/// An open database.
pub(crate) struct Database {
    path: PathBuf,
    db: sled::Db,
    config: sled::Config,
    /// A descriptor of our own on sled's file.
    file: File,
    /// [`real_sync::calls`] before sled first wrote.
    syncs_at_open: u64,
}

fn corrupt(path: &Path, detail: String) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), detail, remedy: REMEDY_NEW_ID }
}

fn sled_error(path: &Path, action: &'static str, error: sled::Error) -> StorageError {
    match error {
        sled::Error::Io(source) => StorageError::Io { path: path.to_owned(), action, source },
        sled::Error::Corruption { at, .. } => {
            let place = at.map_or_else(String::new, |at| format!(" at {at}"));
            corrupt(path, format!("sled found a damaged page{place}"))
        }
        other => corrupt(path, format!("sled: {other}")),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Runs what calls into sled; a panic there is damage found.
pub(crate) fn guarded<T>(
    path: &Path,
    call: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    std::panic::catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(corrupt(path, format!("sled panicked: {}", panic_text(panic.as_ref())))))
}

impl Database {
    /// Opens the database in `path`, making it when it is absent. Its files and their names are durable when this
    /// returns. `cache_bytes` bounds sled's page cache.
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Database, StorageError> {
        fs::create_dir_all(path).map_err(StorageError::io("create the directory", path))?;
        remove_unfinished(path)?;
        let syncs_at_open = real_sync::calls();
        let deadline = Instant::now() + LOCK_WAIT;
        let (db, config) = loop {
            // A configuration keeps the note of an error: a new one for each attempt.
            let config = sled::Config::new()
                .path(path)
                .cache_capacity(cache_bytes.max(1 << 20))
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .use_compression(false);
            match guarded(path, || config.open().map_err(|error| sled_error(path, "open", error))) {
                Ok(db) => break (db, config),
                Err(error) if is_locked(&error) && Instant::now() < deadline => {
                    std::thread::sleep(LOCK_PAUSE)
                }
                Err(error) => return Err(error),
            }
        };
        for name in ["conf", "db"] {
            sync_file(&path.join(name))?;
        }
        for dir in [&path.join("blobs"), path] {
            sync_dir(dir)?;
        }
        if let Some(parent) = path.parent() {
            sync_dir(parent)?;
        }
        let file = path.join("db");
        let file = File::open(&file).map_err(StorageError::io("open", &file))?;
        Ok(Database { path: path.to_owned(), db, config, file, syncs_at_open })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every key and value, in order.
    pub(crate) fn scan(&self) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StorageError>> {
        self.entries(self.db.iter())
    }

    /// Keys and values under a prefix, in order.
    pub(crate) fn scan_prefix(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StorageError>> {
        self.entries(self.db.scan_prefix(prefix))
    }

    fn entries(
        &self,
        iter: sled::Iter,
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StorageError>> {
        iter.map(|entry| entry.map_err(|error| sled_error(&self.path, "read", error)))
    }

    /// Writes a batch, all or nothing. Not yet synced: call [`Database::sync`] before the next one.
    pub(crate) fn apply(&self, batch: sled::Batch) -> Result<(), StorageError> {
        self.db.apply_batch(batch).map_err(|error| sled_error(&self.path, "write to", error))
    }

    /// Syncs all that was written.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        let flushed = self.db.flush().map_err(|error| sled_error(&self.path, "sync", error))?;
        // Since it was opened, not since this call: the flusher thread may just have synced what this call waited for.
        if flushed > 0 && real_sync::calls() == self.syncs_at_open {
            return Err(StorageError::Refused {
                path: self.path.clone(),
                detail: "this build's sled does not sync: `sync_file_range` was not replaced by `fdatasync`"
                    .into(),
                remedy: "build quorated so that the symbol defined in quorate-storage is linked",
            });
        }
        self.file.sync_data().map_err(StorageError::io("sync", &self.path.join("db")))?;
        noted(&self.config, &self.path)
    }

    /// What the watchdog asks about.
    pub(crate) fn note(&self) -> (sled::Config, PathBuf) {
        (self.config.clone(), self.path.clone())
    }

    /// Asks about whichever database `noted` holds.
    pub(crate) fn health(shared: &Noted) -> Health {
        let shared = Arc::clone(shared);
        Box::new(move || match &*shared.lock() {
            Some((config, path)) => noted(config, path),
            None => Ok(()),
        })
    }

    /// Closes it and waits until sled's threads have let go of the file.
    pub(crate) fn close(self) {
        let Database { path, db, config, file, .. } = self;
        drop((db, config));
        let deadline = Instant::now() + LOCK_WAIT;
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= deadline {
                tracing::warn!(path = %path.display(), "sled's threads still hold the file after it was closed");
                return;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }
}

/// sled's own note of an error in one of its I/O threads.
fn noted(config: &sled::Config, path: &Path) -> Result<(), StorageError> {
    config.global_error().map_err(|error| sled_error(path, "write to", error))
}

fn is_locked(error: &StorageError) -> bool {
    // sled wraps the error of its lock and keeps its text alone.
    matches!(error, StorageError::Io { source, .. } if source.to_string().contains("could not acquire lock"))
}

/// Removes what a kill while opening left behind.
fn remove_unfinished(path: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(path).map_err(StorageError::io("list", path))? {
        let entry = entry.map_err(StorageError::io("list", path))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            let file = entry.path();
            tracing::info!(path = %file.display(), "removing what an interrupted start left");
            fs::remove_file(&file).map_err(StorageError::io("remove", &file))?;
        }
    }
    Ok(())
}
