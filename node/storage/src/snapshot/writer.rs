//! From a frozen view to a stream, a chunk at a time.

use std::vec::IntoIter;

use bytes::Bytes;
use quorate_state::{ClientId, EventBlockId, Frozen, Slot, encode_client, encode_events, encode_record};

use crate::sessions::AppliedPosition;
use crate::snapshot::format::{Counts, FORMAT, FRAME_BYTES_MAX, Kind, MAGIC, frame_checksum};

/// Yields a snapshot in chunks of about 256 KiB, each made when it is asked for. The view does not change, and
/// nothing waits for it.
pub struct SnapshotWriter {
    frozen: Frozen,
    position: AppliedPosition,
    stage: Stage,
    counts: Counts,
    /// Items encoded and not yet framed.
    pending: Vec<u8>,
    frames: u64,
}

/// What comes next.
enum Stage {
    Head,
    Records(Slot),
    Clients(IntoIter<ClientId>),
    Events(IntoIter<EventBlockId>),
    Trailer,
    End,
}

impl SnapshotWriter {
    /// A snapshot of `frozen`, which is the state at `position`.
    #[must_use]
    pub fn new(position: AppliedPosition, frozen: Frozen) -> SnapshotWriter {
        let pending = Vec::with_capacity(FRAME_BYTES_MAX * 2);
        SnapshotWriter { frozen, position, stage: Stage::Head, counts: Counts::default(), pending, frames: 0 }
    }

    fn put(&mut self, kind: Kind, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("no item comes near 4 GiB: sessions are limited");
        self.pending.push(kind as u8);
        self.pending.extend(length.to_le_bytes());
        self.pending.extend(bytes);
    }

    /// Encodes the next item, or moves to the next stage.
    fn step(&mut self) {
        match &mut self.stage {
            Stage::Head => {
                let position = [&self.position.index.to_le_bytes(), self.position.meta.as_ref()].concat();
                self.put(Kind::Position, &position);
                self.put(Kind::Header, &self.frozen.header().encode());
                self.stage = Stage::Records(0);
            }
            Stage::Records(slot) if *slot < self.frozen.slots_end() => {
                let record = self.frozen.record(*slot).map(|(key, record)| encode_record(key, record));
                *slot += 1;
                if let Some(record) = record {
                    self.counts.records += 1;
                    self.put(Kind::Record, &record);
                }
            }
            Stage::Records(_) => {
                let ids: Vec<_> = self.frozen.clients().map(|(id, _)| id).collect();
                self.stage = Stage::Clients(ids.into_iter());
            }
            Stage::Clients(ids) => match ids.next() {
                Some(id) => {
                    let client = self.frozen.client(id).map(|client| encode_client(id, client));
                    if let Some(client) = client {
                        self.counts.clients += 1;
                        self.put(Kind::Client, &client);
                    }
                }
                None => {
                    let ids: Vec<_> = self.frozen.event_blocks().map(|(id, _)| id).collect();
                    self.stage = Stage::Events(ids.into_iter());
                }
            },
            Stage::Events(ids) => match ids.next() {
                Some(id) => {
                    let block = self.frozen.event_block(id).map(|block| encode_events(id, block));
                    if let Some(block) = block {
                        self.counts.events += 1;
                        self.put(Kind::Events, &block);
                    }
                }
                None => self.stage = Stage::Trailer,
            },
            Stage::Trailer => {
                self.put(Kind::Trailer, &self.counts.encode(FORMAT));
                self.stage = Stage::End;
            }
            Stage::End => {}
        }
    }

    /// The first 256 KiB of what is pending, framed.
    fn frame(&mut self) -> Bytes {
        let rest = self.pending.split_off(self.pending.len().min(FRAME_BYTES_MAX));
        let payload = std::mem::replace(&mut self.pending, rest);
        let length = u32::try_from(payload.len()).expect("a frame has at most 256 KiB");
        let mut frame = Vec::with_capacity(payload.len() + 32);
        if self.frames == 0 {
            frame.extend(MAGIC);
            frame.push(FORMAT);
        }
        frame.extend(length.to_le_bytes());
        frame.extend(frame_checksum(self.frames, &payload).to_le_bytes());
        frame.extend(payload);
        self.frames += 1;
        frame.into()
    }
}

impl Iterator for SnapshotWriter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.pending.len() < FRAME_BYTES_MAX && !matches!(self.stage, Stage::End) {
            self.step();
        }
        if self.pending.is_empty() { None } else { Some(self.frame()) }
    }
}
