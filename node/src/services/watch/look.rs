//! Looks at the state: bounded, so that nobody waits long for its lock.

use quorate_proto::v1;
use quorate_state::{Cursor, Event, Lost, NamespaceId, Refusal, State};

use super::wanted::Wanted;
use crate::services::backend::Backend;
use crate::services::failure::Failure;
use crate::services::reasons;

/// Events sent in one message, and their bytes: one is sent however large it is.
pub(super) const EVENTS_MAX: usize = 256;
pub(super) const BYTES_MAX: u64 = 256 << 10;
/// Events that one look passes by, wanted or not.
const PASSED_MAX: usize = 2_048;

/// Before this apply version nothing is told, so nothing can be watched.
const EVENTS_FROM: u32 = 2;

/// Where a watch stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// `None` as long as this node has not come to where the watch begins: the namespace may not be there before.
    namespace: Option<NamespaceId>,
    /// All up to here was told or is not wanted.
    pub(super) cursor: Cursor,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) events: Vec<Event>,
    /// There may be more to see now.
    pub(super) more: bool,
    /// What had been applied.
    pub(super) index: u64,
}

impl Place {
    /// Where a watch begins.
    ///
    /// # Errors
    /// [`Failure`]: it cannot begin there.
    pub(super) fn begin<B: Backend>(
        backend: &B,
        wanted: &Wanted,
        after: Option<v1::Cursor>,
    ) -> Result<Self, Failure> {
        let after = after.map(cursor).transpose()?;
        let cluster = backend.cluster_id();
        backend.with_applied(|state, index| {
            let Some((of, cursor)) = after else {
                let namespace = Some(known(state, wanted)?);
                return Ok(Place { namespace, cursor: Cursor::behind(index) });
            };
            if of != cluster {
                return Err(reasons::cursor_of_other_cluster(oldest(state, known(state, wanted)?, index)));
            }
            let mut place = Place { namespace: None, cursor };
            if cursor.index <= index {
                let namespace = known(state, wanted)?;
                drop(state.events(namespace, cursor).map_err(events_lost)?);
                place.namespace = Some(namespace);
            }
            Ok(place)
        })
    }

    /// Goes on to what has happened since.
    ///
    /// # Errors
    /// [`Failure`]: the watch cannot go on.
    pub(super) fn look<B: Backend>(&mut self, backend: &B, wanted: &Wanted) -> Result<Found, Failure> {
        backend.with_applied(|state, index| self.look_at(state, index, wanted))
    }

    fn look_at(&mut self, state: &State, index: u64, wanted: &Wanted) -> Result<Found, Failure> {
        let mut found = Found { index, ..Found::default() };
        if self.namespace.is_none() && index < self.cursor.index {
            return Ok(found);
        }
        let namespace = known(state, wanted)?;
        if *self.namespace.get_or_insert(namespace) != namespace {
            // Another one of the same name.
            return Err(Refusal::UnknownNamespace.into());
        }
        let (mut passed, mut bytes) = (0, 0_u64);
        for event in state.events(namespace, self.cursor).map_err(events_lost)? {
            if passed == PASSED_MAX || found.events.len() == EVENTS_MAX {
                found.more = true;
                return Ok(found);
            }
            if wanted.includes(event) {
                bytes = bytes.saturating_add(event.bytes());
                if bytes > BYTES_MAX && !found.events.is_empty() {
                    found.more = true;
                    return Ok(found);
                }
                found.events.push(event.clone());
            }
            passed += 1;
            self.cursor = event.cursor;
        }
        self.cursor = self.cursor.max(Cursor::behind(index));
        Ok(found)
    }
}

fn known(state: &State, wanted: &Wanted) -> Result<NamespaceId, Failure> {
    let current = state.apply_version();
    if current < EVENTS_FROM {
        return Err(Refusal::NotYetSupported { current }.into());
    }
    let known = state.namespace(&wanted.namespace).ok_or(Refusal::UnknownNamespace)?;
    Ok(known.0)
}

/// The cluster and the place that a message means.
fn cursor(after: v1::Cursor) -> Result<(u64, Cursor), Failure> {
    let invalid = || {
        let message = "after has no position: it is the cursor of a message or of an event, as it came";
        Failure::invalid("INVALID_CURSOR", "after", message)
    };
    let v1::Position { cluster, index } = after.position.ok_or_else(invalid)?;
    Ok((cluster, Cursor { index, ordinal: after.ordinal.unwrap_or(u32::MAX) }))
}

fn oldest(state: &State, namespace: NamespaceId, index: u64) -> Cursor {
    match state.events(namespace, Cursor::default()) {
        Err(Lost { oldest }) => oldest,
        Ok(mut events) => events.next().map_or(Cursor { index, ordinal: 0 }, |event| event.cursor),
    }
}

fn events_lost(lost: Lost) -> Failure {
    reasons::events_lost(lost.oldest)
}

#[cfg(test)]
mod tests {
    use quorate_state::{ClusterTime, Command, Proposal};

    use super::*;

    #[test]
    fn nothing_is_watched_before_there_are_events() {
        let (mut state, wanted) = (State::new(), Wanted::parse(&v1::WatchRequest::default()).unwrap());
        let mut place = Place { namespace: None, cursor: Cursor::behind(3) };
        let refused = place.look_at(&state, 3, &wanted).unwrap_err();
        assert_eq!((refused.reason, refused.retryable), ("NOT_YET_SUPPORTED", true));
        // Somebody who begins behind the entry that brings them waits for it.
        assert!(place.look_at(&state, 2, &wanted).unwrap().events.is_empty());
        let command = Command::RaiseApplyVersion { version: EVENTS_FROM };
        state.apply(3, Proposal { stamp: ClusterTime(1), command });
        assert!(place.look_at(&state, 3, &wanted).unwrap().events.is_empty());
        assert_eq!(place.namespace, Some(1));
    }
}
