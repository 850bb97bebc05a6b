//! A whole state as a stream of bytes, for a node that has fallen behind the log.
//!
//! ```text
//! frame:   length u32 LE of the body | XXH3 u64 LE of number and body | body; frames are numbered from 0
//! body:    'H' magic, format, position, header      first
//!          'R' (length u32 LE, record)*              then the records
//!          'C' (length u32 LE, client)*              then the clients
//!          'E' records u64 LE, clients u64 LE        last
//! ```

mod reader;
mod writer;

pub use reader::{SnapshotError, SnapshotReader};
pub use writer::SnapshotWriter;

use crate::checksum;

const MAGIC: &[u8; 4] = b"QSNP";
const FORMAT: u8 = 1;
const FRAME_HEAD_BYTES: usize = 12;

fn frame_sum(number: u64, body: &[u8]) -> u64 {
    // The number keeps a frame from passing in another's place.
    checksum(body).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
