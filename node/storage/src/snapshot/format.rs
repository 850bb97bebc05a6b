//! The stream's format.
//!
//! ```text
//! stream   "QSNAPSHT" | format u8 | frame, frame, ..
//! frame    length u32 | XXH3-64 of number and payload, u64 | payload (at most 256 KiB)
//! payloads, joined:  position, header, record.., client.., trailer
//! item     kind u8 | length u32 | bytes
//! ```
//! Numbers are little-endian. A frame's number, which is in no frame, is how many came before it: frames that are
//! lost, swapped or sent twice fail their checksum. The trailer counts what came before it; after it comes nothing.
//! Slots are not in it: they are each node's own.

use xxhash_rust::xxh3::Xxh3;

pub(crate) const MAGIC: [u8; 8] = *b"QSNAPSHT";
pub(crate) const FORMAT: u8 = 1;
pub(crate) const PREAMBLE_BYTES: usize = 9;
pub(crate) const FRAME_HEAD_BYTES: usize = 12;
/// The longest payload of a frame.
pub(crate) const FRAME_BYTES_MAX: usize = 256 * 1024;
pub(crate) const ITEM_HEAD_BYTES: usize = 5;
/// The longest item. (Far beyond the largest session; it bounds what a reader keeps.)
pub(crate) const ITEM_BYTES_MAX: usize = 64 << 20;
/// Records and clients, two u64.
pub(crate) const TRAILER_BYTES: usize = 16;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Position = 1,
    Header = 2,
    Record = 3,
    Client = 4,
    Trailer = 5,
}

impl Kind {
    pub(crate) fn of_byte(byte: u8) -> Option<Kind> {
        [Kind::Position, Kind::Header, Kind::Record, Kind::Client, Kind::Trailer]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Position => "position",
            Kind::Header => "header",
            Kind::Record => "record",
            Kind::Client => "client",
            Kind::Trailer => "trailer",
        }
    }
}

/// A frame's checksum.
pub(crate) fn frame_checksum(number: u64, payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&number.to_le_bytes());
    hash.update(payload);
    hash.digest()
}
