//! Request ids of one client handle: which sequences are still unanswered.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_proto::v1;
use tokio::sync::Notify;

/// The server keeps outcomes for 4,096 sequences beyond the lowest unanswered one: stay below.
const SPREAD_MAX: u64 = 4_000;

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
    answered: Notify,
}

impl Sequences {
    pub(crate) fn new(client: u64) -> Arc<Self> {
        let book = Mutex::new(Book { next: 1, outstanding: BTreeSet::new() });
        Arc::new(Sequences { client, book, answered: Notify::new() })
    }

    /// Takes the next sequence; waits while too many beyond the lowest unanswered one are taken.
    pub(crate) async fn take(self: &Arc<Self>) -> Ticket {
        loop {
            let answered = self.answered.notified();
            if let Some(ticket) = self.try_take() {
                return ticket;
            }
            answered.await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Ticket> {
        let mut book = self.book.lock();
        if book.next - book.lowest() >= SPREAD_MAX {
            return None;
        }
        let sequence = book.next;
        book.next += 1;
        book.outstanding.insert(sequence);
        Some(Ticket { sequences: Arc::clone(self), sequence })
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
        self.sequences.book.lock().outstanding.remove(&self.sequence);
        self.sequences.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The server forgets all below `lowest_unanswered`: it must never pass one that may be sent again.
        #[test]
        fn lowest_never_passes_an_unanswered_one(steps in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 1..200)) {
            let sequences = Sequences::new(7);
            let mut held: Vec<Ticket> = Vec::new();
            for (take, which) in steps {
                if take || held.is_empty() {
                    held.push(sequences.try_take().unwrap());
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
        let stuck = sequences.try_take().unwrap();
        for _ in 1..SPREAD_MAX {
            drop(sequences.try_take().unwrap());
        }
        assert!(sequences.try_take().is_none());
        drop(stuck);
        assert!(sequences.try_take().is_some());
    }
}
