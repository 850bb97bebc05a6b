//! The data directory: one process at a time, and it remembers whose it is.
//!
//! ```text
//! LOCK        locked (flock) while a process uses the directory; holds its pid
//! identity    format version, cluster id, node id, incarnation, checksum
//! floor       see `floor`
//! log/        the Raft log
//! sessions/   the session store
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::disk::Disk;
use crate::error::{REMEDY_NEW_ID, StorageError};
use crate::floor::Floor;

const IDENTITY_FORMAT: u8 = 1;

/// Half of a cluster id.
const HALF_BITS: u32 = 32;

/// A cluster id of two halves: which cluster of that name it is, from its founding members, can be told from the
/// directory alone; which name it has is also known from the settings.
#[must_use]
pub fn cluster_id(name: u64, founding: u64) -> u64 {
    // Never zero: that is no cluster.
    (name << HALF_BITS) | (founding & u64::from(u32::MAX)) | 1
}

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster; see [`cluster_id`].
    pub cluster_id: u64,
    /// The node.
    pub node_id: u64,
}

#[derive(Serialize, Deserialize)]
struct IdentityRecord {
    identity: Identity,
    incarnation: u64,
}

/// An open, locked data directory. Clones share the lock; it is released with the last one.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    cluster_id: u64,
    incarnation: u64,
    fresh: bool,
    disk: Disk,
    _lock: Arc<File>,
}

impl DataDir {
    /// Opens `path`, creating it when absent, and locks it. A new directory gets `identity` and `incarnation`, synced
    /// before this returns; an existing one must be of the same node and of a cluster of the same name, and keeps the
    /// cluster id that it was founded with.
    ///
    /// # Errors
    /// In use by a live process, another node's or cluster's, damaged, or not accessible.
    pub fn open(path: &Path, identity: Identity, incarnation: u64) -> Result<DataDir, StorageError> {
        Self::open_on(Disk::default(), path, identity, incarnation)
    }

    /// As [`DataDir::open`], with log and floor file on `disk`.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub fn open_on(
        disk: Disk,
        path: &Path,
        identity: Identity,
        incarnation: u64,
    ) -> Result<DataDir, StorageError> {
        fs::create_dir_all(path).map_err(StorageError::io("create the data directory", path))?;
        let lock = lock(path)?;
        let file = path.join("identity");
        let (record, fresh) = match fs::read(&file) {
            Ok(bytes) => (check_identity(&file, &bytes, identity)?, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                refuse_leftovers(path, &disk)?;
                // The floor file first: with an identity, a missing floor file is always a lost one.
                Floor::create(path, &disk)?;
                let record = IdentityRecord { identity, incarnation };
                write_identity(path, &record)?;
                (record, true)
            }
            Err(error) => return Err(StorageError::io("read", &file)(error)),
        };
        let IdentityRecord { identity: Identity { cluster_id, .. }, incarnation } = record;
        Ok(DataDir { path: path.to_owned(), cluster_id, incarnation, fresh, disk, _lock: Arc::new(lock) })
    }

    /// The cluster that it belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// The random number that this directory got when it was made.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether this process made it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Where the Raft log lives.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the session store lives.
    #[must_use]
    pub fn sessions_path(&self) -> PathBuf {
        self.path.join("sessions")
    }

    /// The floor file.
    #[must_use]
    pub fn floor_path(&self) -> PathBuf {
        self.path.join("floor")
    }
}

/// Makes entries created in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    let handle = File::open(dir).map_err(StorageError::io("open the directory", dir))?;
    handle.sync_all().map_err(StorageError::io("sync the directory", dir))
}

fn lock(dir: &Path) -> Result<File, StorageError> {
    let path = dir.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StorageError::io("open", &path))?;
    if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(StorageError::io("lock", &path)(error.into()));
        }
        let mut holder = String::new();
        // Best effort: the pid only makes the message better.
        let _ = file.read_to_string(&mut holder);
        let holder = holder.trim();
        return Err(StorageError::Refused {
            path: dir.to_owned(),
            detail: if holder.is_empty() {
                "another process uses this data directory".to_owned()
            } else {
                format!("process {holder} uses this data directory")
            },
            remedy: "stop it first, or give this node a data directory of its own",
        });
    }
    let pid = std::process::id().to_string();
    file.set_len(0)
        .and_then(|()| file.write_all(pid.as_bytes()))
        .map_err(StorageError::io("write", &path))?;
    Ok(file)
}

fn check_identity(file: &Path, bytes: &[u8], expected: Identity) -> Result<IdentityRecord, StorageError> {
    let corrupt = |detail: &str| StorageError::Corrupt {
        path: file.to_owned(),
        detail: detail.to_owned(),
        remedy: REMEDY_NEW_ID,
    };
    let Some((body, sum)) = bytes.split_last_chunk::<8>() else {
        return Err(corrupt("it is too short"));
    };
    if checksum(body) != u64::from_le_bytes(*sum) {
        return Err(corrupt("its checksum does not match"));
    }
    let record: IdentityRecord = match body.split_first() {
        Some((&IDENTITY_FORMAT, rest)) => {
            postcard::from_bytes(rest).map_err(|error| corrupt(&format!("it does not decode: {error}")))?
        }
        Some((found, _)) => {
            return Err(corrupt(&format!("it has format {found}, this version reads {IDENTITY_FORMAT}")));
        }
        None => return Err(corrupt("it is empty")),
    };
    let found = record.identity;
    let same_name = found.cluster_id >> HALF_BITS == expected.cluster_id >> HALF_BITS;
    if found.node_id != expected.node_id || !same_name {
        return Err(StorageError::Refused {
            path: file.to_owned(),
            detail: format!(
                "it belongs to node {} of cluster {:016x}, not to node {} of cluster {:016x}",
                found.node_id, found.cluster_id, expected.node_id, expected.cluster_id
            ),
            remedy: "check node-id, cluster-name and data-dir",
        });
    }
    Ok(record)
}

/// A directory without an identity must hold nothing else of ours: it may be one that lost its identity file.
fn refuse_leftovers(dir: &Path, disk: &Disk) -> Result<(), StorageError> {
    for name in ["floor", "log", "sessions"] {
        let left = dir.join(name);
        // A start that was killed while it made the directory leaves a floor file that holds nothing.
        if left.exists() && !(name == "floor" && Floor::is_pristine(&left, disk)) {
            return Err(StorageError::Corrupt {
                path: dir.join("identity"),
                detail: format!("it is missing, but `{name}` is there"),
                remedy: REMEDY_NEW_ID,
            });
        }
    }
    Ok(())
}

fn write_identity(dir: &Path, record: &IdentityRecord) -> Result<(), StorageError> {
    let (file, draft) = (dir.join("identity"), dir.join("identity.new"));
    let encoded = postcard::to_extend(record, vec![IDENTITY_FORMAT]);
    let mut bytes =
        encoded.map_err(|error| StorageError::io("encode", &draft)(std::io::Error::other(error)))?;
    bytes.extend(checksum(&bytes).to_le_bytes());
    let mut out = File::create(&draft).map_err(StorageError::io("create", &draft))?;
    out.write_all(&bytes).and_then(|()| out.sync_all()).map_err(StorageError::io("write", &draft))?;
    fs::rename(&draft, &file).map_err(StorageError::io("rename to", &file))?;
    sync_dir(dir)?;
    match dir.canonicalize().ok().and_then(|full| full.parent().map(Path::to_owned)) {
        Some(parent) => sync_dir(&parent),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
