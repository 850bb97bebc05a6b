//! Reads a snapshot as it arrives, in pieces of any size.

use bytes::Bytes;
use quorate_state::{Restore, State};

use super::{FORMAT, FRAME_HEAD_BYTES, MAGIC, frame_sum};
use crate::sessions::AppliedPosition;

/// A frame longer than this is damage: the largest holds one record of about 1 MiB.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Why a snapshot was refused. Nothing of it is used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A frame is cut short, changed, missing or out of order.
    #[error("frame {frame} of the snapshot: {detail}")]
    Frame {
        /// Counted from 0.
        frame: u64,
        /// What is wrong.
        detail: String,
    },
    /// The stream ended before its last frame.
    #[error("the snapshot ends after frame {0}, before its last one")]
    Incomplete(u64),
    /// The content does not make a state with the digest that its header names.
    #[error("the snapshot does not restore: {0}")]
    Content(String),
}

/// Takes a snapshot's bytes, gives the state.
#[derive(Default)]
pub struct SnapshotReader {
    buffer: Vec<u8>,
    number: u64,
    position: Option<AppliedPosition>,
    restore: Option<Restore>,
    records: u64,
    clients: u64,
    ended: bool,
}

impl SnapshotReader {
    /// Ready for the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`SnapshotError`]: give up this snapshot.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.buffer.extend_from_slice(bytes);
        loop {
            let Some((head, rest)) = self.buffer.split_first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(()) };
            let (length, sum) = split_head(head);
            if length > BODY_BYTES_MAX {
                return Err(self.frame_error("its length is out of range"));
            }
            let Some(body) = rest.get(..length) else { return Ok(()) };
            if frame_sum(self.number, body) != sum {
                return Err(self.frame_error("its checksum does not match"));
            }
            let body = body.to_vec();
            self.buffer.drain(..FRAME_HEAD_BYTES + length);
            self.take(&body)?;
            self.number += 1;
        }
    }

    /// The position and the state, once all bytes were pushed.
    ///
    /// # Errors
    /// [`SnapshotError`]: incomplete, or its digest does not match.
    pub fn finish(self) -> Result<(AppliedPosition, State), SnapshotError> {
        if !self.ended || !self.buffer.is_empty() {
            return Err(SnapshotError::Incomplete(self.number));
        }
        let (Some(position), Some(restore)) = (self.position, self.restore) else {
            return Err(SnapshotError::Incomplete(self.number));
        };
        let state = restore.finish().map_err(|error| SnapshotError::Content(error.to_string()))?;
        Ok((position, state))
    }

    fn frame_error(&self, detail: impl ToString) -> SnapshotError {
        SnapshotError::Frame { frame: self.number, detail: detail.to_string() }
    }

    fn take(&mut self, body: &[u8]) -> Result<(), SnapshotError> {
        if self.ended {
            return Err(self.frame_error("it stands after the last one"));
        }
        let mut body = Body(body);
        let head_comes = self.restore.is_none();
        match body.bytes(1).map(|tag| tag.first().copied().unwrap_or(0)) {
            Some(b'H') if head_comes => self.take_head(body),
            Some(b'R') if !head_comes => {
                while let Some(record) = body.item() {
                    self.records += 1;
                    let inserted = self.restore.as_mut().map(|restore| restore.insert(record).map(drop));
                    inserted.transpose().map_err(|error| self.frame_error(error))?;
                }
                self.expect_end(body)
            }
            Some(b'C') if !head_comes => {
                while let Some(client) = body.item() {
                    self.clients += 1;
                    let inserted = self.restore.as_mut().map(|restore| restore.client(client));
                    inserted.transpose().map_err(|error| self.frame_error(error))?;
                }
                self.expect_end(body)
            }
            Some(b'E') if !head_comes => {
                let counts = (body.number(), body.number());
                if counts != (Some(self.records), Some(self.clients)) {
                    return Err(self.frame_error("it counts other records than came"));
                }
                self.ended = true;
                self.expect_end(body)
            }
            _ => Err(self.frame_error("it is of an unknown kind, or out of place")),
        }
    }

    fn take_head(&mut self, mut body: Body<'_>) -> Result<(), SnapshotError> {
        if body.bytes(4) != Some(MAGIC.as_slice()) {
            return Err(self.frame_error("this is no snapshot"));
        }
        match body.bytes(1) {
            Some([FORMAT]) => {}
            _ => return Err(self.frame_error(format!("its format is unknown; this version reads {FORMAT}"))),
        }
        let (Some(index), Some(meta), Some(header)) = (body.number(), body.item(), body.item()) else {
            return Err(self.frame_error("the head is cut short"));
        };
        let restore = Restore::new(header).map_err(|error| self.frame_error(error))?;
        self.position = Some(AppliedPosition { index, meta: Bytes::copy_from_slice(meta) });
        self.restore = Some(restore);
        self.expect_end(body)
    }

    fn expect_end(&self, body: Body<'_>) -> Result<(), SnapshotError> {
        if body.0.is_empty() { Ok(()) } else { Err(self.frame_error("it has bytes too many")) }
    }
}

fn split_head(head: &[u8; FRAME_HEAD_BYTES]) -> (usize, u64) {
    let [l0, l1, l2, l3, sum @ ..] = *head;
    (usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX), u64::from_le_bytes(sum))
}

/// A frame's body, read from the front.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn item(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (item, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(item)
    }
}
