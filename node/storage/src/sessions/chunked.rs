//! Values as sled takes them well: in parts of at most 4 KiB, so that none ever becomes one of sled's blob files
//! (which it neither syncs nor reclaims).
//!
//! ```text
//! key:    kind u8 | id u64 BE | part u16 BE
//! part 0: XXH3 of kind, id and the whole value, u64 LE | parts u16 LE | data
//! part n: data
//! ```

use sled::{Batch, IVec};

use crate::checksum;

const PART_BYTES: usize = 4096;
const HEAD_BYTES: usize = 10;

/// What a record is of; orders the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Client = b'c',
    Meta = b'm',
    Session = b's',
}

/// Names a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) id: u64,
}

impl Name {
    fn prefix(self) -> [u8; 9] {
        let mut key = [self.kind as u8; 9];
        for (to, from) in key.iter_mut().skip(1).zip(self.id.to_be_bytes()) {
            *to = from;
        }
        key
    }

    fn part(self, part: u16) -> Vec<u8> {
        [self.prefix().as_slice(), &part.to_be_bytes()].concat()
    }

    fn sum(self, value: &[u8]) -> u64 {
        checksum(&[self.prefix().as_slice(), value].concat())
    }
}

/// Adds a value to `batch`, and the removal of parts that an older, longer one left. Returns its number of parts.
pub(super) fn put(batch: &mut Batch, name: Name, value: &[u8], old_parts: u16) -> u16 {
    let framed = HEAD_BYTES + value.len();
    // A session is at most 1 MiB and a client's outcomes a few hundred KiB: far fewer than 65,536 parts.
    let parts = u16::try_from(framed.div_ceil(PART_BYTES)).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(framed);
    bytes.extend(name.sum(value).to_le_bytes());
    bytes.extend(parts.to_le_bytes());
    bytes.extend_from_slice(value);
    for (part, data) in (0..parts).zip(bytes.chunks(PART_BYTES)) {
        batch.insert(name.part(part), data);
    }
    remove_parts(batch, name, parts..old_parts);
    parts
}

/// Adds the removal of a value of `parts` parts to `batch`.
pub(super) fn remove(batch: &mut Batch, name: Name, parts: u16) {
    remove_parts(batch, name, 0..parts);
}

fn remove_parts(batch: &mut Batch, name: Name, parts: std::ops::Range<u16>) {
    for part in parts {
        batch.remove(name.part(part));
    }
}

/// A value read back.
pub(super) struct Value {
    pub(super) name: Name,
    pub(super) bytes: Vec<u8>,
    pub(super) parts: u16,
}

/// Puts parts together as a scan in key order delivers them.
#[derive(Default)]
pub(super) struct Assembler {
    pending: Option<(Name, u16, u16, Vec<u8>)>,
}

impl Assembler {
    /// Takes the next key and its data; gives the value when it is complete.
    pub(super) fn push(&mut self, key: &IVec, data: &IVec) -> Result<Option<Value>, String> {
        let (name, part) = parse_key(key)?;
        let describe = |what: &str| format!("record {:?} {}: {what}", name.kind, name.id);
        let (parts, next, mut bytes) = match self.pending.take() {
            None if part == 0 => {
                let head = data.get(8..HEAD_BYTES).and_then(|head| head.first_chunk::<2>());
                let parts = u16::from_le_bytes(*head.ok_or_else(|| describe("its first part is cut short"))?);
                (parts, 0, Vec::new())
            }
            None => return Err(describe("its first part is missing")),
            Some((pending, parts, next, bytes)) if pending == name && part == next => (parts, next, bytes),
            Some((pending, ..)) => {
                return Err(format!("record {:?} {}: a part is missing", pending.kind, pending.id));
            }
        };
        bytes.extend_from_slice(data);
        if next + 1 < parts {
            self.pending = Some((name, parts, next + 1, bytes));
            return Ok(None);
        }
        let sum = bytes.first_chunk::<8>().map(|sum| u64::from_le_bytes(*sum));
        let value = bytes.split_off(HEAD_BYTES.min(bytes.len()));
        if sum != Some(name.sum(&value)) {
            return Err(describe("its checksum does not match"));
        }
        Ok(Some(Value { name, bytes: value, parts }))
    }

    /// Nothing may be half read at the end.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.pending {
            None => Ok(()),
            Some((name, ..)) => Err(format!("record {:?} {}: its last part is missing", name.kind, name.id)),
        }
    }
}

fn parse_key(key: &[u8]) -> Result<(Name, u16), String> {
    let unknown = || format!("a key of {} bytes that this version does not know", key.len());
    let (kind, rest) = key.split_first().ok_or_else(unknown)?;
    let (id, part) = rest.split_first_chunk::<8>().ok_or_else(unknown)?;
    let part: [u8; 2] = part.try_into().map_err(|_| unknown())?;
    let kind = match kind {
        b'c' => Kind::Client,
        b'm' => Kind::Meta,
        b's' => Kind::Session,
        _ => return Err(unknown()),
    };
    Ok((Name { kind, id: u64::from_be_bytes(*id) }, u16::from_be_bytes(part)))
}
