//! Watches: what happens to the sessions of a namespace, as it happens.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream, StreamExt as _};
use parking_lot::Mutex;
use quorate_proto::v1;

use crate::client::Client;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::event::{Event, EventKind};
use crate::watcher::Watcher;

/// Which events are watched.
#[derive(Clone)]
#[must_use]
pub struct WatchOptions {
    kinds: Vec<EventKind>,
    principal: Option<String>,
    after: Option<Cursor>,
    attributes: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions { kinds: Vec::new(), principal: None, after: None, attributes: true }
    }
}

impl WatchOptions {
    /// All events from now on, with the last attributes of sessions that end. Now is where the leader is: what was
    /// acknowledged before is not told, what happens from then on is, whichever node tells it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only events of these kinds; may be called again for more.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds.extend(kinds);
        self
    }

    /// Only sessions that are this user's, or were before the event.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Begins behind this: the [`Event::cursor`] that was handled last, a [`Watch::cursor`], or the position of a write.
    pub fn after(mut self, cursor: impl Into<Cursor>) -> Self {
        self.after = Some(cursor.into());
        self
    }

    /// Leaves out the last attributes of sessions that end.
    pub fn without_attributes(mut self) -> Self {
        self.attributes = false;
        self
    }

    fn into_wire(self, namespace: String) -> v1::WatchRequest {
        v1::WatchRequest {
            namespace,
            kinds: self.kinds.into_iter().map(|kind| kind.into_wire().into()).collect(),
            principal: self.principal,
            after: self.after.map(v1::Cursor::from),
            without_attributes: !self.attributes,
        }
    }
}

/// Whom it is about is personal data.
impl fmt::Debug for WatchOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchOptions")
            .field("kinds", &self.kinds)
            .field("after", &self.after)
            .field("attributes", &self.attributes)
            .finish_non_exhaustive()
    }
}

/// The events of a namespace in their order: a [`Stream`].
///
/// When its node is lost it goes on at another one where it was, for as long as that takes: each event comes once. What
/// its reader had not handled when it stopped itself comes again when it resumes at the cursor that it kept.
///
/// It ends behind its first error: `OutOfRange` when the reader was away, or slow, for so long that events are no longer
/// kept; `NotFound` when the namespace was deleted; or when the caller may not watch it.
pub struct Watch {
    events: Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>,
    cursor: Arc<Mutex<Option<Cursor>>>,
}

impl Client {
    /// Watches the namespace, from now or from where the options say. Returns once a node has taken the watch: every event
    /// after that comes.
    ///
    /// # Errors
    /// `OutOfRange`, `NotFound`, `InvalidArgument`; `Unavailable` when no node took it before the client's deadline, or no
    /// leader could say by then where now is.
    pub async fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        let request = options.into_wire(self.namespace.to_string());
        let watcher = Watcher::begin(Arc::clone(&self.caller), request).await?;
        let cursor = watcher.cursor();
        let events = stream::unfold(Some(watcher), async |watcher| {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(event) => Some((Ok(event), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Watch { events: Box::pin(events), cursor })
    }
}

impl Watch {
    /// The next event; `None` behind an error. No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.next().await
    }

    /// How far it has come: all that happened up to here was handed out, or not asked for. Further than the last event's
    /// cursor where nothing of interest happened since: what to keep so that a resume is not out of range.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        *self.cursor.lock()
    }
}

impl Stream for Watch {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("cursor", &self.cursor()).finish_non_exhaustive()
    }
}
