//! The events kept for watchers: a ring for each namespace, bounded in number and bytes, replicated like all else.
//!
//! Events stand in blocks that are closed once they hold [`BLOCK_BYTES`] or [`BLOCK_EVENTS`], or an eighth of what the
//! namespace keeps: whole blocks go to the disk,
//! are shared with frozen views, and leave at the front. Where blocks begin and end is part of the state, the same on
//! every node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::event::{Cursor, Event};
use crate::header::RingStart;
use crate::policy::{Limits, NamespaceId, Policy};

const BLOCK_BYTES: u64 = 8 << 10;
const BLOCK_EVENTS: u64 = 64;

/// Blocks freed by one entry of those that a change of policy or the end of a namespace dropped: there may be many, and to free
/// one is to free each of its events.
const FREES_MAX: usize = 64;

/// A run of a namespace's events, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBlock {
    /// Never empty where one is kept.
    pub events: Vec<Event>,
}

/// Which block: a namespace, and the number of the block in its ring, which rises without gaps.
pub type EventBlockId = (NamespaceId, u64);

/// A block with what follows from it, so that to drop it costs nothing for each event.
#[derive(Clone, Default)]
struct Kept {
    block: EventBlock,
    bytes: u64,
    digest: Digest,
}

#[derive(Clone, Default)]
pub(crate) struct Ring {
    blocks: VecDeque<Arc<Kept>>,
    /// The number of the first block.
    first: u64,
    /// The last event that is no longer kept.
    lost: Option<Cursor>,
    last: Option<Cursor>,
    count: u64,
    bytes: u64,
    digest: Digest,
}

/// A view of all rings: cloning copies one pointer for each namespace.
#[derive(Clone, Default)]
pub(crate) struct Rings(BTreeMap<NamespaceId, Arc<Ring>>);

#[derive(Default)]
pub(crate) struct Events {
    rings: Rings,
    /// Of all rings.
    bytes: u64,
    blocks: u64,
    /// Blocks that came or grew since this was last taken.
    changed: BTreeSet<EventBlockId>,
    /// Runs of blocks that went since.
    gone: Vec<(NamespaceId, Range<u64>)>,
    /// Dropped and not freed yet: see [`Events::free_some`]. Local, in no digest.
    dropped: VecDeque<Arc<Kept>>,
}

/// Events behind a cursor are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The oldest event that is kept; behind all that happened when none is.
    pub oldest: Cursor,
}

impl Kept {
    /// As it comes back from the disk.
    fn restored(namespace: NamespaceId, block: EventBlock) -> Kept {
        let mut kept = Kept { block, ..Kept::default() };
        for event in &kept.block.events {
            kept.bytes = kept.bytes.saturating_add(event.bytes());
            kept.digest.add(event.digest(namespace, None));
        }
        kept
    }

    fn last(&self) -> Option<Cursor> {
        self.block.events.last().map(|event| event.cursor)
    }

    fn count(&self) -> u64 {
        self.block.events.len() as u64
    }
}

impl Rings {
    pub(crate) fn block(&self, (namespace, number): EventBlockId) -> Option<&EventBlock> {
        let ring = self.0.get(&namespace)?;
        let at = usize::try_from(number.checked_sub(ring.first)?).ok()?;
        ring.blocks.get(at).map(|kept| &kept.block)
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = (EventBlockId, &EventBlock)> {
        self.0.iter().flat_map(|(namespace, ring)| {
            (ring.first..).zip(&ring.blocks).map(|(number, kept)| ((*namespace, number), &kept.block))
        })
    }

    pub(crate) fn ring(&self, namespace: NamespaceId) -> Option<&Ring> {
        self.0.get(&namespace).map(AsRef::as_ref)
    }
}

impl Ring {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the next event begins a new block.
    fn is_closed(&self, policy: &Policy) -> bool {
        // Whole blocks are dropped: an eighth of what is kept at most, or a ring would keep far less than it may.
        let count_max = BLOCK_EVENTS.min(u64::from(policy.more.events_max / 8).max(1));
        let bytes_max = BLOCK_BYTES.min(policy.more.events_bytes_max / 8);
        let full = |kept: &Arc<Kept>| kept.count() >= count_max || kept.bytes >= bytes_max;
        self.blocks.back().is_none_or(full)
    }

    /// What of it is in the state's digest: its events, and what was lost.
    pub(crate) fn digest(&self, namespace: NamespaceId) -> Digest {
        let mut digest = self.digest;
        if let Some(lost) = self.lost {
            digest.add(Digest::of(Kind::EventsLost, &(namespace, lost)));
        }
        digest
    }

    /// Events behind `after`, the first first.
    pub(crate) fn after(&self, after: Cursor) -> Result<impl Iterator<Item = &Event>, Lost> {
        if self.lost.is_some_and(|lost| after < lost) {
            let oldest = self.blocks.front().and_then(|kept| kept.block.events.first());
            let behind = self.lost.map_or(0, |lost| lost.index.saturating_add(1));
            let none = Cursor { index: behind, ordinal: 0 };
            return Err(Lost { oldest: oldest.map_or(none, |event| event.cursor) });
        }
        let ends_before = |kept: &Arc<Kept>| kept.last().is_none_or(|last| last <= after);
        let start = self.blocks.partition_point(ends_before);
        let events = self.blocks.iter().skip(start).flat_map(|kept| &kept.block.events);
        Ok(events.skip_while(move |event| event.cursor <= after))
    }
}

impl Events {
    pub(crate) fn rings(&self) -> &Rings {
        &self.rings
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(crate) fn take_changed(&mut self) -> Vec<EventBlockId> {
        let gone = std::mem::take(&mut self.gone).into_iter();
        let gone = gone.flat_map(|(namespace, numbers)| numbers.map(move |number| (namespace, number)));
        let mut all: Vec<EventBlockId> = std::mem::take(&mut self.changed).into_iter().chain(gone).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Where each ring begins.
    pub(crate) fn starts(&self) -> BTreeMap<NamespaceId, RingStart> {
        let start = |ring: &Arc<Ring>| RingStart { first: ring.first, lost: ring.lost };
        self.rings.0.iter().map(|(namespace, ring)| (*namespace, start(ring))).collect()
    }

    /// Of all rings and what they lost.
    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        for (namespace, ring) in &self.rings.0 {
            digest.add(ring.digest(*namespace));
        }
        digest
    }

    /// A new namespace: whatever was before `index` is not among its events.
    pub(crate) fn open(&mut self, namespace: NamespaceId, index: u64) {
        let ring = Ring { lost: Some(Cursor::behind(index)), ..Ring::default() };
        self.rings.0.insert(namespace, Arc::new(ring));
    }

    /// Forgets a namespace's events, in constant time.
    pub(crate) fn close(&mut self, namespace: NamespaceId) {
        let Some(ring) = self.rings.0.remove(&namespace) else { return };
        let blocks = ring.blocks.len() as u64;
        self.bytes -= ring.bytes;
        self.blocks -= blocks;
        self.gone.push((namespace, ring.first..ring.first + blocks));
        // Where a frozen view shares it, it is freed with that view.
        if let Ok(mut ring) = Arc::try_unwrap(ring) {
            self.dropped.append(&mut ring.blocks);
        }
    }

    /// Frees some of what was dropped.
    pub(crate) fn free_some(&mut self) {
        let some = self.dropped.len().min(FREES_MAX);
        self.dropped.drain(..some);
    }

    /// Adds an event, whose ordinal it sets, and drops the oldest beyond what the policy keeps. `attributes` is the digest of
    /// those that it carries, where it is known.
    pub(crate) fn push(
        &mut self,
        namespace: NamespaceId,
        mut event: Event,
        attributes: Option<Digest>,
        policy: &Policy,
    ) {
        let ring = Arc::make_mut(self.rings.0.entry(namespace).or_default());
        let index = event.cursor.index;
        let same = ring.last.max(ring.lost).filter(|last| last.index == index);
        event.cursor.ordinal = same.map_or(0, |last| last.ordinal.saturating_add(1));
        ring.last = Some(event.cursor);
        if policy.more.events_max == 0 || policy.more.events_bytes_max == 0 {
            ring.lost = Some(event.cursor);
            return;
        }
        let (bytes, digest) = (event.bytes(), event.digest(namespace, attributes));
        ring.digest.add(digest);
        (ring.count, ring.bytes, self.bytes) = (ring.count + 1, ring.bytes + bytes, self.bytes + bytes);
        if ring.is_closed(policy) {
            ring.blocks.push_back(Arc::default());
            self.blocks += 1;
        }
        if let Some(kept) = ring.blocks.back_mut().map(Arc::make_mut) {
            kept.block.events.push(event);
            kept.bytes += bytes;
            kept.digest.add(digest);
        }
        let number = ring.first + ring.blocks.len() as u64 - 1;
        self.changed.insert((namespace, number));
        // What one event takes the place of is freed at once, or it could pile up.
        let waiting = self.dropped.len();
        self.trim(namespace, policy);
        self.dropped.truncate(waiting);
    }

    /// Drops the oldest blocks beyond what the policy keeps. The newest stays.
    pub(crate) fn trim(&mut self, namespace: NamespaceId, policy: &Policy) {
        let (count_max, bytes_max) = (u64::from(policy.more.events_max), policy.more.events_bytes_max);
        while let Some(ring) = self.rings.0.get(&namespace)
            && (ring.count > count_max || ring.bytes > bytes_max)
            && self.drop_oldest(namespace, count_max == 0 || bytes_max == 0)
        {}
        while self.bytes > Limits::EVENTS_BYTES_TOTAL_MAX {
            let largest = self.rings.0.iter().max_by_key(|(namespace, ring)| (ring.bytes, **namespace));
            let Some((&largest, _)) = largest else { return };
            if !self.drop_oldest(largest, true) {
                return;
            }
        }
    }

    /// Drops a ring's first block, to be freed; whether there was one, and not the last one where `last` must stay.
    fn drop_oldest(&mut self, namespace: NamespaceId, last: bool) -> bool {
        let Some(ring) = self.rings.0.get_mut(&namespace).map(Arc::make_mut) else { return false };
        if ring.blocks.len() < 2 && !last {
            return false;
        }
        let Some(kept) = ring.blocks.pop_front() else { return false };
        ring.digest.remove(kept.digest);
        ring.lost = kept.last();
        (ring.count, ring.bytes, self.bytes) =
            (ring.count - kept.count(), ring.bytes - kept.bytes, self.bytes - kept.bytes);
        match self.gone.last_mut() {
            Some((of, numbers)) if *of == namespace && numbers.end == ring.first => numbers.end += 1,
            _ => self.gone.push((namespace, ring.first..ring.first + 1)),
        }
        ring.first += 1;
        self.blocks -= 1;
        self.dropped.push_back(kept);
        true
    }

    /// Before a restore's blocks come: where a namespace's ring begins, and what it has lost.
    pub(crate) fn restore_ring(&mut self, namespace: NamespaceId, first: u64, lost: Option<Cursor>) {
        let ring = Ring { first, lost, last: lost, ..Ring::default() };
        self.rings.0.insert(namespace, Arc::new(ring));
    }

    /// The next block of a ring; false when it is not the next one.
    pub(crate) fn restore(&mut self, (namespace, number): EventBlockId, block: EventBlock) -> bool {
        let Some(ring) = self.rings.0.get_mut(&namespace).map(Arc::make_mut) else { return false };
        let is_next = ring.first.checked_add(ring.blocks.len() as u64) == Some(number);
        let follows = block.events.first().is_some_and(|first| Some(first.cursor) > ring.last)
            && block.events.is_sorted_by(|one, next| one.cursor < next.cursor);
        if !is_next || !follows {
            return false;
        }
        let kept = Kept::restored(namespace, block);
        ring.digest.add(kept.digest);
        ring.last = kept.last();
        ring.count += kept.count();
        ring.bytes = ring.bytes.saturating_add(kept.bytes);
        self.bytes = self.bytes.saturating_add(kept.bytes);
        self.blocks += 1;
        ring.blocks.push_back(Arc::new(kept));
        true
    }
}
