//! The state against the model: whatever happens, both answer the same and hold the same.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::test_runner::{Config, TestRunner};
use quorate_state::{Clocks, ClusterTime, Outcome, Refusal, ServedTime, State};

use crate::base::key;
use crate::model::{Kept, Model, Session};
use crate::script::{KEYS, Player, Step, steps};

const CASES: u32 = 10_000;
const STEPS: usize = 40;

/// One name per kind of outcome, to count them. A new one must be added here, or the tests do not compile.
fn kind(outcome: &Outcome) -> &'static str {
    let Outcome::Refused(refusal) = outcome else { return "accepted" };
    match refusal {
        Refusal::NotFound => "NotFound",
        Refusal::Renamed => "Renamed",
        Refusal::AlreadyExists => "AlreadyExists",
        Refusal::RecentlyEnded => "RecentlyEnded",
        Refusal::VersionConflict { .. } => "VersionConflict",
        Refusal::UnknownNamespace => "UnknownNamespace",
        Refusal::SessionTooLarge { .. } => "SessionTooLarge",
        Refusal::TooManyAttributes { .. } => "TooManyAttributes",
        Refusal::TimeoutOutOfRange { .. } => "TimeoutOutOfRange",
        Refusal::UnknownClient => "UnknownClient",
        Refusal::StaleRequest => "StaleRequest",
        Refusal::RequestMismatch => "RequestMismatch",
        Refusal::TooManyOutstanding { .. } => "TooManyOutstanding",
        // Takes 100,000 clients: has a test of its own.
        Refusal::TooManyClients { .. } => "TooManyClients",
        // Takes two million outcomes: see the tests of `clients`.
        Refusal::TooManyOutcomes { .. } => "TooManyOutcomes",
        Refusal::ClientTaken => "ClientTaken",
        Refusal::IncarnationMismatch { .. } => "IncarnationMismatch",
        Refusal::ApplyVersionLower { .. } => "ApplyVersionLower",
    }
}

const EXPECTED: [&str; 17] = [
    "accepted",
    "NotFound",
    "Renamed",
    "AlreadyExists",
    "RecentlyEnded",
    "VersionConflict",
    "UnknownNamespace",
    "SessionTooLarge",
    "TooManyAttributes",
    "TimeoutOutOfRange",
    "UnknownClient",
    "StaleRequest",
    "RequestMismatch",
    "TooManyOutstanding",
    "ClientTaken",
    "IncarnationMismatch",
    "ApplyVersionLower",
];

#[test]
fn the_state_does_what_the_model_does() {
    let seen = RefCell::new(BTreeMap::new());
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(STEPS), |steps| {
            play(&steps, &seen);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    for kind in EXPECTED {
        let count: u64 = seen.get(kind).copied().unwrap_or_default();
        assert!(count >= 100, "{kind} came {count} times: {seen:?}");
    }
}

fn play(steps: &[Step], seen: &RefCell<BTreeMap<&'static str, u64>>) {
    let (mut player, opening, mut state) = Player::start();
    let mut model = Model::new();
    for proposal in opening {
        model.apply(proposal.stamp.0, &proposal.command);
        state.apply(proposal);
    }
    for step in steps {
        for proposal in player.play(step, &state) {
            let expected = model.apply(proposal.stamp.0, &proposal.command);
            let outcome = state.apply(proposal);
            assert_eq!(outcome, expected, "at {step:?}");
            *seen.borrow_mut().entry(kind(&outcome)).or_default() += 1;
        }
        compare(&state, &model);
    }
}

fn compare(state: &State, model: &Model) {
    let clocks = Clocks { cluster: ClusterTime(model.cluster), served: ServedTime(model.served) };
    assert_eq!(state.clocks(), clocks);
    assert_eq!(state.last_tick_wall_ms(), model.wall);
    assert_eq!(state.apply_version(), model.apply_version);
    assert_eq!(state.members(), &model.members);
    assert_eq!(state.clients(), model.clients.len());
    assert_eq!(state.outcomes(), model.outcomes() as u64);
    assert_eq!(state.live_sessions(), model.sessions().count() as u64);
    let reapable = state.reapable(100);
    assert_eq!(state.records(), (model.kept.len() + reapable.len()) as u64);
    for number in KEYS {
        let key = key(number);
        let found = state.lookup(&key, clocks);
        match model.kept.get(&key) {
            Some(Kept::Session(expected)) => assert_eq!(&as_model(state, found.unwrap()), expected),
            Some(Kept::Renamed { .. }) => assert_eq!(found, Err(Refusal::Renamed)),
            Some(Kept::Ended { .. }) | None => assert_eq!(found, Err(Refusal::NotFound)),
        }
        assert!(!(reapable.contains(&key) && model.kept.contains_key(&key)), "{key} is not due");
    }
    let behind = model.cluster - model.served;
    let earliest = model.kept.values().filter_map(|kept| match kept {
        Kept::Ended { until } | Kept::Renamed { until } => Some(*until),
        Kept::Session(session) => {
            let (idle, absolute) = session.ends();
            idle.map(|ends| ends + behind).into_iter().chain(absolute).min()
        }
    });
    if let Some(earliest) = earliest.min() {
        assert!(state.next_due().is_some_and(|due| due.0 <= earliest && due.0 > model.cluster));
    }
}

fn as_model(state: &State, session: &quorate_state::Session) -> Session {
    let names = ["default", crate::base::SMALL];
    let namespace = names.into_iter().find(|name| state.namespace(name).unwrap().0 == session.namespace);
    let attributes = session.attributes.iter().map(|(name, value)| (name.to_string(), value.to_vec()));
    Session {
        namespace: namespace.unwrap().to_string(),
        version: session.version,
        created: session.created.0,
        idle: session.timeouts.idle_ms,
        absolute: session.timeouts.absolute_ms,
        granule: session.granule_ms,
        touched: session.last_touch.0,
        principal: session.principal.to_string(),
        attributes: attributes.collect(),
    }
}
