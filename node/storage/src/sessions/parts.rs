//! Values in parts: sled puts what is larger than an eighth of its segment or so into files that it never syncs and
//! leaks, so no value may be larger than [`PART_BYTES_MAX`].
//!
//! ```text
//! part 0:   format u8 | parts u16 | XXH3-64 of the key's prefix and the whole value, u64 | start of the value
//! part 1..: the rest, in order
//! ```

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

use crate::sessions::item::Item;

/// The longest value given to sled. A leaf of sled's holds up to about 26 values before it splits, and must stay
/// below 128 KiB: 26 x 3 KiB leaves room.
pub(crate) const PART_BYTES_MAX: usize = 3 * 1024;
/// Of part 0.
const HEAD_BYTES: usize = 11;
const FORMAT: u8 = 1;

/// The value that was to be kept takes more parts than can be counted (192 MiB).
#[derive(Debug)]
pub(crate) struct TooLong;

/// Splits a value. Always gives at least one part.
pub(crate) fn split(item: Item, value: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
    let (first, rest) = value.split_at(value.len().min(PART_BYTES_MAX - HEAD_BYTES));
    let count = u16::try_from(1 + rest.len().div_ceil(PART_BYTES_MAX)).map_err(|_| TooLong)?;
    let mut head = Vec::with_capacity(HEAD_BYTES + first.len());
    head.push(FORMAT);
    head.extend(count.to_be_bytes());
    head.extend(checksum(item, value).to_be_bytes());
    head.extend(first);
    let mut parts = vec![head];
    parts.extend(rest.chunks(PART_BYTES_MAX).map(<[u8]>::to_vec));
    Ok(parts)
}

fn checksum(item: Item, value: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&item.prefix());
    hash.update(value);
    hash.digest()
}

/// An item read back.
pub(crate) struct Whole {
    pub(crate) item: Item,
    pub(crate) value: Vec<u8>,
    pub(crate) parts: u16,
}

/// Puts parts, which come in the order of their keys, together again.
#[derive(Default)]
pub(crate) struct Assembler {
    /// The item begun, its checksum, and the number of its next part.
    begun: Option<(Whole, u64, u16)>,
}

impl Assembler {
    /// Takes the next key and value; gives an item once its last part is here.
    pub(crate) fn push(&mut self, key: &[u8], part: &[u8]) -> Result<Option<Whole>, String> {
        let (item, number) = Item::of_key(key).ok_or_else(|| format!("unknown key {key:02x?}"))?;
        match &mut self.begun {
            None if number == 0 => self.begin(item, part)?,
            Some((whole, _, next)) if whole.item == item && *next == number => {
                whole.value.extend(part);
                *next += 1;
            }
            Some((whole, _, next)) => {
                return Err(format!("{}: part {next} of {} is missing", whole.item, whole.parts));
            }
            None => return Err(format!("{item}: part {number} belongs to no value")),
        }
        match self.begun.take() {
            Some((whole, sum, next)) if next == whole.parts => {
                if checksum(whole.item, &whole.value) != sum {
                    return Err(format!("{}: the checksum does not match", whole.item));
                }
                Ok(Some(whole))
            }
            unfinished => {
                self.begun = unfinished;
                Ok(None)
            }
        }
    }

    fn begin(&mut self, item: Item, part: &[u8]) -> Result<(), String> {
        let (head, value) =
            part.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| format!("{item}: part 0 is cut short"))?;
        let [format, p0, p1, s0, s1, s2, s3, s4, s5, s6, s7] = *head;
        if format != FORMAT {
            return Err(format!("{item}: its parts have format {format}; this version reads {FORMAT}"));
        }
        let parts = u16::from_be_bytes([p0, p1]);
        if parts == 0 {
            return Err(format!("{item}: it claims to have no part"));
        }
        let sum = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        self.begun = Some((Whole { item, value: value.to_vec(), parts }, sum, 1));
        Ok(())
    }

    /// Nothing may be left over at the end.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.begun {
            None => Ok(()),
            Some((whole, _, next)) => {
                Err(format!("{}: part {next} of {} is missing", whole.item, whole.parts))
            }
        }
    }
}

/// How many parts the items in a store have. Of records and clients only those of more than one are listed, which are few;
/// blocks of events are all listed (at most some 50,000), since many come and go without ever reaching the store.
#[derive(Default)]
pub(crate) struct PartCounts(BTreeMap<Item, u16>);

impl PartCounts {
    /// Notes an item's parts (0: it is gone); gives what there may have been before.
    pub(crate) fn set(&mut self, item: Item, parts: u16) -> u16 {
        let unlisted = u16::from(!matches!(item, Item::Events(_)));
        let before = if parts > unlisted { self.0.insert(item, parts) } else { self.0.remove(&item) };
        before.unwrap_or(unlisted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(item: Item, parts: &[Vec<u8>]) -> Result<Option<Vec<u8>>, String> {
        let mut assembler = Assembler::default();
        let mut value = None;
        for (number, part) in (0..).zip(parts) {
            if let Some(whole) = assembler.push(&item.key(number), part)? {
                value = Some(whole.value);
            }
        }
        assembler.finish().map(|()| value)
    }

    #[test]
    fn values_of_every_length_come_back() {
        let first = PART_BYTES_MAX - HEAD_BYTES;
        for length in
            [0, 1, first - 1, first, first + 1, first + PART_BYTES_MAX, first + PART_BYTES_MAX + 1, 1 << 20]
        {
            let value: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let parts = split(Item::Record(7), &value).unwrap();
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES_MAX), "{length}");
            assert_eq!(assemble(Item::Record(7), &parts), Ok(Some(value)), "{length}");
        }
    }

    #[test]
    fn damage_of_any_kind_is_noticed() {
        let value: Vec<u8> = (0..10_000).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let parts = split(Item::Client(7), &value).unwrap();
        assert_eq!(parts.len(), 4);
        assert!(assemble(Item::Client(8), &parts).is_err(), "another key");
        assert!(assemble(Item::Record(7), &parts).is_err(), "another kind of key");
        assert!(assemble(Item::Client(7), &parts[..3]).is_err(), "a part missing at the end");
        let mut swapped = parts.clone();
        swapped.swap(1, 2);
        assert!(assemble(Item::Client(7), &swapped).is_err(), "parts swapped");
        let mut stale = parts.clone();
        stale.push(b"stale".to_vec());
        assert!(assemble(Item::Client(7), &stale).is_err(), "a part too many");
        for part in 0..parts.len() {
            for bit in (0..parts[part].len() * 8).step_by(13) {
                let mut damaged = parts.clone();
                damaged[part][bit / 8] ^= 1 << (bit % 8);
                assert!(assemble(Item::Client(7), &damaged).is_err(), "part {part} bit {bit}");
            }
        }
    }

    #[test]
    fn keys_sort_and_read_back() {
        let items = [
            Item::Client(1),
            Item::Client(256),
            Item::Events((1, 255)),
            Item::Events((1, 256)),
            Item::Events((2, 0)),
            Item::Events((u32::MAX, u64::MAX)),
            Item::Header,
            Item::Position,
            Item::Record(0),
            Item::Record(u64::MAX),
        ];
        let keys: Vec<_> = items.iter().flat_map(|item| [item.key(0), item.key(1), item.key(256)]).collect();
        assert!(keys.is_sorted());
        for item in items {
            assert_eq!(Item::of_key(&item.key(259)), Some((item, 259)));
        }
        for key in ["", "m", "mx00", "s0000", "s000000000000", "e0000000000000", "e000000000000000", "x"] {
            assert_eq!(Item::of_key(key.as_bytes()), None, "{key}");
        }
    }
}
