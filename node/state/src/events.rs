//! The events kept for watchers: a ring for each namespace, bounded in number and bytes, replicated like all else.
//!
//! Events stand in blocks that are closed once they hold [`BLOCK_BYTES`] or [`BLOCK_EVENTS`]: whole blocks go to the disk,
//! are shared with frozen views, and leave at the front. Where blocks begin and end is part of the state, the same on
//! every node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Kind};
use crate::event::{Cursor, Event};
use crate::header::RingStart;
use crate::policy::{Limits, NamespaceId, Policy};

const BLOCK_BYTES: u64 = 8 << 10;
const BLOCK_EVENTS: usize = 64;

/// A run of a namespace's events, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBlock {
    /// Never empty where one is kept.
    pub events: Vec<Event>,
}

/// Which block: a namespace, and the number of the block in its ring, which rises without gaps.
pub type EventBlockId = (NamespaceId, u64);

#[derive(Clone, Default)]
pub(crate) struct Ring {
    blocks: VecDeque<Arc<EventBlock>>,
    /// The number of the first block.
    first: u64,
    /// The last event that is no longer kept.
    lost: Option<Cursor>,
    last: Option<Cursor>,
    count: u64,
    bytes: u64,
    /// Of the last block.
    open_bytes: u64,
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
    changed: BTreeSet<EventBlockId>,
}

/// Events behind a cursor are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The oldest event that is kept; behind all that happened when none is.
    pub oldest: Cursor,
}

impl EventBlock {
    fn bytes(&self) -> u64 {
        self.events.iter().map(Event::bytes).sum()
    }
}

impl Rings {
    pub(crate) fn block(&self, (namespace, number): EventBlockId) -> Option<&EventBlock> {
        let ring = self.0.get(&namespace)?;
        let at = usize::try_from(number.checked_sub(ring.first)?).ok()?;
        ring.blocks.get(at).map(AsRef::as_ref)
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = (EventBlockId, &EventBlock)> {
        self.0.iter().flat_map(|(namespace, ring)| {
            (ring.first..).zip(&ring.blocks).map(|(number, block)| ((*namespace, number), block.as_ref()))
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
    fn is_closed(&self) -> bool {
        let full =
            |block: &Arc<EventBlock>| block.events.len() >= BLOCK_EVENTS || self.open_bytes >= BLOCK_BYTES;
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
            let oldest = self.blocks.front().and_then(|block| block.events.first());
            let behind = self.lost.map_or(0, |lost| lost.index.saturating_add(1));
            let none = Cursor { index: behind, ordinal: 0 };
            return Err(Lost { oldest: oldest.map_or(none, |event| event.cursor) });
        }
        let ends_before =
            |block: &Arc<EventBlock>| block.events.last().is_none_or(|last| last.cursor <= after);
        let start = self.blocks.partition_point(ends_before);
        let events = self.blocks.iter().skip(start).flat_map(|block| &block.events);
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
        std::mem::take(&mut self.changed).into_iter().collect()
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

    /// Forgets a namespace's events.
    pub(crate) fn close(&mut self, namespace: NamespaceId) {
        if let Some(ring) = self.rings.0.remove(&namespace) {
            self.bytes -= ring.bytes;
            self.blocks -= ring.blocks.len() as u64;
            self.changed.extend((ring.first..).zip(&ring.blocks).map(|(number, _)| (namespace, number)));
        }
    }

    /// Adds an event, whose ordinal it sets, and drops the oldest beyond what the policy keeps.
    pub(crate) fn push(&mut self, namespace: NamespaceId, mut event: Event, policy: &Policy) {
        let ring = Arc::make_mut(self.rings.0.entry(namespace).or_default());
        let index = event.cursor.index;
        let same = ring.last.max(ring.lost).filter(|last| last.index == index);
        event.cursor.ordinal = same.map_or(0, |last| last.ordinal.saturating_add(1));
        ring.last = Some(event.cursor);
        if policy.more.events_max == 0 || policy.more.events_bytes_max == 0 {
            ring.lost = Some(event.cursor);
            return;
        }
        let bytes = event.bytes();
        ring.digest.add(event.digest(namespace));
        (ring.count, ring.bytes, self.bytes) = (ring.count + 1, ring.bytes + bytes, self.bytes + bytes);
        if ring.is_closed() {
            ring.blocks.push_back(Arc::default());
            ring.open_bytes = 0;
            self.blocks += 1;
        }
        ring.open_bytes += bytes;
        if let Some(block) = ring.blocks.back_mut() {
            Arc::make_mut(block).events.push(event);
        }
        let number = ring.first + ring.blocks.len() as u64 - 1;
        self.changed.insert((namespace, number));
        self.trim(namespace, policy);
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

    /// Drops a ring's first block; whether there was one, and not the last one where `last` must stay.
    fn drop_oldest(&mut self, namespace: NamespaceId, last: bool) -> bool {
        let Some(ring) = self.rings.0.get_mut(&namespace).map(Arc::make_mut) else { return false };
        if ring.blocks.len() < 2 && !last {
            return false;
        }
        let Some(block) = ring.blocks.pop_front() else { return false };
        for event in &block.events {
            ring.digest.remove(event.digest(namespace));
            ring.lost = Some(event.cursor);
        }
        let bytes = block.bytes();
        (ring.count, ring.bytes, self.bytes) =
            (ring.count - block.events.len() as u64, ring.bytes - bytes, self.bytes - bytes);
        self.changed.insert((namespace, ring.first));
        ring.first += 1;
        self.blocks -= 1;
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
        for event in &block.events {
            ring.digest.add(event.digest(namespace));
            ring.last = Some(event.cursor);
        }
        let bytes = block.bytes();
        ring.count += block.events.len() as u64;
        ring.open_bytes = bytes;
        ring.bytes = ring.bytes.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        self.blocks += 1;
        ring.blocks.push_back(Arc::new(block));
        true
    }
}
