//! The gRPC messages that one side of a connection sent: HTTP/2 frames from its first byte on.

use std::collections::BTreeMap;

const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// Puts the bytes of one connection together again.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    unread: Vec<u8>,
    streams: BTreeMap<u32, Vec<u8>>,
    ended: usize,
}

impl Connection {
    /// How many streams this side has ended: requests sent whole, or calls answered whole.
    pub(crate) fn ended(&self) -> usize {
        self.ended
    }

    /// Takes the next bytes; returns the messages that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.unread.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(frame) = self.take_frame() {
            // In other kinds of frames this bit means something else.
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                self.ended += 1;
            }
            if frame.kind != DATA {
                continue;
            }
            let stream = self.streams.entry(frame.stream).or_default();
            stream.extend_from_slice(frame.data());
            while let Some(message) = take_message(stream) {
                messages.push(message);
            }
        }
        messages
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *self.unread.first_chunk::<HEAD_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).ok()?;
        let payload = self.unread.get(HEAD_BYTES..HEAD_BYTES + length)?.to_vec();
        self.unread.drain(..HEAD_BYTES + length);
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]), payload })
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The payload without its padding.
    fn data(&self) -> &[u8] {
        if self.flags & PADDED == 0 {
            return &self.payload;
        }
        let (padding, data) = self.payload.split_first().unwrap_or((&0, &[]));
        data.get(..data.len().saturating_sub(usize::from(*padding))).unwrap_or_default()
    }
}

/// A gRPC message: a flag, its length, its bytes.
fn take_message(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let [_, l0, l1, l2, l3] = *stream.first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).ok()?;
    let message = stream.get(5..5 + length)?.to_vec();
    stream.drain(..5 + length);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, 0, 0, 0, 0, stream];
        frame.extend(payload);
        frame
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let bytes = [
            frame(4, 0, &[]),
            frame(DATA, 1, &[0, 0, 0, 0, 3, 7, 8]),
            frame(DATA, 3, &[0, 0, 0, 0, 1, 5]),
            frame(DATA, 1, &[9, 0, 0, 0, 0, 0]),
        ]
        .concat();
        for cut in 0..bytes.len() {
            let mut connection = Connection::default();
            let mut messages = connection.push(&bytes[..cut]);
            messages.extend(connection.push(&bytes[cut..]));
            assert_eq!(messages, [vec![5], vec![7, 8, 9], vec![]], "cut at {cut}");
            assert_eq!(connection.ended(), 0);
        }
    }

    #[test]
    fn a_stream_ends_with_its_last_data_or_its_trailers() {
        let flagged = |kind, flags| vec![0, 0, 0, kind, flags, 0, 0, 0, 1];
        let mut connection = Connection::default();
        connection.push(&[flagged(DATA, END_STREAM), flagged(HEADERS, END_STREAM)].concat());
        assert_eq!(connection.ended(), 2);
        // The same bit acknowledges settings and pings.
        connection.push(&[flagged(4, 1), flagged(6, 1), flagged(HEADERS, 4)].concat());
        assert_eq!(connection.ended(), 2);
    }
}
