//! The client handle: opened once for all callers, by a task that outlives each of them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind};
use crate::sequence::Sequences;

/// How far the opening of a handle has come.
#[derive(Clone, Debug)]
enum Stage {
    /// Under way; what the last try met.
    Trying(Option<Error>),
    Open(Arc<Sequences>),
    Refused(Error),
    /// Its time was up; what the last try met.
    Expired(Error),
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Closed,
    Opening(watch::Receiver<Stage>),
    Open(Arc<Sequences>),
}

/// The handle that all clones of a client share, or the way to it.
#[derive(Debug, Default)]
pub(crate) struct Handle {
    slot: Arc<Mutex<Slot>>,
}

/// What a caller finds.
pub(crate) enum Found {
    Open(Arc<Sequences>),
    Opening(Waiter),
}

impl Handle {
    /// The handle if it is open, else the opening that is under way. If there is none it is handed to `start`, to be
    /// run by a task of its own: each handle is an entry in the replicated log, so callers that go away must not
    /// leave it to the next one to open another.
    pub(crate) fn find(&self, start: impl FnOnce(Opener)) -> Found {
        let mut slot = self.slot.lock();
        match &*slot {
            Slot::Open(sequences) => return Found::Open(Arc::clone(sequences)),
            // A channel is closed too early when the task went down with its runtime.
            Slot::Opening(stage) if stage.has_changed().is_ok() => {
                return Found::Opening(Waiter { stage: stage.clone() });
            }
            Slot::Opening(_) | Slot::Closed => {}
        }
        let (told, stage) = watch::channel(Stage::Trying(None));
        *slot = Slot::Opening(stage.clone());
        drop(slot);
        start(Opener { slot: Arc::clone(&self.slot), told });
        Found::Opening(Waiter { stage })
    }

    /// The server no longer knows `sequences`. Late callers must not close what was opened since.
    pub(crate) fn forget(&self, sequences: &Arc<Sequences>) {
        let mut slot = self.slot.lock();
        if matches!(&*slot, Slot::Open(current) if Arc::ptr_eq(current, sequences)) {
            *slot = Slot::Closed;
        }
    }
}

/// The side that opens the handle.
#[derive(Debug)]
pub(crate) struct Opener {
    slot: Arc<Mutex<Slot>>,
    told: watch::Sender<Stage>,
}

impl Opener {
    /// A try met `error`; there will be another one.
    pub(crate) fn note(&self, error: &Error) {
        self.told.send_replace(Stage::Trying(Some(error.clone())));
    }

    pub(crate) fn open(self, client: u64) {
        let sequences = Sequences::new(client);
        *self.slot.lock() = Slot::Open(Arc::clone(&sequences));
        self.told.send_replace(Stage::Open(sequences));
    }

    /// Nobody would open it.
    pub(crate) fn refuse(self, error: Error) {
        *self.slot.lock() = Slot::Closed;
        self.told.send_replace(Stage::Refused(error));
    }

    /// Its time is up: whoever still wants it begins again. What the last try met says more than `error`.
    pub(crate) fn expire(self, error: Error) {
        *self.slot.lock() = Slot::Closed;
        self.told.send_modify(|stage| {
            let last = if let Stage::Trying(last) = stage { last.take() } else { None };
            *stage = Stage::Expired(last.unwrap_or(error));
        });
    }
}

/// The side that waits for the handle.
#[derive(Debug)]
pub(crate) struct Waiter {
    stage: watch::Receiver<Stage>,
}

/// How the opening ended.
pub(crate) enum Opened {
    Open(Arc<Sequences>),
    Refused(Error),
    /// It came to nothing; another one may not.
    Again(Error),
}

impl Waiter {
    /// Waits until the opening ends.
    pub(crate) async fn opened(&mut self) -> Opened {
        let given_up = || Error::local(ErrorKind::Unavailable, "the client handle could not be opened");
        let ended = self.stage.wait_for(|stage| !matches!(stage, Stage::Trying(_))).await;
        match ended.as_deref() {
            Ok(Stage::Open(sequences)) => Opened::Open(Arc::clone(sequences)),
            Ok(Stage::Refused(error)) => Opened::Refused(error.clone()),
            Ok(Stage::Expired(last)) => Opened::Again(last.clone()),
            Ok(Stage::Trying(_)) | Err(_) => Opened::Again(given_up()),
        }
    }

    /// What the last try met.
    pub(crate) fn last(&self) -> Option<Error> {
        match &*self.stage.borrow() {
            Stage::Trying(last) => last.clone(),
            Stage::Expired(last) => Some(last.clone()),
            Stage::Open(_) | Stage::Refused(_) => None,
        }
    }
}
