//! Writes a snapshot, frame by frame, from a frozen view.

use bytes::Bytes;
use quorate_state::{Frozen, Slot, encode_client, encode_record};

use super::{FORMAT, MAGIC, frame_sum};
use crate::sessions::AppliedPosition;

/// A frame's body is closed once it has this many bytes.
const BODY_BYTES: usize = 256 << 10;

enum Step {
    Head,
    Records(Slot),
    Clients(usize),
    End,
    Done,
}

/// The frames of a snapshot, made as they are asked for.
pub struct SnapshotWriter {
    position: AppliedPosition,
    frozen: Frozen,
    step: Step,
    number: u64,
}

impl SnapshotWriter {
    /// A snapshot of `frozen`, which stands at `position`.
    #[must_use]
    pub fn new(position: AppliedPosition, frozen: Frozen) -> Self {
        SnapshotWriter { position, frozen, step: Step::Head, number: 0 }
    }

    fn head(&self) -> Vec<u8> {
        let mut body = vec![b'H'];
        body.extend(MAGIC);
        body.push(FORMAT);
        body.extend(self.position.index.to_le_bytes());
        push(&mut body, &self.position.meta);
        push(&mut body, &self.frozen.header().encode());
        body
    }

    fn records(&self, from: Slot) -> (Vec<u8>, Slot) {
        let mut body = vec![b'R'];
        let mut slot = from;
        while slot < self.frozen.slots_end() && body.len() < BODY_BYTES {
            if let Some((key, record)) = self.frozen.record(slot) {
                push(&mut body, &encode_record(key, record));
            }
            slot += 1;
        }
        (body, slot)
    }

    fn clients(&self, from: usize) -> (Vec<u8>, usize) {
        let mut body = vec![b'C'];
        let mut taken = from;
        for (id, client) in self.frozen.clients().skip(from) {
            push(&mut body, &encode_client(id, client));
            taken += 1;
            if body.len() >= BODY_BYTES {
                break;
            }
        }
        (body, taken)
    }
}

fn push(body: &mut Vec<u8>, item: &[u8]) {
    body.extend(u32::try_from(item.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(item);
}

impl Iterator for SnapshotWriter {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let body = match self.step {
            Step::Head => {
                self.step = Step::Records(0);
                self.head()
            }
            Step::Records(from) => {
                let (body, next) = self.records(from);
                self.step = if next < self.frozen.slots_end() { Step::Records(next) } else { Step::Clients(0) };
                body
            }
            Step::Clients(from) => {
                let (body, next) = self.clients(from);
                let all = next as u64 >= self.frozen.header().clients;
                self.step = if all || next == from { Step::End } else { Step::Clients(next) };
                body
            }
            Step::End => {
                self.step = Step::Done;
                let mut body = vec![b'E'];
                body.extend(self.frozen.header().records.to_le_bytes());
                body.extend(self.frozen.header().clients.to_le_bytes());
                body
            }
            Step::Done => return None,
        };
        let mut frame = Vec::with_capacity(body.len() + super::FRAME_HEAD_BYTES);
        frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend(frame_sum(self.number, &body).to_le_bytes());
        frame.extend(body);
        self.number += 1;
        Some(Bytes::from(frame))
    }
}
