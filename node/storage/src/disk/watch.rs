//! What may look on while files are written.

use std::io;
use std::path::Path;

/// One operation on a file, about to be done.
#[derive(Clone, Copy, Debug)]
pub enum DiskEvent<'a> {
    /// A file is created, or opened for writing if it is there.
    Create(&'a Path),
    /// A file is opened.
    Open(&'a Path),
    /// Bytes are written; durable after a [`DiskEvent::Sync`].
    Write {
        /// The file.
        path: &'a Path,
        /// Where, in bytes from its begin.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// A file is cut, or extended with zeros.
    Truncate {
        /// The file.
        path: &'a Path,
        /// Its new length in bytes.
        length: u64,
    },
    /// A file is extended with zeros if it is shorter.
    Allocate {
        /// The file.
        path: &'a Path,
        /// Its least length in bytes.
        length: u64,
    },
    /// What was written to a file becomes durable (`fdatasync`).
    Sync(&'a Path),
    /// A file takes another's name.
    Rename {
        /// Its name so far.
        from: &'a Path,
        /// Its new name.
        to: &'a Path,
    },
    /// A file is removed.
    Delete(&'a Path),
}

impl<'a> DiskEvent<'a> {
    /// The file that it is about.
    #[must_use]
    pub fn path(&self) -> &'a Path {
        match self {
            DiskEvent::Create(path)
            | DiskEvent::Open(path)
            | DiskEvent::Write { path, .. }
            | DiskEvent::Truncate { path, .. }
            | DiskEvent::Allocate { path, .. }
            | DiskEvent::Sync(path)
            | DiskEvent::Rename { from: path, .. }
            | DiskEvent::Delete(path) => path,
        }
    }
}

/// Sees each operation before it is done. With a watch the operating system is never asked to sync: what is durable
/// is the watch's to say.
pub trait DiskWatch: Send + Sync {
    /// Called before the operation.
    ///
    /// # Errors
    /// An error refuses the operation: it is not done and fails with this error.
    fn before(&self, event: DiskEvent<'_>) -> io::Result<()>;
}
