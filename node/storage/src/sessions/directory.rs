//! The session store's directory.
//!
//! ```text
//! CURRENT    three lines: `quorate-sessions 1`, the name of the directory in force, a checksum of both
//! state-N    a sled database; others than the one in force are left over from an interrupted start or install
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::checksum;
use crate::data_dir::sync_dir;
use crate::error::{REMEDY_NEW_ID, StorageError};

const HEAD: &str = "quorate-sessions 1";
const PREFIX: &str = "state-";

pub(crate) struct SessionsDir {
    path: PathBuf,
}

impl SessionsDir {
    /// Makes the directory when it is absent.
    pub(crate) fn open(path: PathBuf) -> Result<SessionsDir, StorageError> {
        if !path.is_dir() {
            fs::create_dir(&path).map_err(StorageError::io("create the directory", &path))?;
            if let Some(parent) = path.parent() {
                sync_dir(parent)?;
            }
        }
        Ok(SessionsDir { path })
    }

    pub(crate) fn current_path(&self) -> PathBuf {
        self.path.join("CURRENT")
    }

    pub(crate) fn state_path(&self, number: u64) -> PathBuf {
        self.path.join(format!("{PREFIX}{number}"))
    }

    /// The number of the directory in force; `None` when none was ever put in force.
    pub(crate) fn current(&self) -> Result<Option<u64>, StorageError> {
        let path = self.current_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("read", &path)(error)),
        };
        let number = str::from_utf8(&bytes).ok().and_then(decode).ok_or_else(|| StorageError::Corrupt {
            path: path.clone(),
            detail: "it does not name the directory in force".into(),
            remedy: REMEDY_NEW_ID,
        })?;
        let state = self.state_path(number);
        if state.join("db").is_file() {
            return Ok(Some(number));
        }
        Err(StorageError::Corrupt {
            path: state,
            detail: "CURRENT names it, but there is no database in it".into(),
            remedy: REMEDY_NEW_ID,
        })
    }

    /// Puts a directory in force; durable when it returns.
    pub(crate) fn switch(&self, number: u64) -> Result<(), StorageError> {
        let (path, draft) = (self.current_path(), self.path.join("CURRENT.new"));
        let mut file = File::create(&draft).map_err(StorageError::io("create", &draft))?;
        file.write_all(encode(number).as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(StorageError::io("write", &draft))?;
        fs::rename(&draft, &path).map_err(StorageError::io("rename to", &path))?;
        sync_dir(&self.path)
    }

    /// Removes every database but the one in force. Call only when it is certain which that is.
    pub(crate) fn remove_others(&self, keep: Option<u64>) -> Result<(), StorageError> {
        let entries = fs::read_dir(&self.path).map_err(StorageError::io("list", &self.path))?;
        for entry in entries {
            let name = entry.map_err(StorageError::io("list", &self.path))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok());
            if let Some(number) = number
                && Some(number) != keep
            {
                self.remove(number)?;
            }
        }
        Ok(())
    }

    /// Removes a database that is not, or no longer, in force.
    pub(crate) fn remove(&self, number: u64) -> Result<(), StorageError> {
        let path = self.state_path(number);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StorageError::io("remove", &path)(error))
            }
            _ => sync_dir(&self.path),
        }
    }
}

fn encode(number: u64) -> String {
    let text = format!("{HEAD}\n{PREFIX}{number}\n");
    let sum = checksum(text.as_bytes());
    format!("{text}{sum:016x}\n")
}

fn decode(text: &str) -> Option<u64> {
    let number = text.lines().nth(1)?.strip_prefix(PREFIX)?.parse().ok()?;
    // Whatever differs from what would be written is damage.
    (text == encode(number)).then_some(number)
}

/// Syncs a file that somebody else wrote.
pub(crate) fn sync_file(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StorageError::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_current_is_noticed() {
        let text = encode(42);
        assert_eq!(decode(&text), Some(42));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(str::from_utf8(&bytes).ok().and_then(decode), None, "bit {bit}");
        }
        for length in 0..text.len() {
            assert_eq!(decode(&text[..length]), None, "length {length}");
        }
    }
}
