//! The state against the model: whatever happens, both answer the same and hold the same.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::test_runner::{Config, TestRunner};
use quorate_state::{Clocks, ClusterTime, Cursor, Happening, Outcome, Refusal, ServedTime, State};

use crate::base::{Replica, key};
use crate::model::{Event, Kept, Lock, Model, Session, What};
use crate::script::{KEYS, Player, Step, steps};

/// In a release run by hand `QUORATE_MODEL_CASES=100000`.
const CASES: u32 = 10_000;
/// The least number of commands of a sequence.
const STEPS: usize = 50;
/// A snapshot is taken, and the state restored from it, after so many steps.
const RESTORE_EVERY: usize = 17;

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
        Refusal::Locked { .. } => "Locked",
        Refusal::StaleFence => "StaleFence",
        Refusal::NotLocked => "NotLocked",
        Refusal::WaitOver => "WaitOver",
        Refusal::NamespaceFull { .. } => "NamespaceFull",
        Refusal::NamespaceBytesExceeded { .. } => "NamespaceBytesExceeded",
        Refusal::TooManySessionsOfPrincipal { .. } => "TooManySessionsOfPrincipal",
        Refusal::NotOfPrincipal => "NotOfPrincipal",
        Refusal::NamespaceExists => "NamespaceExists",
        Refusal::NamespaceRequired => "NamespaceRequired",
        Refusal::PolicyOutOfRange { .. } => "PolicyOutOfRange",
        // A thousand waiters, namespaces, or ten times as many principals: see `bounds`.
        Refusal::TooManyWaiters { .. } => "TooManyWaiters",
        Refusal::TooManyNamespaces { .. } => "TooManyNamespaces",
        Refusal::TooManyRevocations { .. } => "TooManyRevocations",
        // Before the apply version is raised: see `bounds`.
        Refusal::NotYetSupported { .. } => "NotYetSupported",
    }
}

const EXPECTED: [&str; 28] = [
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
    "Locked",
    "StaleFence",
    "NotLocked",
    "WaitOver",
    "NamespaceFull",
    "NamespaceBytesExceeded",
    "TooManySessionsOfPrincipal",
    "NotOfPrincipal",
    "NamespaceExists",
    "NamespaceRequired",
    "PolicyOutOfRange",
];

#[test]
#[expect(clippy::disallowed_methods, reason = "how much is tested is no part of the state")]
fn the_state_does_what_the_model_does() {
    let seen = RefCell::new(BTreeMap::new());
    let cases =
        std::env::var("QUORATE_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(STEPS), |steps| {
            play(&steps, &seen);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    println!("{cases} sequences of {STEPS} commands or more: {seen:?}");
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
    for (number, step) in steps.iter().enumerate() {
        if number % RESTORE_EVERY == RESTORE_EVERY - 1 {
            state = state.restored(number % 2 == 0);
        }
        for proposal in player.play(step, &state) {
            let expected = model.apply(proposal.stamp.0, &proposal.command);
            let outcome = state.apply(proposal);
            assert_eq!(outcome, expected, "at {step:?}");
            *seen.borrow_mut().entry(kind(&outcome)).or_default() += 1;
        }
        compare(&state, &model);
    }
}

fn compare(state: &Replica, model: &Model) {
    let clocks = Clocks { cluster: ClusterTime(model.cluster), served: ServedTime(model.served) };
    assert_eq!(state.clocks(), clocks);
    assert_eq!(state.last_tick_wall_ms(), model.wall);
    assert_eq!(state.apply_version(), model.apply_version);
    assert_eq!(state.members(), &model.members);
    assert_eq!(state.clients(), model.clients.len());
    assert_eq!(state.outcomes(), model.outcomes() as u64);
    assert_eq!(state.records(), model.kept.len() as u64);
    let reapable = state.reapable(100);
    for number in KEYS {
        compare_key(state, model, number, clocks);
        let gone = model.kept.contains_key(&key(number)) && model.is_gone(&key(number));
        assert_eq!(
            reapable.contains(&key(number)),
            gone,
            "whether {number} is to be reaped: {:?}",
            (model.kept.get(&key(number)), clocks)
        );
    }
    compare_spaces(state, model);
    let behind = model.cluster - model.served;
    let live = model.kept.iter().filter(|(key, _)| !model.is_gone(key)).map(|(_, kept)| kept);
    let earliest = live.filter_map(|kept| match kept {
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

fn compare_key(state: &State, model: &Model, number: u8, clocks: Clocks) {
    let key = key(number);
    for (name, space) in &model.spaces {
        let found = state.lookup(name, &key, clocks);
        let expected = model.kept.get(&key).filter(|_| !model.is_gone(&key));
        match expected {
            Some(Kept::Session(expected)) if expected.namespace == space.id => {
                let found = found.unwrap();
                assert_eq!(&as_model(expected, found), expected);
                let lock = found.lock_at(clocks.cluster).map(|lock| lock_as_model(&lock));
                assert_eq!(lock, expected.lock_at(model.cluster));
            }
            Some(Kept::Renamed { .. }) => assert_eq!(found, Err(Refusal::Renamed)),
            _ => assert_eq!(found, Err(Refusal::NotFound)),
        }
    }
    assert_eq!(state.lookup("nowhere", &key, clocks), Err(Refusal::UnknownNamespace));
}

fn compare_spaces(state: &State, model: &Model) {
    assert_eq!(state.namespaces().count(), model.spaces.len());
    for (name, namespace, usage) in state.namespaces() {
        let space = &model.spaces[name];
        assert_eq!((namespace.id, &namespace.policy), (space.id, &space.policy));
        let counters = &namespace.counters;
        assert_eq!(
            (counters.created, counters.expired, counters.deleted, counters.lock_waits),
            (space.created, space.expired, space.deleted, space.lock_waits)
        );
        assert_eq!((usage.sessions, usage.bytes), model.usage(space.id));
        compare_events(state, space.id, &space.events);
        compare_lists(state, model, name);
    }
}

/// What is kept is the end of what there ever was, and no more than the policy keeps but for one block.
fn compare_events(state: &State, namespace: u32, all: &[Event]) {
    let (kept, _) = state.events_kept(namespace);
    let kept = usize::try_from(kept).unwrap();
    let expected = &all[all.len() - kept..];
    let lost = &all[..all.len() - kept];
    // Behind the last one lost, everything is there; before it, nothing is promised.
    let after = lost.last().map_or(Cursor::default(), |last| Cursor {
        index: last.index,
        ordinal: u32::try_from(lost.iter().filter(|event| event.index == last.index).count()).unwrap() - 1,
    });
    let found: Vec<_> = match state.events(namespace, after) {
        Ok(found) => found.map(event_as_model).collect(),
        // A namespace that was made anew: its first events are behind the entry that made it.
        Err(_) if lost.is_empty() => state
            .events(
                namespace,
                all.first().map_or(Cursor::behind(u64::MAX), |first| Cursor::behind(first.index - 1)),
            )
            .unwrap()
            .map(event_as_model)
            .collect(),
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(found, expected);
    if lost.len() > 1 {
        assert!(state.events(namespace, Cursor { index: after.index - 1, ..after }).is_err());
    }
}

fn event_as_model(event: &quorate_state::Event) -> Event {
    let what = match &event.what {
        Happening::Created => What::Created,
        Happening::Updated { previous_principal } => {
            What::Updated { previous: previous_principal.as_ref().map(ToString::to_string) }
        }
        Happening::Renamed { to } => What::Renamed { to: *to },
        Happening::Ended { why, attributes } => {
            let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.to_vec()));
            What::Ended { why: *why, attributes: attributes.collect() }
        }
    };
    Event {
        index: event.cursor.index,
        at: event.at.0,
        key: event.key,
        version: event.version,
        principal: event.principal.to_string(),
        what,
    }
}

/// Pages of one, of all sessions and of a principal's.
fn compare_lists(state: &State, model: &Model, name: &str) {
    let id = model.spaces[name].id;
    for principal in [None, Some("ann")] {
        let mut expected: Vec<_> = model
            .kept
            .iter()
            .filter_map(|(key, kept)| match kept {
                Kept::Session(session) if session.namespace == id && model.is_live(key) => {
                    let theirs = principal.is_none_or(|principal| session.principal == principal);
                    theirs.then_some((if principal.is_some() { session.signed_in } else { 0 }, *key))
                }
                _ => None,
            })
            .collect();
        expected.sort();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = state.list(name, principal, "", after, 1, state.clocks()).unwrap();
            assert!(page.sessions.len() <= 1);
            found.extend(page.sessions.iter().map(|listed| listed.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
    }
}

fn lock_as_model(lock: &quorate_state::Lock) -> Lock {
    let holder = &lock.holder;
    let line = lock.waiting.iter();
    Lock {
        fence: holder.fence,
        since: holder.since.0,
        until: holder.until.0,
        claimed: holder.claimed,
        lease: holder.lease_ms,
        owner: holder.owner.to_string(),
        line: line.map(|it| (it.fence, it.until.0, it.lease_ms, it.owner.to_string())).collect(),
    }
}

/// The revocation is known from the model: the state keeps none beside a session.
fn as_model(model: &Session, session: &quorate_state::Session) -> Session {
    let attributes = session.attributes.iter().map(|(name, value)| (name.to_string(), value.to_vec()));
    Session {
        namespace: session.namespace,
        version: session.version,
        created: session.created.0,
        own_idle: session.timeouts.idle_ms,
        idle: session.idle_ms,
        absolute: session.timeouts.absolute_ms,
        granule: session.granule_ms,
        touched: session.last_touch.0,
        principal: session.principal.to_string(),
        signed_in: session.signed_in,
        revoked: model.revoked,
        // Compared as it is at the time, not as it was last seen.
        lock: model.lock.clone(),
        attributes: attributes.collect(),
    }
}
