use std::collections::BTreeMap;

use super::*;
use crate::encoding::{decode_client, encode_client};

const MINUTE: u64 = 60_000;

fn full_at(clients: usize, outcomes: u64) -> Clients {
    Clients { most: Most { clients, outcomes }, ..Clients::new() }
}

fn at(minute: u64) -> ClusterTime {
    ClusterTime(1_000 * MINUTE + minute * MINUTE)
}

fn request(client: ClientId, sequence: u64, lowest_unanswered: u64) -> RequestId {
    RequestId { client, sequence, lowest_unanswered }
}

/// Runs a request; why it was refused.
fn run(clients: &mut Clients, request: RequestId, now: ClusterTime) -> Result<(), Refusal> {
    match clients.admit(request, 7, now) {
        Admission::Run => {
            clients.remember(request, 7, Outcome::Done);
            Ok(())
        }
        Admission::Answered(_) => Ok(()),
        Admission::Refused(refusal) => Err(refusal),
    }
}

/// As another replica that got the clients by snapshot.
fn restored(clients: &Clients) -> Clients {
    let Most { clients: most, outcomes } = clients.most;
    let mut other = full_at(most, outcomes);
    for (id, client) in clients.shards().iter() {
        let (id, client) = decode_client(&encode_client(id, client)).unwrap();
        assert!(other.restore(id, client));
    }
    other
}

#[test]
fn a_full_table_forgets_the_client_unused_for_longest_but_none_used_lately() {
    let mut clients = full_at(3, 1_000);
    for id in [5, 4, 6] {
        clients.open(id, at(0)).unwrap();
    }
    assert_eq!(clients.open(7, at(5)), Err(Refusal::TooManyClients { max: 100_000 }));
    run(&mut clients, request(4, 1, 1), at(1)).unwrap();
    let mut other = restored(&clients);
    for clients in [&mut clients, &mut other] {
        // Six minutes by whole ones: five full ones at least.
        clients.open(7, at(6)).unwrap();
        clients.open(8, at(6)).unwrap();
        assert!(clients.shards().get(5).is_none() && clients.shards().get(6).is_none());
        assert_eq!(clients.open(9, at(6)), Err(Refusal::TooManyClients { max: 100_000 }));
        assert_eq!((clients.len(), clients.outcomes()), (3, 1));
        clients.open(9, at(7)).unwrap();
        assert_eq!((clients.len(), clients.outcomes()), (3, 0));
    }
    assert_eq!(clients.digest(), other.digest());
    assert_eq!(clients.take_changed(), [4, 5, 6, 7, 8, 9], "what was forgotten is to be written too");
}

#[test]
fn with_too_many_outcomes_idle_clients_go_first_and_then_everybody_has_a_share() {
    let mut clients = full_at(100, 40);
    for id in 1..=3 {
        clients.open(id, at(0)).unwrap();
    }
    for sequence in 1..=20 {
        run(&mut clients, request(1, sequence, 1), at(0)).unwrap();
        run(&mut clients, request(2, sequence, 1), at(6)).unwrap();
    }
    assert_eq!(clients.outcomes(), 40);
    // The first has been idle long enough to go; the second has not.
    run(&mut clients, request(3, 1, 1), at(6)).expect("the one who asks is not the one who goes");
    assert_eq!((clients.outcomes(), clients.shards().get(1).is_none()), (21, true));
    for sequence in 21..=39 {
        run(&mut clients, request(2, sequence, 1), at(6)).unwrap();
    }
    let too_many = Err(Refusal::TooManyOutcomes { max: Limits::OUTCOMES_TOTAL_MAX });
    assert_eq!(run(&mut clients, request(2, 40, 1), at(6)), too_many);
    run(&mut clients, request(2, 39, 1), at(6)).expect("a retry needs no room");
    for sequence in 2..=16 {
        run(&mut clients, request(3, sequence, 1), at(6)).unwrap();
    }
    assert_eq!(run(&mut clients, request(3, 17, 1), at(6)), too_many);
    // Once answers are confirmed there is room.
    run(&mut clients, request(2, 40, 40), at(6)).unwrap();
    assert_eq!(clients.outcomes(), 17);
}

/// Counts, digest and the order of forgetting do not depend on the way a replica took.
#[test]
fn random_use_is_counted_and_the_same_after_a_restore() {
    let mut clients = full_at(8, 60);
    let (mut minute, mut seed) = (0, 1_u64);
    let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..5_000_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = seed >> 33;
        minute += u64::from(draw % 19 == 0);
        let (id, now) = (draw / 19 % 12, at(minute));
        let mut other = restored(&clients);
        for clients in [&mut clients, &mut other] {
            clients.sweep(now);
            let result = match draw % 5 {
                0 => clients.open(id, now),
                _ => run(clients, request(id, round, round.saturating_sub(draw % 900)), now),
            };
            if let Err(refusal) = result {
                let kind = format!("{refusal:?}");
                *refusals.entry(kind.split(' ').next().unwrap().to_owned()).or_default() += 1;
            }
            let counted: usize = clients.shards().iter().map(|(_, client)| client.outcomes()).sum();
            assert_eq!((clients.outcomes(), clients.idle.len()), (counted as u64, clients.len()));
            assert!(clients.len() <= 8 && counted <= 60 + 8 * 16);
        }
        assert_eq!((clients.digest(), clients.len()), (other.digest(), other.len()));
    }
    for kind in ["TooManyClients", "TooManyOutcomes", "UnknownClient"] {
        assert!(refusals.contains_key(kind), "{refusals:?}");
    }
}
