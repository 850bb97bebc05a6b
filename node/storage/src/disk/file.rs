//! Files by offset, with errors that name the file and the errno (raft-engine's own drop the errno).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};

use super::watch::{DiskEvent, DiskWatch};

/// The operating system's files, watched or not. Clones share the watch.
#[derive(Clone, Default)]
pub struct Disk {
    watch: Option<Arc<dyn DiskWatch>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("watched", &self.watch.is_some()).finish()
    }
}

impl Disk {
    /// A disk whose every operation `watch` sees first.
    #[must_use]
    pub fn watched(watch: Arc<dyn DiskWatch>) -> Disk {
        Disk { watch: Some(watch) }
    }

    /// Makes names created in the directory `path` durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.watch.is_some() {
            return Ok(());
        }
        let directory = File::open(path).map_err(named("open", path))?;
        directory.sync_all().map_err(named("sync", path))
    }

    fn before(&self, event: DiskEvent<'_>) -> io::Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        watch.before(event).map_err(named("touch", event.path()))
    }

    fn file(&self, path: &Path, options: &OpenOptions) -> io::Result<DiskFile> {
        let file = options.open(path).map_err(named("open", path))?;
        Ok(DiskFile { file, path: path.to_owned(), disk: self.clone() })
    }
}

/// For `map_err`: the same error, saying what was done to which file.
fn named(action: &'static str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{action} {}: {error}", path.display()))
}

/// An open file.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    path: PathBuf,
    disk: Disk,
}

impl DiskFile {
    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.before(DiskEvent::Write { path: &self.path, offset, bytes })?;
        self.file.write_all_at(bytes, offset).map_err(named("write", &self.path))
    }

    /// Reads from `offset` until `bytes` is full.
    pub(crate) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(named("read", &self.path))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.before(DiskEvent::Truncate { path: &self.path, length })?;
        self.file.set_len(length).map_err(named("truncate", &self.path))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(named("look at", &self.path))?.len())
    }
}

impl Handle for DiskFile {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.set_len(offset as u64)
    }

    fn file_size(&self) -> io::Result<usize> {
        usize::try_from(self.length()?).map_err(io::Error::other)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.before(DiskEvent::Sync(&self.path))?;
        if self.disk.watch.is_some() {
            return Ok(());
        }
        self.file.sync_data().map_err(named("sync", &self.path))
    }
}

/// A place in an open file.
#[derive(Debug)]
pub struct DiskCursor {
    file: Arc<DiskFile>,
    offset: u64,
}

impl Read for DiskCursor {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.file.read_at(bytes, self.offset).map_err(named("read", &self.file.path))?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Write for DiskCursor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for DiskCursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.file.length()?.checked_add_signed(by),
        };
        self.offset = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.offset)
    }
}

impl WriteExt for DiskCursor {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        self.offset = offset as u64;
        self.file.set_len(self.offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        let (file, offset, size) = (&*self.file, offset as u64, size as u64);
        file.disk.before(DiskEvent::Allocate { path: &file.path, length: offset + size })?;
        match rustix::fs::fallocate(&file.file, rustix::fs::FallocateFlags::empty(), offset, size) {
            Err(error) if error != rustix::io::Errno::OPNOTSUPP => {
                Err(named("allocate space for", &file.path)(error.into()))
            }
            _ => Ok(()),
        }
    }
}

impl FileSystem for Disk {
    type Handle = DiskFile;
    type Reader = DiskCursor;
    type Writer = DiskCursor;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<DiskFile> {
        self.before(DiskEvent::Create(path.as_ref()))?;
        let mut options = OpenOptions::new();
        self.file(path.as_ref(), options.read(true).write(true).create(true).truncate(false))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<DiskFile> {
        self.before(DiskEvent::Open(path.as_ref()))?;
        let write = permission == Permission::ReadWrite;
        self.file(path.as_ref(), OpenOptions::new().read(true).write(write))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        self.before(DiskEvent::Delete(path))?;
        fs::remove_file(path).map_err(named("remove", path))
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.before(DiskEvent::Rename { from, to })?;
        fs::rename(from, to).map_err(named("rename", from))
    }

    fn new_reader(&self, file: Arc<DiskFile>) -> io::Result<DiskCursor> {
        Ok(DiskCursor { file, offset: 0 })
    }

    fn new_writer(&self, file: Arc<DiskFile>) -> io::Result<DiskCursor> {
        Ok(DiskCursor { file, offset: 0 })
    }
}
