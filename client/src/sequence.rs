//! Request ids of one client handle: which sequences are still unanswered.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_proto::v1;
use tokio::sync::Semaphore;

/// The server keeps outcomes for 4,096 sequences beyond the lowest unanswered one: stay below.
const SPREAD_MAX: usize = 4_000;

#[derive(Debug)]
struct Book {
    next: u64,
    outstanding: BTreeSet<u64>,
}

impl Book {
    fn lowest(&self) -> u64 {
        self.outstanding.first().copied().unwrap_or(self.next)
    }
}

/// The sequences of one client handle.
#[derive(Debug)]
pub(crate) struct Sequences {
    client: u64,
    book: Mutex<Book>,
    /// A permit for each sequence that may be taken now: what is missing from all of them is `next - lowest`. Who
    /// waited longest goes first, and an answer wakes no more of them than can go on.
    room: Semaphore,
}

impl Sequences {
    pub(crate) fn new(client: u64) -> Arc<Self> {
        let book = Mutex::new(Book { next: 1, outstanding: BTreeSet::new() });
        Arc::new(Sequences { client, book, room: Semaphore::new(SPREAD_MAX) })
    }

    /// Takes the next sequence; waits while too many beyond the lowest unanswered one are taken.
    pub(crate) async fn take(self: &Arc<Self>) -> Ticket {
        self.room.acquire().await.expect("it is never closed").forget();
        self.issue()
    }

    /// Takes the next sequence, unless too many beyond the lowest unanswered one are taken.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Ticket> {
        self.room.try_acquire().ok()?.forget();
        Some(self.issue())
    }

    /// The next sequence, for which there is room.
    fn issue(self: &Arc<Self>) -> Ticket {
        let mut book = self.book.lock();
        let sequence = book.next;
        book.next += 1;
        book.outstanding.insert(sequence);
        Ticket { sequences: Arc::clone(self), sequence }
    }

    fn release(&self, sequence: u64) {
        let mut book = self.book.lock();
        let before = book.lowest();
        book.outstanding.remove(&sequence);
        let passed = book.lowest() - before;
        drop(book);
        // Never more than were taken.
        self.room.add_permits(usize::try_from(passed).unwrap_or(SPREAD_MAX));
    }
}

/// One sequence in use. Dropped once nobody will send it again: answered, given up, or its caller gone.
#[derive(Debug)]
pub(crate) struct Ticket {
    sequences: Arc<Sequences>,
    sequence: u64,
}

impl Ticket {
    /// The request id to send now: the same sequence each time, with what is lowest by now.
    pub(crate) fn request_id(&self) -> v1::RequestId {
        let lowest_unanswered = self.sequences.book.lock().lowest();
        v1::RequestId { client: self.sequences.client, sequence: self.sequence, lowest_unanswered }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.sequences.release(self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    /// A sequence if one may be taken now.
    fn taken(sequences: &Arc<Sequences>) -> Option<Ticket> {
        sequences.take().now_or_never()
    }

    proptest! {
        /// The server forgets all below `lowest_unanswered`: it must never pass one that may be sent again.
        #[test]
        fn lowest_never_passes_an_unanswered_one(steps in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 1..200)) {
            let sequences = Sequences::new(7);
            let mut held: Vec<Ticket> = Vec::new();
            for (take, which) in steps {
                if take || held.is_empty() {
                    held.push(taken(&sequences).unwrap());
                } else {
                    held.swap_remove(which.index(held.len()));
                }
                for ticket in &held {
                    let id = ticket.request_id();
                    prop_assert!(id.lowest_unanswered <= held.iter().map(|held| held.sequence).min().unwrap());
                    prop_assert!(id.sequence >= id.lowest_unanswered);
                }
            }
        }
    }

    #[test]
    fn a_stuck_sequence_holds_new_ones_back_until_it_is_released() {
        let sequences = Sequences::new(7);
        let stuck = taken(&sequences).unwrap();
        for _ in 1..SPREAD_MAX {
            drop(taken(&sequences).unwrap());
        }
        assert!(taken(&sequences).is_none());
        drop(stuck);
        assert!(taken(&sequences).is_some());
    }

    #[test]
    fn who_waits_longest_goes_first() {
        let sequences = Sequences::new(7);
        let stuck = taken(&sequences).unwrap();
        let mut held: Vec<_> = (1..SPREAD_MAX).map(|_| taken(&sequences).unwrap()).collect();
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(sequences.take())).collect();
        assert!(waiting.iter_mut().all(|take| take.as_mut().now_or_never().is_none()));
        held.pop();
        assert!(
            waiting.iter_mut().all(|take| take.as_mut().now_or_never().is_none()),
            "the lowest is still unanswered"
        );
        drop(stuck);
        assert!(waiting[1].as_mut().now_or_never().is_none(), "it is not its turn");
        assert!(waiting[0].as_mut().now_or_never().is_some());
        assert!(taken(&sequences).is_none());
        held.clear();
        assert!(waiting[1].as_mut().now_or_never().is_some());
    }
}
