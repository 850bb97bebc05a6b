//! A disk that knows, file by file, what is synced and what is only written: what a power cut may leave.
//!
//! The files themselves are real; only their durability is simulated. Names (create, rename, delete) are taken as
//! durable at once, as a journalling file system orders them before the data that is synced after.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::Disk;
use super::watch::{DiskEvent, DiskWatch};

/// A write is torn at a multiple of this.
const SECTOR_BYTES: usize = 512;

/// What happens to what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of it reaches the disk.
    Everything,
    /// All of it does, as after a kill of the process alone.
    Nothing,
    /// Any part does, in any order, writes torn between sectors; as this seed says.
    Some(u64),
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
    AtLeast(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, bytes_max: usize) {
        match self {
            Change::Write { offset, bytes } => {
                let bytes = bytes.get(..bytes_max).unwrap_or(bytes);
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                if let Some(place) = content.get_mut(*offset..end) {
                    place.copy_from_slice(bytes);
                }
            }
            Change::Length(length) => content.resize(*length, 0),
            Change::AtLeast(length) => content.resize(content.len().max(*length), 0),
        }
    }
}

#[derive(Default)]
struct SimulatedFile {
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

impl SimulatedFile {
    fn left_after(&self, loss: Loss, salt: u64) -> Vec<u8> {
        let mut content = self.synced.clone();
        let mut dice = match loss {
            Loss::Some(seed) => seed ^ salt.rotate_left(32),
            _ => 0,
        };
        for change in &self.unsynced {
            let bytes_max = match loss {
                Loss::Everything => continue,
                Loss::Nothing => usize::MAX,
                Loss::Some(_) => match roll(&mut dice) % 4 {
                    0 => continue,
                    1 => usize::from(u8::try_from(roll(&mut dice) % 8).unwrap_or(0)) * SECTOR_BYTES,
                    _ => usize::MAX,
                },
            };
            change.apply(&mut content, bytes_max);
        }
        content
    }
}

/// SplitMix64: the next number, and the next state.
fn roll(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The files that a crash leaves.
pub struct Image {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    /// Writes the files that lay under `from` to the same places under `to`.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn write(&self, from: &Path, to: &Path) -> io::Result<()> {
        for (path, content) in &self.files {
            let Ok(name) = path.strip_prefix(from) else { continue };
            let target = to.join(name);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(target, content)?;
        }
        Ok(())
    }
}

type OnStep = Box<dyn FnMut(&Files) + Send>;

/// All files as they are at one moment.
#[derive(Default)]
pub struct Files {
    files: BTreeMap<PathBuf, SimulatedFile>,
}

impl Files {
    /// What a crash at this moment leaves.
    #[must_use]
    pub fn image(&self, loss: Loss) -> Image {
        let left = |(number, (path, file)): (u64, (&PathBuf, &SimulatedFile))| {
            (path.clone(), file.left_after(loss, number))
        };
        Image { files: (0..).zip(&self.files).map(left).collect() }
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut SimulatedFile> {
        // A file from before this disk: all of it is synced.
        if !self.files.contains_key(path) {
            let synced = if path.exists() { fs::read(path)? } else { Vec::new() };
            self.files.insert(path.to_owned(), SimulatedFile { synced, unsynced: Vec::new() });
        }
        self.files.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(&mut self, event: DiskEvent<'_>) -> io::Result<()> {
        let length = |length| usize::try_from(length).map_err(io::Error::other);
        match event {
            DiskEvent::Create(path) | DiskEvent::Open(path) => drop(self.file(path)?),
            DiskEvent::Write { path, offset, bytes } => {
                let change = Change::Write { offset: length(offset)?, bytes: bytes.to_vec() };
                self.file(path)?.unsynced.push(change);
            }
            DiskEvent::Truncate { path, length: to } => {
                let change = Change::Length(length(to)?);
                self.file(path)?.unsynced.push(change);
            }
            DiskEvent::Allocate { path, length: to } => {
                let change = Change::AtLeast(length(to)?);
                self.file(path)?.unsynced.push(change);
            }
            DiskEvent::Sync(path) => {
                let file = self.file(path)?;
                for change in std::mem::take(&mut file.unsynced) {
                    change.apply(&mut file.synced, usize::MAX);
                }
            }
            DiskEvent::Rename { from, to } => {
                self.file(from)?;
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.to_owned(), file);
                }
            }
            DiskEvent::Delete(path) => drop(self.files.remove(path)),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Inner {
    files: Files,
    steps: u64,
    syncs: BTreeMap<PathBuf, u64>,
    fail: Option<(u64, io::ErrorKind)>,
    on_step: Option<OnStep>,
}

/// The watch behind [`Disk::watched`]; clones share it.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimulatedDisk {
    /// A disk on which nothing is written yet.
    #[must_use]
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    /// The disk to open a data directory on.
    #[must_use]
    pub fn disk(&self) -> Disk {
        Disk::watched(Arc::new(self.clone()))
    }

    /// Operations so far that change something on the disk.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.inner.lock().steps
    }

    /// Syncs so far of the files in the directory `dir`.
    #[must_use]
    pub fn syncs_in(&self, dir: &Path) -> u64 {
        self.inner.lock().syncs.iter().filter(|(path, _)| path.starts_with(dir)).map(|(_, count)| count).sum()
    }

    /// Lets every step from the one numbered `step` on (from 0) fail with `kind`.
    pub fn fail_from(&self, step: u64, kind: io::ErrorKind) {
        self.inner.lock().fail = Some((step, kind));
    }

    /// Calls `on_step` before each step, with the files as they are. Nothing else may be asked of the disk there.
    pub fn on_step(&self, on_step: impl FnMut(&Files) + Send + 'static) {
        self.inner.lock().on_step = Some(Box::new(on_step));
    }

    /// Ends [`SimulatedDisk::on_step`].
    pub fn end_steps(&self) {
        self.inner.lock().on_step = None;
    }

    /// What a crash now leaves.
    #[must_use]
    pub fn image(&self, loss: Loss) -> Image {
        self.inner.lock().files.image(loss)
    }
}

impl DiskWatch for SimulatedDisk {
    fn before(&self, event: DiskEvent<'_>) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if !matches!(event, DiskEvent::Open(_)) {
            if let Some(on_step) = &mut inner.on_step {
                on_step(&inner.files);
            }
            inner.steps += 1;
            if let Some((from, kind)) = inner.fail
                && inner.steps > from
            {
                return Err(io::Error::new(kind, format!("injected: {kind}")));
            }
        }
        if let DiskEvent::Sync(path) = event {
            *inner.syncs.entry(path.to_owned()).or_default() += 1;
        }
        inner.files.apply(event)
    }
}
