//! Bytes that nobody wrote: nothing panics, and nothing is silently taken for something else.

use proptest::prelude::*;
use quorate_state::{
    Header, Proposal, Restore, RestoreError, State, decode_client, decode_record, encode_client,
    encode_record,
};

use crate::base::{Replica, Store, delete, restored, touch};
use crate::script::{Player, steps};

fn apply_and_check(state: &mut Replica, proposal: Proposal) {
    if State::supports(&proposal.command) {
        state.apply(proposal);
        let _ = state.reapable(10);
        let _ = state.next_due();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_as_proposals(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..20)) {
        let mut state = Replica::first();
        for mut payload in payloads {
            for format in [payload.first().copied(), Some(Proposal::FORMAT)].into_iter().flatten() {
                if let Some(first) = payload.first_mut() {
                    *first = format;
                }
                if let Ok(proposal) = Proposal::decode(&payload) {
                    apply_and_check(&mut state, proposal);
                }
            }
        }
        prop_assert_eq!(restored(&state.freeze(), true).digest(), state.digest());
    }

    #[test]
    fn damaged_proposals(steps in steps(20), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 20)) {
        let (mut player, opening, mut state) = Player::start();
        for proposal in opening {
            state.apply(proposal);
        }
        for (step, (at, byte)) in steps.iter().zip(damage) {
            for proposal in player.play(step, &state) {
                let mut bytes = proposal.encode().to_vec();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if let Ok(damaged) = Proposal::decode(&bytes) {
                    apply_and_check(&mut state, damaged);
                }
                apply_and_check(&mut state, proposal);
            }
        }
        prop_assert_eq!(restored(&state.freeze(), false).digest(), state.digest());
    }

    #[test]
    fn random_bytes_as_parts_of_a_state(mut bytes in prop::collection::vec(any::<u8>(), 0..200), slot: u64) {
        for format in [None, Some(1), Some(2)] {
            if let (Some(format), Some(first)) = (format, bytes.first_mut()) {
                *first = format;
            }
            if let Ok(restore) = Restore::new(&bytes) {
                let _ = restore.finish();
            }
            let mut restore = Restore::new(&State::new().freeze().header().encode()).unwrap();
            let inserted = [restore.insert_at(slot, &bytes).is_ok(), restore.insert(&bytes).is_ok()];
            let client = restore.client(&bytes).is_ok();
            let finished = restore.finish();
            prop_assert!(finished.is_ok() == (inserted == [false, false] && !client));
        }
    }
}

/// A header, a record and a client with something in them.
fn parts() -> [Vec<u8>; 3] {
    let mut store = Store::new();
    store.apply(quorate_state::Command::OpenClient { client: 300 });
    store.create(1);
    store.request((300, 1, 1), touch(1));
    let frozen = store.state.freeze();
    let (_, key, record) = frozen.records().next().unwrap();
    let client = encode_client(300, frozen.client(300).unwrap());
    [frozen.header().encode(), encode_record(key, record), client]
}

fn decode_error(part: usize, bytes: &[u8]) -> Option<String> {
    match part {
        0 => Header::decode(bytes).err(),
        1 => decode_record(bytes).err(),
        _ => decode_client(bytes).err(),
    }
    .map(|error| error.to_string())
}

#[test]
fn parts_cut_short_or_long_or_of_another_format_are_refused() {
    let names = ["header", "record", "client"];
    for (part, bytes) in parts().into_iter().enumerate() {
        assert_eq!(decode_error(part, &bytes), None);
        for length in 0..bytes.len() {
            let error = decode_error(part, &bytes[..length]).unwrap();
            assert!(error.contains(names[part]), "{error}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode_error(part, &longer).unwrap().contains("1 bytes too many"));
        for format in [0, 3, 0x81, 255] {
            let mut other = bytes.clone();
            other[0] = format;
            let error = decode_error(part, &other).unwrap();
            let known = [2, 2, 1][part];
            let what = format!("has format {format}; this version reads up to {known}");
            assert!(error.contains(&what), "{error}");
        }
    }
}

#[test]
fn proposals_cut_short_or_long_or_of_another_format_are_refused() {
    let mut store = Store::new();
    let (mut player, _, _) = Player::start();
    let step = crate::script::Step {
        advance_ms: 0,
        action: crate::script::Action::Send(quorate_state::Command::Operate {
            request: None,
            operation: quorate_state::Operation::Create(crate::base::create(1)),
        }),
    };
    let bytes = player.play(&step, &store.state).remove(0).encode();
    for length in 0..bytes.len() {
        assert!(Proposal::decode(&bytes[..length]).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Proposal::decode(&longer).unwrap_err().to_string().contains("followed by 1 bytes"));
    let newer = [&[9], &bytes[1..]].concat();
    assert!(Proposal::decode(&newer).unwrap_err().to_string().contains("has format 9"));
    store.state.apply(Proposal::decode(&bytes).unwrap());
}

#[test]
fn what_is_missing_doubled_or_changed_is_found_out() {
    let mut store = Store::new();
    store.apply(quorate_state::Command::OpenClient { client: 300 });
    store.create(1);
    store.create(2);
    store.run(delete(2));
    let frozen = store.state.freeze();
    let header = frozen.header().encode();
    let records: Vec<_> =
        frozen.records().map(|(slot, key, record)| (slot, encode_record(key, record))).collect();
    let client = encode_client(300, frozen.client(300).unwrap());

    let start = || {
        let mut restore = Restore::new(&header).unwrap();
        restore.insert_at(records[0].0, &records[0].1).unwrap();
        restore
    };
    let mut restore = start();
    assert!(matches!(
        restore.insert_at(records[0].0, &records[1].1),
        Err(RestoreError::SlotTaken { slot: 0 })
    ));
    assert!(matches!(
        restore.insert_at(9, &records[0].1),
        Err(RestoreError::KeyTwice { first: 0, second: 9, .. })
    ));
    assert!(matches!(restore.insert_at(1 << 32, &records[1].1), Err(RestoreError::SlotOutOfRange { .. })));
    restore.client(&client).unwrap();
    assert!(matches!(restore.client(&client), Err(RestoreError::ClientTwice { id: 300 })));
    let missing = restore.finish().err().unwrap();
    assert_eq!(missing.to_string(), "there are 1 records, but the header counts 2");

    let mut restore = start();
    restore.insert(&records[1].1).unwrap();
    let missing = restore.finish().err().unwrap();
    assert_eq!(missing.to_string(), "there are 0 clients, but the header counts 1");

    // Any byte changed, of any part, is an error.
    for part in 0..3 {
        let original = [&header, &records[1].1, &client][part];
        for (at, bit) in (0..original.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut parts = [header.clone(), records[1].1.clone(), client.clone()];
            parts[part][at] ^= 1 << bit;
            let result = Restore::new(&parts[0]).and_then(|mut restore| {
                restore.insert(&records[0].1)?;
                restore.insert(&parts[1])?;
                restore.client(&parts[2])?;
                restore.finish()
            });
            assert!(result.is_err(), "part {part}, byte {at}, bit {bit}");
        }
    }
}
