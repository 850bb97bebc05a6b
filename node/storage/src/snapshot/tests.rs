//! A snapshot comes back whole, or not at all.

use bytes::Bytes;
use proptest::prelude::*;

use crate::sessions::tests::base::{Dice, Replica};
use crate::snapshot::format::FRAME_BYTES_MAX;
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
        let mut stream = if honest_start { b"QSNAPSHT\x01".to_vec() } else { Vec::new() };
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

#[test]
fn a_newer_format_says_so() {
    let mut stream = chunks(&Replica::new(64)).concat();
    stream[8] = 2;
    let error = read(&[stream]).err().map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("the snapshot has format 2; this version reads 1: corrupt, or sent by a newer version")
    );
}
