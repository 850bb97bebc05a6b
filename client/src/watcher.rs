//! The side of a watch that talks to nodes: any node, and when that is lost the next one, from where it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation;
use quorate_proto::v1::sessions_client::SessionsClient;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::call::{Caller, Route, unexpected};
use crate::cursor::Cursor;
use crate::dialler::explain;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::position::Position;

/// Pauses between tries to find a node that takes the watch.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Nodes say every few seconds how far they are, and while there is a leader that moves on. One that says nothing new
/// for this long may be cut off from the others, and is left.
const STALL_MAX: Duration = Duration::from_secs(12);

/// A watch, between any two of its events.
pub(crate) struct Watcher {
    caller: Arc<Caller>,
    request: v1::WatchRequest,
    line: Option<Streaming<v1::WatchResponse>>,
    /// Received, not handed out; then how far that reaches.
    events: VecDeque<v1::Event>,
    reach: Option<Cursor>,
    /// Handed out up to here.
    cursor: Arc<Mutex<Option<Cursor>>>,
    /// When its node took the watch, or last said something new.
    moved: Instant,
    backoff: Backoff,
}

impl Watcher {
    /// Finds a node that takes the watch, within the client's deadline.
    pub(crate) async fn begin(caller: Arc<Caller>, request: v1::WatchRequest) -> Result<Self, Error> {
        let until = Instant::now() + caller.deadline();
        let mut request = request;
        if request.after.is_none() {
            request.after = Some(now(&caller, &request.namespace).await?.into());
        }
        let cursor = Arc::new(Mutex::new(request.after.map(Cursor::from)));
        let backoff = Backoff::between(PAUSE_FIRST, PAUSE_MAX);
        let (line, events, reach) = (None, VecDeque::new(), None);
        let moved = Instant::now();
        let mut watcher = Watcher { caller, request, line, events, reach, cursor, moved, backoff };
        while watcher.line.is_none() {
            let Err(error) = watcher.open().await else { break };
            let pause = watcher.backoff.pause();
            if is_final(&error) {
                return Err(error.without_effect());
            }
            if Instant::now() + pause >= until {
                return Err(Error::deadline(Some(error), false));
            }
            tokio::time::sleep(pause).await;
        }
        // Whoever only watches learns in no other way where the other nodes are.
        let caller = Arc::clone(&watcher.caller);
        tokio::spawn(async move { caller.router().refresh(Instant::now() + caller.deadline()).await });
        Ok(watcher)
    }

    /// How far it has come.
    pub(crate) fn cursor(&self) -> Arc<Mutex<Option<Cursor>>> {
        Arc::clone(&self.cursor)
    }

    /// The next event, however long it takes.
    pub(crate) async fn next(&mut self) -> Result<Event, Error> {
        loop {
            while let Some(event) = self.events.pop_front() {
                let event = Event::from(event);
                if self.advance(event.cursor) {
                    return Ok(event);
                }
            }
            if let Some(reach) = self.reach.take() {
                self.advance(reach);
            }
            if let Err(error) = self.receive().await {
                self.line = None;
                if is_final(&error) {
                    return Err(error.without_effect());
                }
                tracing::debug!(%error, "a watch goes on at another node");
                tokio::time::sleep(self.backoff.pause()).await;
            }
        }
    }

    /// Whether `cursor` is news. After a resume some events come again.
    fn advance(&mut self, cursor: Cursor) -> bool {
        let mut reached = self.cursor.lock();
        let news = reached.is_none_or(|reached| reached < cursor);
        if news {
            *reached = Some(cursor);
        }
        news
    }

    /// Takes one message, from another node if need be.
    async fn receive(&mut self) -> Result<(), Error> {
        let Some(line) = &mut self.line else { return self.open().await };
        let message = match timeout_at(self.moved + STALL_MAX, line.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Err(unavailable("the node ended the watch")),
            Ok(Err(status)) => return Err(Error::from_status(&status)),
            Err(_) => return Err(unavailable(format!("the node said nothing new for {STALL_MAX:?}"))),
        };
        let reached = *self.cursor.lock();
        if !message.events.is_empty() || message.cursor.map(Cursor::from) > reached {
            self.moved = Instant::now();
            self.backoff = Backoff::between(PAUSE_FIRST, PAUSE_MAX);
        }
        self.take(message);
        Ok(())
    }

    fn take(&mut self, message: v1::WatchResponse) {
        self.events.extend(message.events);
        self.reach = message.cursor.map(Cursor::from);
    }

    /// Has the next node take the watch, from where it is.
    async fn open(&mut self) -> Result<(), Error> {
        let address = self.caller.router().spread();
        let limit = self.caller.deadline();
        let request =
            v1::WatchRequest { after: self.cursor.lock().map(v1::Cursor::from), ..self.request.clone() };
        let opened = async {
            let endpoint = self.caller.router().dialler().endpoint(&address)?;
            let channel = endpoint
                .connect()
                .await
                .map_err(|error| unavailable(format!("cannot reach {address}: {}", explain(&error))))?;
            let mut client = SessionsClient::new(channel).max_decoding_message_size(64 << 20);
            let refused = |status| Error::from_status(&status).at(&address);
            let mut line = client.watch(request).await.map_err(refused)?.into_inner();
            // Comes at once, and says from where on.
            let first = line.message().await.map_err(refused)?;
            let first = first.ok_or_else(|| unavailable(format!("{address} ended the watch")))?;
            Ok((line, first))
        };
        let answered = timeout(limit, opened).await;
        let (line, first) = answered.unwrap_or_else(|_| {
            Err(unavailable(format!("{address} did not take the watch within {limit:?}")))
        })?;
        self.line = Some(line);
        self.moved = Instant::now();
        self.take(first);
        if self.events.is_empty()
            && let Some(reach) = self.reach.take()
        {
            self.advance(reach);
        }
        Ok(())
    }
}

/// Where the leader is, behind all that was acknowledged so far. The node that takes the watch may not have come so far:
/// it would tell what happened before, and might not know the namespace yet.
async fn now(caller: &Caller, namespace: &str) -> Result<Cursor, Error> {
    let name = if namespace.is_empty() { "default" } else { namespace }.to_owned();
    let operation = Operation::GetNamespace(v1::GetNamespaceRequest { name });
    let got = expect!(caller.read(operation, Route::Leader).await?, GetNamespace)?;
    let position = got.position.ok_or_else(|| unexpected().without_effect())?;
    Ok(Cursor::from(Position::from(position)))
}

fn unavailable(why: impl Into<Box<str>>) -> Error {
    Error::local(ErrorKind::Unavailable, why)
}

/// Whether every node would say the same. All else passes, or is one node's alone.
fn is_final(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::Deadline | ErrorKind::ResourceExhausted | ErrorKind::Other
    )
}
