//! Delivery: how a new id reaches whoever asked for it, also when nobody knows whether it is in use.

use std::path::Path;

use quorate_client::{Created, Error, SessionId};

use super::receipt::{MaybeId, NewId};
use super::target::IdFile;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, print_bytes};

/// Where a new id goes.
pub(crate) struct Delivery {
    file: Option<IdFile>,
    quiet: bool,
}

impl Delivery {
    /// To the file `save_id`, which is opened now, or to standard output; there alone if `quiet`.
    ///
    /// # Errors
    ///
    /// [`Failure::Unwritten`] when it cannot be opened; [`Failure::Usage`] for `-`, which is no file.
    pub(crate) fn open(save_id: Option<&Path>, quiet: bool) -> Result<Delivery, Failure> {
        if save_id == Some(Path::new("-")) {
            let told = "--save-id takes a file, not -: without it the id goes to standard output";
            return Err(Failure::Usage(told.to_owned()));
        }
        let file = save_id.map(IdFile::open).transpose().map_err(Failure::without_effect)?;
        Ok(Delivery { file, quiet })
    }

    /// Delivers the id of a session that has it.
    ///
    /// # Errors
    ///
    /// [`Failure::Write`]. An id that could not be saved is printed: without it the session would be lost.
    pub(crate) fn deliver(self, context: &Context, created: &Created) -> Result<(), Failure> {
        let saved = self.file.map(|file| file.save(&created.id));
        if matches!(saved, Some(Err(_)) | None) && self.quiet && context.format == Format::Table {
            print_id(&created.id)?;
            return saved.unwrap_or(Ok(()));
        }
        let id = (!matches!(saved, Some(Ok(())))).then(|| created.id.reveal().to_owned());
        context.print(&NewId {
            id,
            handle: created.handle.clone(),
            version: created.version,
            position: created.position.to_string(),
        })?;
        saved.unwrap_or(Ok(()))
    }

    /// Delivers `id`, which the session may have or not: a call that was to give it to it ended with `error`. The id
    /// that it had before, `old`, is not overwritten. Returns the failure to tell.
    pub(crate) fn deliver_unconfirmed(
        self,
        context: &Context,
        error: Error,
        id: &SessionId,
        old: Option<&SessionId>,
    ) -> Failure {
        let printed = || -> Result<String, Failure> {
            match self.quiet && context.format == Format::Table {
                true => print_id(id)?,
                false => context.print(&MaybeId { id: id.reveal().to_owned() })?,
            }
            Ok("is on standard output".to_owned())
        };
        let place = match self.file {
            None => printed(),
            Some(file) => match file.save_unconfirmed(id, old) {
                Ok(path) => Ok(format!("is in {}", path.display())),
                Err(unsaved) => printed().map(|printed| format!("{printed} ({unsaved})")),
            },
        };
        match place {
            Ok(place) => Failure::Unconfirmed { error: Box::new(error), place, renamed: old.is_some() },
            Err(failure) => failure,
        }
    }
}

fn print_id(id: &SessionId) -> Result<(), Failure> {
    print_bytes(format!("{}\n", id.reveal()).as_bytes())
}
