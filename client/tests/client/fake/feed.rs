//! Events of the fake cluster, and how a node sends them.

use quorate_proto::v1;
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};

use super::node::Node;
use super::state::refusal;

pub(super) type Told = mpsc::Sender<Result<v1::WatchResponse, Status>>;

/// All events, and the watches that nodes took.
pub(crate) struct Feed {
    events: Vec<v1::Event>,
    /// Events below this index are not kept.
    pub(crate) oldest: u64,
    /// These nodes do not know the namespace yet: they refuse watches that wait for no position.
    pub(crate) behind: Vec<String>,
    /// Which node took which watch.
    pub(crate) watches: Vec<(String, v1::WatchRequest)>,
    happened: watch::Sender<usize>,
}

impl Default for Feed {
    fn default() -> Self {
        let (events, behind, watches) = Default::default();
        Feed { events, oldest: 0, behind, watches, happened: watch::Sender::new(0) }
    }
}

/// The place of the `n`th event: two share a position.
fn place(n: usize) -> (u64, u32) {
    (100 + n as u64 / 2, u32::from(n % 2 == 1))
}

fn cursor((index, ordinal): (u64, u32)) -> v1::Cursor {
    v1::Cursor { position: Some(v1::Position { cluster: 7, index }), ordinal: Some(ordinal) }
}

impl Feed {
    /// `n` more events, each of a version of its own.
    pub(crate) fn happen(&mut self, n: usize) {
        for _ in 0..n {
            let number = self.events.len();
            self.events.push(v1::Event {
                kind: v1::EventKind::Updated.into(),
                cursor: Some(cursor(place(number))),
                handle: format!("{number:032x}"),
                version: number as u64,
                attributes: [("card".to_owned(), "sesame".into())].into(),
                ..v1::Event::default()
            });
        }
        self.happened.send_replace(self.events.len());
    }

    /// Behind all events so far.
    pub(super) fn now(&self) -> u64 {
        self.events.len().checked_sub(1).map_or(0, |last| place(last).0)
    }

    /// How many events are at or before `after`.
    fn seen(&self, after: &v1::Cursor) -> usize {
        let index = after.position.unwrap_or_default().index;
        let until = (index, after.ordinal.unwrap_or(u32::MAX));
        (0..self.events.len()).take_while(|n| place(*n) <= until).count()
    }
}

impl Node {
    /// Sends events until the watcher goes or the node breaks its watches.
    pub(super) async fn feed(self, request: v1::WatchRequest, told: Told) {
        let mut broken = self.breaks();
        let (mut happened, mut sent) = {
            let mut state = self.state();
            state.feed.watches.push((self.address(), request.clone()));
            let from = request.after.map_or(state.feed.events.len(), |after| state.feed.seen(&after));
            (state.feed.happened.subscribe(), from)
        };
        let start = request.after.unwrap_or_else(|| v1::Cursor {
            ordinal: None,
            ..sent.checked_sub(1).map(|n| cursor(place(n))).unwrap_or_default()
        });
        let first = v1::WatchResponse { events: Vec::new(), cursor: Some(start) };
        if told.send(Ok(first)).await.is_err() {
            return;
        }
        if self.stalls() {
            return told.closed().await;
        }
        // As a node may after a resume.
        sent = sent.saturating_sub(self.repeats());
        loop {
            let batch: Vec<v1::Event> = self.state().feed.events.iter().skip(sent).take(3).cloned().collect();
            sent += batch.len();
            if let Some(last) = batch.last() {
                let message = v1::WatchResponse { cursor: last.cursor, events: batch };
                if told.send(Ok(message)).await.is_err() {
                    return;
                }
                continue;
            }
            let more = async { drop(happened.wait_for(|events| *events > sent).await) };
            let ended = tokio::select! {
                _ = broken.changed() => true,
                () = told.closed() => return,
                () = more => false,
            };
            if ended {
                return drop(told.send(Err(Status::unavailable("scripted"))).await);
            }
        }
    }

    /// Whether this node takes the watch.
    pub(super) fn takes(&self, request: &v1::WatchRequest) -> Result<(), Status> {
        if let Some(refused) = self.refuses_watches() {
            return Err(refused);
        }
        let state = self.state();
        if request.after.is_none() && state.feed.behind.contains(&self.address()) {
            return Err(refusal(Code::NotFound, "UNKNOWN_NAMESPACE", &[]));
        }
        let index = request.after.and_then(|after| after.position).map(|position| position.index);
        let oldest = state.feed.oldest.to_string();
        if index.is_some_and(|index| index < state.feed.oldest) {
            return Err(refusal(Code::OutOfRange, "EVENTS_GONE", &[("oldest_index", &oldest)]));
        }
        Ok(())
    }
}
