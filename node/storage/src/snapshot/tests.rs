//! A snapshot comes back whole, or not at all.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_state::RestoreError;

use crate::sessions::tests::base::{Dice, Replica};
use crate::snapshot::format::{
    FRAME_BYTES_MAX, FRAME_HEAD_BYTES, ITEM_HEAD_BYTES, MAGIC, PREAMBLE_BYTES, frame_checksum,
};
use crate::{AppliedPosition, SnapshotError, SnapshotReader, SnapshotWriter};

fn read(pieces: &[impl AsRef<[u8]>]) -> Result<(AppliedPosition, quorate_state::State), SnapshotError> {
    let mut reader = SnapshotReader::new();
    for piece in pieces {
        reader.push(piece.as_ref())?;
    }
    reader.finish()
}

fn chunks(replica: &Replica) -> Vec<Bytes> {
    SnapshotWriter::new(replica.position(), replica.state.freeze()).collect()
}

/// Of several frames, one of whose sessions lies across two.
fn large() -> Replica {
    let mut replica = Replica::new(61);
    replica.steps(500, 30);
    for number in 0..6 {
        replica.put(number, &vec![7; 150_000]);
    }
    replica
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_comes_back_in_pieces_of_any_size(seed: u64, steps in 0_u64..600) {
        let mut replica = Replica::new(seed);
        replica.steps(steps, 20);
        let stream: Vec<u8> = chunks(&replica).concat();
        let mut pieces = Vec::new();
        let mut dice = Dice(seed);
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let size = [1, 7, 300, 100_000][usize::try_from(dice.roll(4)).unwrap()];
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let (position, state) = read(&pieces).unwrap();
        prop_assert_eq!(position, replica.position());
        prop_assert_eq!(state.digest(), replica.state.digest());
        let (restored, original) = (state.freeze(), replica.state.freeze());
        prop_assert_eq!(restored.header(), original.header());
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..400), honest_start: bool) {
        let mut stream = if honest_start { b"QSNAPSHT\x02".to_vec() } else { Vec::new() };
        stream.extend(noise);
        prop_assert!(read(&[stream]).is_err());
    }
}

#[test]
fn chunks_are_small_and_made_when_asked_for() {
    let replica = large();
    let mut writer = SnapshotWriter::new(replica.position(), replica.state.freeze());
    let first = writer.next().unwrap();
    let rest: Vec<_> = writer.collect();
    assert!(rest.len() >= 3);
    assert!(rest.iter().chain([&first]).all(|chunk| chunk.len() <= FRAME_BYTES_MAX + 32));
}

#[test]
fn frames_lost_swapped_or_repeated_are_refused() {
    let whole = chunks(&large());
    assert!(read(&whole).is_ok());
    for number in 0..whole.len() {
        let mut lost = whole.clone();
        lost.remove(number);
        assert!(read(&lost).is_err(), "frame {number} lost");
        let mut twice = whole.clone();
        twice.insert(number, whole[number].clone());
        assert!(read(&twice).is_err(), "frame {number} twice");
        if number > 0 {
            let mut swapped = whole.clone();
            swapped.swap(number - 1, number);
            assert!(read(&swapped).is_err(), "frame {number} early");
        }
    }
    let mut more = whole.clone();
    more.push(Bytes::from_static(b"x"));
    assert!(matches!(read(&more), Err(SnapshotError::Incomplete { .. })));
}

#[test]
fn cut_short_anywhere_it_is_refused() {
    let mut replica = Replica::new(62);
    replica.steps(100, 10);
    let stream = chunks(&replica).concat();
    for length in 0..stream.len() {
        assert!(read(&[&stream[..length]]).is_err(), "{length} of {} bytes", stream.len());
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut replica = Replica::new(63);
    replica.steps(15, 10);
    let stream = chunks(&replica).concat();
    for bit in 0..stream.len() * 8 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&[damaged]).is_err(), "bit {bit}");
    }
}

/// The items of a stream, each with its kind's byte.
fn items(stream: &[Bytes]) -> Vec<(u8, Vec<u8>)> {
    let payloads: Vec<u8> = stream.iter().enumerate().fold(Vec::new(), |mut payloads, (number, frame)| {
        let head = FRAME_HEAD_BYTES + if number == 0 { PREAMBLE_BYTES } else { 0 };
        payloads.extend(&frame[head..]);
        payloads
    });
    let (mut rest, mut items) = (payloads.as_slice(), Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<ITEM_HEAD_BYTES>() {
        let [kind, length @ ..] = *head;
        let (item, after) = after.split_at(usize::try_from(u32::from_le_bytes(length)).unwrap());
        items.push((kind, item.to_vec()));
        rest = after;
    }
    items
}

/// A stream of these items, in frames that are sound.
fn stream(format: u8, items: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut payloads = Vec::new();
    for (kind, item) in items {
        payloads.push(*kind);
        payloads.extend(u32::try_from(item.len()).unwrap().to_le_bytes());
        payloads.extend(item);
    }
    let mut stream = [MAGIC.as_slice(), &[format]].concat();
    for (number, payload) in (0..).zip(payloads.chunks(FRAME_BYTES_MAX)) {
        stream.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        stream.extend(frame_checksum(number, payload).to_le_bytes());
        stream.extend(payload);
    }
    stream
}

#[test]
fn events_out_of_order_missing_or_where_the_format_has_none_are_refused() {
    let mut replica = Replica::new(65);
    replica.steps(800, 20);
    let whole = items(&chunks(&replica));
    let blocks: Vec<_> =
        whole.iter().enumerate().filter(|(_, (kind, _))| *kind == 6).map(|(at, _)| at).collect();
    let &[first, second, ..] = blocks.as_slice() else { panic!("too few blocks") };
    assert!(read(&[stream(2, &whole)]).is_ok());

    let mut swapped = whole.clone();
    swapped.swap(first, second);
    let refused = read(&[stream(2, &swapped)]).err();
    assert!(matches!(refused, Some(SnapshotError::Restore(RestoreError::EventsOutOfOrder { .. }))));

    let mut lost = whole.clone();
    lost.remove(*blocks.last().unwrap());
    assert!(matches!(read(&[stream(2, &lost)]).err(), Some(SnapshotError::Count { .. })));
    // Not even with a trailer that agrees.
    let counts = lost.last_mut().unwrap();
    counts.1[16] -= 1;
    let refused = read(&[stream(2, &lost)]).err();
    assert!(matches!(refused, Some(SnapshotError::Restore(RestoreError::Count { .. }))));

    let mut early = whole.clone();
    let block = early.remove(first);
    early.insert(2, block);
    assert!(matches!(read(&[stream(2, &early)]).err(), Some(SnapshotError::Order { .. })));

    assert!(matches!(read(&[stream(1, &whole)]).err(), Some(SnapshotError::Kind { kind: 6, .. })));
    let mut none = whole.clone();
    none.retain(|(kind, _)| *kind != 6);
    none.last_mut().unwrap().1.truncate(16);
    let refused = read(&[stream(1, &none)]).err();
    assert!(matches!(refused, Some(SnapshotError::Restore(RestoreError::Count { .. }))), "they are missed");
    assert!(matches!(read(&[stream(2, &none)]).err(), Some(SnapshotError::Malformed { .. })));
}

#[test]
fn a_newer_format_says_so() {
    let mut stream = chunks(&Replica::new(64)).concat();
    stream[8] = 3;
    let error = read(&[stream]).err().map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("the snapshot has format 3; this version reads 2: corrupt, or sent by a newer version")
    );
}
