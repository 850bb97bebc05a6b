//! From a stream back to a state.

use bytes::Bytes;
use quorate_state::{Restore, State};

use crate::sessions::AppliedPosition;
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{
    Counts, FORMAT, FORMAT_WITHOUT_EVENTS, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, ITEM_BYTES_MAX,
    ITEM_HEAD_BYTES, Kind, MAGIC, PREAMBLE_BYTES, frame_checksum,
};

/// A piece and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Takes a stream in pieces of any size. After an error it must not be used again.
#[derive(Default)]
pub struct SnapshotReader {
    /// Bytes that do not make a whole frame yet.
    raw: Vec<u8>,
    /// Once the stream has begun: its format.
    format: Option<u8>,
    frames: u64,
    /// Checked bytes that do not make a whole item yet.
    items: Vec<u8>,
    last: Option<Kind>,
    position: Option<AppliedPosition>,
    restore: Option<Restore>,
    counts: Counts,
}

impl SnapshotReader {
    /// A reader before the first byte.
    #[must_use]
    pub fn new() -> SnapshotReader {
        SnapshotReader::default()
    }

    /// Takes the next piece of the stream.
    ///
    /// # Errors
    /// [`SnapshotError`], as soon as it is seen.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), SnapshotError> {
        self.raw.extend(piece);
        if self.format.is_none() {
            let Some((preamble, rest)) = self.raw.split_first_chunk::<PREAMBLE_BYTES>() else {
                return Ok(());
            };
            let [magic @ .., format] = preamble;
            if *magic != MAGIC {
                return Err(SnapshotError::Magic);
            }
            if ![FORMAT_WITHOUT_EVENTS, FORMAT].contains(format) {
                return Err(SnapshotError::Format { found: *format, known: FORMAT });
            }
            self.format = Some(*format);
            self.raw = rest.to_vec();
        }
        let raw = std::mem::take(&mut self.raw);
        let mut rest = raw.as_slice();
        while let Some((payload, after)) = self.frame(rest)? {
            self.items.extend(payload);
            self.frames += 1;
            rest = after;
            self.take_items()?;
        }
        self.raw = rest.to_vec();
        Ok(())
    }

    /// The payload of the first frame in `raw`, and what follows; `None` when it is not whole yet.
    fn frame<'a>(&self, raw: &'a [u8]) -> Result<Option<Split<'a>>, SnapshotError> {
        let Some((head, rest)) = raw.split_first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
        let [l0, l1, l2, l3, sum @ ..] = *head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes > FRAME_BYTES_MAX {
            return Err(SnapshotError::Length { what: "frame", bytes: length.into(), number: self.frames });
        }
        let Some((payload, after)) = rest.split_at_checked(bytes) else { return Ok(None) };
        if frame_checksum(self.frames, payload) != u64::from_le_bytes(sum) {
            return Err(SnapshotError::Frame { number: self.frames });
        }
        Ok(Some((payload, after)))
    }

    fn take_items(&mut self) -> Result<(), SnapshotError> {
        let items = std::mem::take(&mut self.items);
        let mut rest = items.as_slice();
        while let Some((head, after)) = rest.split_first_chunk::<ITEM_HEAD_BYTES>() {
            let number = self.frames.saturating_sub(1);
            let [kind, length @ ..] = *head;
            let length = u32::from_le_bytes(length);
            let bytes = usize::try_from(length).unwrap_or(usize::MAX);
            if bytes > ITEM_BYTES_MAX {
                return Err(SnapshotError::Length { what: "item", bytes: length.into(), number });
            }
            let Some((item, after)) = after.split_at_checked(bytes) else { break };
            let format = self.format.unwrap_or(FORMAT);
            let kind = Kind::of_byte(kind, format).ok_or(SnapshotError::Kind { kind, number })?;
            self.take(kind, item, number)?;
            rest = after;
        }
        self.items = rest.to_vec();
        Ok(())
    }

    fn take(&mut self, kind: Kind, item: &[u8], number: u64) -> Result<(), SnapshotError> {
        let out_of_place = SnapshotError::Order { found: kind.name(), number };
        if !kind.may_follow(self.last) {
            return Err(out_of_place);
        }
        self.last = Some(kind);
        match (kind, &mut self.restore) {
            (Kind::Position, _) => {
                let malformed = SnapshotError::Malformed { what: kind.name() };
                let (index, meta) = item.split_first_chunk::<8>().ok_or(malformed)?;
                let meta = Bytes::copy_from_slice(meta);
                self.position = Some(AppliedPosition { index: u64::from_le_bytes(*index), meta });
            }
            (Kind::Header, restore) => *restore = Some(Restore::new(item)?),
            (Kind::Record, Some(restore)) => {
                self.counts.records += 1;
                restore.insert(item)?;
            }
            (Kind::Client, Some(restore)) => {
                self.counts.clients += 1;
                restore.client(item)?;
            }
            (Kind::Events, Some(restore)) => {
                self.counts.events += 1;
                restore.events(item)?;
            }
            (Kind::Trailer, Some(_)) => self.check_trailer(item)?,
            (_, None) => return Err(out_of_place),
        }
        Ok(())
    }

    fn check_trailer(&self, item: &[u8]) -> Result<(), SnapshotError> {
        let counts = self.counts.encode(self.format.unwrap_or(FORMAT));
        if item.len() != counts.len() {
            return Err(SnapshotError::Malformed { what: Kind::Trailer.name() });
        }
        if item != counts {
            let Counts { records, clients, events } = self.counts;
            return Err(SnapshotError::Count { records, clients, events });
        }
        Ok(())
    }

    /// The stream has ended: gives what it held.
    ///
    /// # Errors
    /// [`SnapshotError`]: something is missing or left over, or the state's own counts or digest do not match.
    pub fn finish(self) -> Result<(AppliedPosition, State), SnapshotError> {
        let incomplete = SnapshotError::Incomplete { number: self.frames };
        if self.last != Some(Kind::Trailer) || !self.raw.is_empty() || !self.items.is_empty() {
            return Err(incomplete);
        }
        match (self.position, self.restore) {
            (Some(position), Some(restore)) => Ok((position, restore.finish()?)),
            _ => Err(incomplete),
        }
    }
}
