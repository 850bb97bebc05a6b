//! Target: which session a command means, and where a new id goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use quorate_client::SessionId;

use crate::failure::Failure;
use crate::input::Input;

/// How session ids are given, for the help of each command that takes one.
pub(crate) const ID_HELP: &str = "\
Session ids are secrets:
  An ID on the command line is visible to every user of this machine (ps) and stays in the
  shell's history. Prefer --id-file FILE, or - to read the id from standard input. Put -- before
  an ID that may start with a hyphen.";

/// The session a command is about.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The session's id, or - to read it from standard input; visible in ps, so prefer --id-file
    #[arg(value_name = "ID", required_unless_present = "id_file", allow_hyphen_values = true)]
    id: Option<Secret>,

    /// Read the session's id from a file
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    id_file: Option<PathBuf>,
}

impl Target {
    /// The id.
    ///
    /// # Errors
    ///
    /// As [`Input::session_id`].
    pub(crate) fn read(&self, input: &mut Input) -> Result<SessionId, Failure> {
        read_id(self.id.as_ref(), self.id_file.as_deref(), input)
    }
}

/// A session's handle, as `session ls` shows it.
///
/// # Errors
///
/// What is wrong with `text`, for clap.
pub(crate) fn handle(text: &str) -> Result<String, String> {
    match text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("a handle has 32 hexadecimal digits; `session ls` lists them".to_owned()),
    }
}

/// As [`Input::session_id`], for an id that is still hidden.
///
/// # Errors
///
/// As [`Input::session_id`].
pub(crate) fn read_id(
    id: Option<&Secret>,
    file: Option<&Path>,
    input: &mut Input,
) -> Result<SessionId, Failure> {
    input.session_id(id.map(|Secret(id)| id.as_str()), file)
}

/// An argument that `Debug` does not show.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Secret, Self::Err> {
        Ok(Secret(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a new id is written instead of standard output.
pub(crate) struct IdFile {
    path: PathBuf,
    file: File,
    /// It was not there before, and nothing has been saved yet: without an id it goes away again.
    new: bool,
}

impl IdFile {
    /// Opens the file, readable by its owner alone, and leaves what is in it for now: a full disk or a missing
    /// folder shows before the session exists, and a failed call loses nothing.
    ///
    /// # Errors
    ///
    /// [`Failure::Write`] when it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<IdFile, Failure> {
        let (file, new) = open_private(path).map_err(|source| failed(path, source))?;
        Ok(IdFile { path: path.to_owned(), file, new })
    }

    /// Makes `id` and a line break the file's whole content, synced.
    ///
    /// # Errors
    ///
    /// [`Failure::Write`] when it cannot be written.
    pub(crate) fn save(mut self, id: &SessionId) -> Result<(), Failure> {
        let line = format!("{}\n", id.reveal());
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let saved = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(line.as_bytes()))
            .and_then(|()| self.file.set_len(length))
            .and_then(|()| self.file.sync_all());
        saved.map_err(|source| failed(&self.path, source))?;
        self.new = false;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if self.new {
            // An empty file that stays is untidy, and no more.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl IdFile {
    /// As [`Self::save`], for an id that the session may have or not: where the file holds `old`, which may be the
    /// live one, it is left alone, and a file beside it, with `.new` at the end of its name, is written. Returns which.
    ///
    /// # Errors
    ///
    /// [`Failure::Write`] when it cannot be written.
    pub(crate) fn save_unconfirmed(
        self,
        id: &SessionId,
        old: Option<&SessionId>,
    ) -> Result<PathBuf, Failure> {
        let held = fs::read_to_string(&self.path).unwrap_or_default();
        let file = match old {
            Some(old) if held.trim() == old.reveal() => {
                let mut beside = self.path.clone().into_os_string();
                beside.push(".new");
                IdFile::open(Path::new(&beside))?
            }
            _ => self,
        };
        let path = file.path.clone();
        file.save(id)?;
        Ok(path)
    }
}

fn failed(path: &Path, source: io::Error) -> Failure {
    Failure::Write { what: path.display().to_string(), source }
}

/// The file, for its owner alone, and whether it was made now.
fn open_private(path: &Path) -> io::Result<(File, bool)> {
    match private(OpenOptions::new().write(true).create_new(true)).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((open_there(path)?, false)),
        made => Ok((made?, true)),
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn open_there(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::PermissionsExt as _;
    // Also where a link leads that leads nowhere yet.
    let file = private(OpenOptions::new().write(true).create(true).truncate(false)).open(path)?;
    if file.metadata()?.is_file() {
        // The file may have been there before, with wider permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(not(unix))]
fn open_there(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_saved_id_is_its_owners_alone_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("id");
        fs::write(&path, "something longer than an id ".repeat(10)).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        let file = IdFile::open(&path).expect("opened");
        assert!(fs::read_to_string(&path).expect("read").starts_with("something"), "opening changes nothing");
        let id: SessionId = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().expect("valid");
        file.save(&id).expect("saved");
        assert_eq!(fs::read_to_string(&path).expect("read"), format!("{}\n", id.reveal()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_id_that_may_be_dead_does_not_overwrite_the_one_that_may_be_live() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("id");
        let (old, new, newer) = (SessionId::random(), SessionId::random(), SessionId::random());
        IdFile::open(&path).expect("opened").save(&old).expect("saved");
        let saved = IdFile::open(&path).expect("opened").save_unconfirmed(&new, Some(&old)).expect("saved");
        assert_eq!(saved, folder.path().join("id.new"));
        assert_eq!(fs::read_to_string(&path).expect("read").trim(), old.reveal());
        assert_eq!(fs::read_to_string(&saved).expect("read").trim(), new.reveal());
        assert_eq!(fs::metadata(&saved).expect("there").permissions().mode() & 0o777, 0o600);
        // What it holds is another id: it is where the new one goes.
        let saved = IdFile::open(&path).expect("opened").save_unconfirmed(&newer, Some(&new)).expect("saved");
        assert_eq!(saved, path);
        assert_eq!(fs::read_to_string(&path).expect("read").trim(), newer.reveal());
    }

    #[test]
    fn a_file_without_an_id_goes_away_unless_it_was_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&old, "an id").expect("written");
        drop(IdFile::open(&new).expect("opened"));
        drop(IdFile::open(&old).expect("opened"));
        assert!(!new.exists());
        assert_eq!(fs::read_to_string(&old).expect("read"), "an id");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let failure = IdFile::open(Path::new("/nonexistent/id")).err().expect("refused");
        assert!(failure.to_string().contains("/nonexistent/id"), "{failure}");
    }

    #[test]
    fn a_handle_is_no_id() {
        assert_eq!(handle(&"3F".repeat(16)), Ok("3f".repeat(16)));
        assert!(handle("3f").is_err() && handle(&"x".repeat(32)).is_err());
    }

    #[test]
    fn debug_hides_the_id() {
        assert!(!format!("{:?}", Secret("sesame".to_owned())).contains("sesame"));
    }
}
