//! What a store keeps, and under which keys.
//!
//! ```text
//! 'm' 'h'          part u16    the state's header
//! 'm' 'p'          part u16    the position
//! 's' slot u64     part u16    a session or tombstone
//! 'c' client u64   part u16    a client handle
//! 'e' namespace u32 block u64 part u16    a block of events
//! ```
//! Numbers are big-endian, so that keys sort as they do: blocks of events come in the order in which they are restored.
//! Everything is in one tree, for one batch.

use std::fmt;

use bytes::Bytes;
use quorate_state::{ClientId, EventBlockId, Frozen, Slot, encode_client, encode_events, encode_record};

use crate::sessions::{AppliedPosition, Cut};

const POSITION_FORMAT: u8 = 1;

/// One thing that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    Header,
    Position,
    Record(Slot),
    Client(ClientId),
    Events(EventBlockId),
}

impl Item {
    /// The key without the part's number.
    pub(crate) fn prefix(self) -> Vec<u8> {
        let numbered = |tag: u8, number: u64| [&[tag], number.to_be_bytes().as_slice()].concat();
        match self {
            Item::Header => b"mh".to_vec(),
            Item::Position => b"mp".to_vec(),
            Item::Record(slot) => numbered(b's', slot),
            Item::Client(client) => numbered(b'c', client),
            Item::Events((namespace, block)) => {
                [b"e".as_slice(), &namespace.to_be_bytes(), &block.to_be_bytes()].concat()
            }
        }
    }

    /// The key of one part.
    pub(crate) fn key(self, part: u16) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend(part.to_be_bytes());
        key
    }

    /// What a key stands for; `None` when it is not one of ours.
    pub(crate) fn of_key(key: &[u8]) -> Option<(Item, u16)> {
        let (prefix, part) = key.split_last_chunk::<2>()?;
        let item = match prefix.split_first()? {
            (b'm', b"h") => Item::Header,
            (b'm', b"p") => Item::Position,
            (b's', slot) => Item::Record(u64::from_be_bytes(slot.try_into().ok()?)),
            (b'c', client) => Item::Client(u64::from_be_bytes(client.try_into().ok()?)),
            (b'e', block) => {
                let (namespace, block) = block.split_first_chunk::<4>()?;
                Item::Events((u32::from_be_bytes(*namespace), u64::from_be_bytes(block.try_into().ok()?)))
            }
            _ => return None,
        };
        Some((item, u16::from_be_bytes(*part)))
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Header => write!(f, "the header"),
            Item::Position => write!(f, "the position"),
            Item::Record(slot) => write!(f, "slot {slot}"),
            Item::Client(client) => write!(f, "client {client:016x}"),
            Item::Events((namespace, block)) => {
                write!(f, "block {block} of the events of namespace {namespace}")
            }
        }
    }
}

/// An item as it now is; `None` when it is gone.
pub(crate) type Edit = (Item, Option<Vec<u8>>);

/// What a cut changes, header and position included.
pub(crate) fn edits(cut: &Cut) -> impl Iterator<Item = Edit> {
    let Cut { position, frozen, changes } = cut;
    let records = changes.slots.iter().map(|slot| {
        let record = frozen.record(*slot).map(|(key, record)| encode_record(key, record));
        (Item::Record(*slot), record)
    });
    let clients = changes.clients.iter().map(|id| {
        let client = frozen.client(*id).map(|client| encode_client(*id, client));
        (Item::Client(*id), client)
    });
    let events = changes.events.iter().map(|id| {
        let block = frozen.event_block(*id).map(|block| encode_events(*id, block));
        (Item::Events(*id), block)
    });
    small(position, frozen).into_iter().chain(records).chain(clients).chain(events)
}

/// All of a state.
pub(crate) fn everything(
    position: &AppliedPosition,
    frozen: &Frozen,
) -> impl Iterator<Item = (Item, Vec<u8>)> {
    let records =
        frozen.records().map(|(slot, key, record)| (Item::Record(slot), encode_record(key, record)));
    let clients = frozen.clients().map(|(id, client)| (Item::Client(id), encode_client(id, client)));
    let small = small(position, frozen).into_iter().filter_map(|(item, bytes)| Some((item, bytes?)));
    let events = frozen.event_blocks().map(|(id, block)| (Item::Events(id), encode_events(id, block)));
    small.chain(records).chain(clients).chain(events)
}

fn small(position: &AppliedPosition, frozen: &Frozen) -> [Edit; 2] {
    [(Item::Header, Some(frozen.header().encode())), (Item::Position, Some(encode_position(position)))]
}

/// A format byte, the index (big-endian), the meta bytes.
pub(crate) fn encode_position(position: &AppliedPosition) -> Vec<u8> {
    let mut bytes = vec![POSITION_FORMAT];
    bytes.extend(position.index.to_be_bytes());
    bytes.extend(&position.meta);
    bytes
}

/// Reads what [`encode_position`] wrote.
pub(crate) fn decode_position(bytes: &[u8]) -> Result<AppliedPosition, String> {
    match bytes.split_first() {
        Some((&POSITION_FORMAT, rest)) => {
            let (index, meta) = rest.split_first_chunk::<8>().ok_or("the position is cut short")?;
            Ok(AppliedPosition { index: u64::from_be_bytes(*index), meta: Bytes::copy_from_slice(meta) })
        }
        Some((found, _)) => Err(format!(
            "the position has format {found}; this version reads {POSITION_FORMAT}: upgrade this node"
        )),
        None => Err("the position is empty".into()),
    }
}
