//! Which of the `state-N` directories is the one: named by the file `CURRENT`, switched atomically.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::data_dir::sync_dir;
use crate::error::{REMEDY_NEW_ID, StorageError};

const FILE: &str = "CURRENT";

/// The number in `CURRENT`, or `None` in a new directory.
pub(super) fn read(sessions: &Path) -> Result<Option<u64>, StorageError> {
    let path = sessions.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read", &path)(error)),
    };
    let number = text.trim().strip_prefix("state-").and_then(|number| number.parse().ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(StorageError::Corrupt { path, detail: "it names no state".into(), remedy: REMEDY_NEW_ID }),
    }
}

/// Makes `number` the one; durable when it returns.
pub(super) fn switch(sessions: &Path, number: u64) -> Result<(), StorageError> {
    let (path, draft) = (sessions.join(FILE), sessions.join("CURRENT.new"));
    let mut file = File::create(&draft).map_err(StorageError::io("create", &draft))?;
    writeln!(file, "state-{number}")
        .and_then(|()| file.sync_all())
        .map_err(StorageError::io("write", &draft))?;
    fs::rename(&draft, &path).map_err(StorageError::io("rename to", &path))?;
    sync_dir(sessions)
}

/// The directory of state `number`.
pub(super) fn directory(sessions: &Path, number: u64) -> PathBuf {
    sessions.join(format!("state-{number}"))
}

/// Removes every `state-*` directory but that of `keep`: half installed or replaced ones.
pub(super) fn remove_others(sessions: &Path, keep: Option<u64>) -> Result<(), StorageError> {
    let keep = keep.map(|number| directory(sessions, number));
    let entries = fs::read_dir(sessions).map_err(StorageError::io("list", sessions))?;
    for entry in entries {
        let path = entry.map_err(StorageError::io("list", sessions))?.path();
        let is_state = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("state-"));
        if is_state && keep.as_ref() != Some(&path) {
            fs::remove_dir_all(&path).map_err(StorageError::io("remove", &path))?;
        }
    }
    Ok(())
}
