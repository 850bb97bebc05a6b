//! The stream's format.
//!
//! ```text
//! stream   "QSNAPSHT" | format u8 | frame, frame, ..
//! frame    length u32 | XXH3-64 of number and payload, u64 | payload (at most 256 KiB)
//! payloads, joined:  position, header, record.., client.., block of events.., trailer
//! item     kind u8 | length u32 | bytes
//! ```
//! Numbers are little-endian. A frame's number, which is in no frame, is how many came before it: frames that are
//! lost, swapped or sent twice fail their checksum. The trailer counts what came before it; after it comes nothing.
//! Slots are not in it: they are each node's own. Format 1 had no events; it is read, not written.

use xxhash_rust::xxh3::Xxh3;

pub(crate) const MAGIC: [u8; 8] = *b"QSNAPSHT";
pub(crate) const FORMAT: u8 = 2;
/// Without events.
pub(crate) const FORMAT_WITHOUT_EVENTS: u8 = 1;
pub(crate) const PREAMBLE_BYTES: usize = 9;
pub(crate) const FRAME_HEAD_BYTES: usize = 12;
/// The longest payload of a frame.
pub(crate) const FRAME_BYTES_MAX: usize = 256 * 1024;
pub(crate) const ITEM_HEAD_BYTES: usize = 5;
/// The longest item. (Far beyond the largest session; it bounds what a reader keeps.)
pub(crate) const ITEM_BYTES_MAX: usize = 64 << 20;
/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Position = 1,
    Header = 2,
    Record = 3,
    Client = 4,
    Trailer = 5,
    Events = 6,
}

impl Kind {
    /// In the order in which they come.
    const ALL: [Kind; 6] =
        [Kind::Position, Kind::Header, Kind::Record, Kind::Client, Kind::Events, Kind::Trailer];

    pub(crate) fn of_byte(byte: u8, format: u8) -> Option<Kind> {
        let known = |kind: &Kind| *kind != Kind::Events || format != FORMAT_WITHOUT_EVENTS;
        Kind::ALL.into_iter().filter(known).find(|kind| *kind as u8 == byte)
    }

    /// Whether it may come after `last`.
    pub(crate) fn may_follow(self, last: Option<Kind>) -> bool {
        let place = |wanted: Kind| Kind::ALL.iter().position(|kind| *kind == wanted);
        match (last, self) {
            (None, Kind::Position) | (Some(Kind::Position), Kind::Header) => true,
            (None | Some(Kind::Position | Kind::Trailer), _) | (_, Kind::Position | Kind::Header) => false,
            (Some(last), next) => place(last) <= place(next),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Position => "position",
            Kind::Header => "header",
            Kind::Record => "record",
            Kind::Client => "client",
            Kind::Events => "block of events",
            Kind::Trailer => "trailer",
        }
    }
}

/// Items of the kinds that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) clients: u64,
    pub(crate) events: u64,
}

impl Counts {
    /// What the trailer holds: two u64, or three.
    pub(crate) fn encode(self, format: u8) -> Vec<u8> {
        let counts = [self.records, self.clients, self.events];
        let counted = if format == FORMAT_WITHOUT_EVENTS { 2 } else { 3 };
        counts.iter().take(counted).flat_map(|count| count.to_le_bytes()).collect()
    }
}

/// A frame's checksum.
pub(crate) fn frame_checksum(number: u64, payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&number.to_le_bytes());
    hash.update(payload);
    hash.digest()
}
