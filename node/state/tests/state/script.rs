//! Random sequences of commands: few keys, few clients, small limits, so that they meet. Or many keys, so that the
//! records fill more than one chunk.

use std::fmt;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use quorate_state::{
    AttributeChange, Attributes, ClusterTime, Command, CreateSession, Fence, LockSession, Operation,
    Overflow, PolicyChange, Proposal, RegenerateSession, RequestId, RevokePrincipal, SessionKey, State,
    Timeouts, Waiter, WriteSession,
};

use crate::base::{Replica, SMALL, START, create, key, member, state_with_small};

/// Stands in a script for the token of whoever holds the session's lock by then.
const HOLDERS: Fence = u64::MAX;
/// And for that of the first in line, or of the holder where nobody waits.
const NEXT: Fence = u64::MAX - 1;

/// The clients that a script opens before its first step.
pub(crate) const CLIENTS: [u64; 2] = [7, 8];
/// The keys that it uses.
pub(crate) const KEYS: [u8; 4] = [1, 2, 3, 4];

/// The sessions that a wide script creates before its first step: more than two chunks of 256, and no multiple of 64.
const WIDE: u16 = 600;
/// The keys that it uses: some are free at first.
const WIDE_KEYS: u16 = 640;

#[derive(Clone)]
pub(crate) struct Step {
    /// How far the stamp is ahead of (or behind) the one before.
    pub(crate) advance_ms: i64,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Send(Command),
    /// The command sent so many steps ago once more, to the letter.
    Retry(usize),
    /// What the state says is due leaves memory.
    ReapDue,
    /// Locks that the state says have lapsed go on.
    SettleLapsed,
    /// More than an hour in which nothing comes but Ticks.
    Silence,
}

/// What each step of a script sends, given the state that the steps before led to.
pub(crate) struct Player {
    stamp: u64,
    sent: Vec<Command>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+} ms: ", self.advance_ms)?;
        // Debug of commands leaves out values; these are no secrets, and a failure must be reproducible.
        match &self.action {
            Action::Send(Command::Operate { request, operation: Operation::Create(create) }) => {
                write!(f, "{request:?} {create:?} {:?}", create.attributes)
            }
            Action::Send(Command::Operate { request, operation: Operation::Write(write) }) => {
                write!(f, "{request:?} {write:?} {:?}", write.principal)?;
                match &write.change {
                    AttributeChange::Keep => Ok(()),
                    AttributeChange::Replace(attributes) => write!(f, " {attributes:?}"),
                    AttributeChange::Patch { set, remove } => write!(f, " {set:?} {remove:?}"),
                }
            }
            action => write!(f, "{action:?}"),
        }
    }
}

impl Player {
    /// With the script's state, its clients open.
    pub(crate) fn start() -> (Player, Vec<Proposal>, Replica) {
        let player = Player { stamp: START, sent: Vec::new() };
        let mut opening = CLIENTS.map(|client| player.stamped(Command::OpenClient { client })).to_vec();
        let change = PolicyChange {
            session_bytes_max: Some(24),
            sessions_max: Some(Some(2)),
            bytes_max: Some(Some(30)),
            principal_sessions_max: Some(Some(1)),
            ..PolicyChange::default()
        };
        let operation =
            Operation::PutNamespace { name: EXTRA.into(), change: change.into(), create: Some(true) };
        opening.push(player.stamped(Command::Operate { request: None, operation }));
        (player, opening, state_with_small())
    }

    /// As [`Self::start`], for [`wide_steps`].
    pub(crate) fn start_wide() -> (Player, Vec<Proposal>, Replica) {
        let (player, mut opening, state) = Player::start();
        opening.extend((0..WIDE).map(|number| {
            let create = CreateSession { key: wide_key(number), ..create(0) };
            player.stamped(Command::Operate { request: None, operation: Operation::Create(create) })
        }));
        (player, opening, state)
    }

    fn stamped(&self, command: Command) -> Proposal {
        Proposal { stamp: ClusterTime(self.stamp), command }
    }

    pub(crate) fn play(&mut self, step: &Step, state: &State) -> Vec<Proposal> {
        self.stamp = self.stamp.saturating_add_signed(step.advance_ms);
        let command = match &step.action {
            Action::Send(command) => resolved(command.clone(), state),
            Action::Retry(back) => {
                let at = self.sent.len().checked_sub(back + 1);
                at.map_or(Command::Tick { wall_ms: 1 }, |at| self.sent[at].clone())
            }
            Action::ReapDue => Command::Reap { keys: state.reapable(1_000) },
            Action::SettleLapsed => {
                Command::SettleLocks { keys: state.lapsed_locks(ClusterTime(self.stamp), 1_000) }
            }
            Action::Silence => {
                let ticks = (0..62).map(|_| {
                    self.stamp = self.stamp.max(state.clocks().cluster.0) + 60_000;
                    self.stamped(Command::Tick { wall_ms: self.stamp })
                });
                return ticks.collect();
            }
        };
        self.sent.push(command.clone());
        let proposal = self.stamped(command);
        if let Command::TimeJump { by_ms } = proposal.command {
            // The leader's estimate goes along, or time would stand still for a while after each jump.
            self.stamp = self.stamp.saturating_add(by_ms);
        }
        vec![proposal]
    }
}

/// With the tokens that a command's stand-ins stand for.
fn resolved(mut command: Command, state: &State) -> Command {
    let (key, fence) = match &mut command {
        Command::ClaimLock(waiter) | Command::LeaveLine(waiter) => (waiter.key, &mut waiter.fence),
        Command::Operate {
            operation:
                Operation::Write(WriteSession { key, fence: Some(fence), .. })
                | Operation::Regenerate(RegenerateSession { key, fence: Some(fence), .. })
                | Operation::Lock(LockSession { key, fence: Some(fence), .. })
                | Operation::Unlock(Waiter { key, fence, .. }),
            ..
        } => (*key, fence),
        _ => return command,
    };
    let clocks = state.clocks();
    let lock = state.namespaces().find_map(|(name, ..)| {
        let session = state.lookup(name, &key, clocks).ok()?;
        session.lock_at(clocks.cluster).map(std::borrow::Cow::into_owned)
    });
    match (*fence, lock) {
        (HOLDERS, Some(lock)) => *fence = lock.holder.fence,
        (NEXT, Some(lock)) => {
            let granted = (!lock.holder.claimed).then_some(lock.holder.fence);
            let first = granted.or(lock.waiting.front().map(|ticket| ticket.fence));
            *fence = first.unwrap_or(lock.holder.fence);
        }
        (HOLDERS | NEXT, None) => *fence = 1,
        _ => {}
    }
    command
}

type Keys = BoxedStrategy<SessionKey>;

pub(crate) fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let few = select(KEYS.as_slice()).prop_map(key).boxed();
    prop::collection::vec(step(few), length..=length + 10)
}

/// Steps on many keys, those around the borders of chunks and of words of marks more often.
pub(crate) fn wide_steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let borders = [0, 1, 62, 63, 64, 65, 126, 127, 128, 254, 255, 256, 257, 510, 511, 512, 513, 599, 600];
    let keys = prop_oneof![3 => 0..WIDE_KEYS, 2 => select(borders.to_vec())];
    prop::collection::vec(step(keys.prop_map(wide_key).boxed()), 1..=length)
}

fn wide_key(number: u16) -> SessionKey {
    let [high, low] = number.to_be_bytes();
    let mut key = [0; 16];
    // No two are one of `base::key`'s.
    (key[0], key[1], key[15]) = (high, low, 0xff);
    SessionKey(key)
}

fn step(keys: Keys) -> impl Strategy<Value = Step> {
    let advance_ms = prop_oneof![
        10 => 0_i64..400,
        3 => 400_i64..5_001,
        1 => 5_001_i64..30_000,
        1 => 30_000_i64..200_000,
        1 => -20_000_i64..0,
    ];
    let action = prop_oneof![
        30 => command(keys).prop_map(Action::Send),
        4 => (0_usize..5).prop_map(Action::Retry),
        2 => Just(Action::ReapDue),
        1 => Just(Action::SettleLapsed),
    ];
    let step = (advance_ms, action).prop_map(|(advance_ms, action)| Step { advance_ms, action });
    prop_oneof![200 => step, 1 => Just(Step { advance_ms: 0, action: Action::Silence })]
}

fn command(keys: Keys) -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => (0_u64..1_000).prop_map(|wall_ms| Command::Tick { wall_ms }),
        1 => (7_u64..10).prop_map(|client| Command::OpenClient { client }),
        1 => prop::collection::vec(keys.clone(), 0..4).prop_map(|keys| Command::Reap { keys }),
        1 => (1_u64..3, 1_u64..3).prop_map(|(node, number)| Command::Announce { node, member: member(number) }),
        1 => (1_u32..3).prop_map(|version| Command::RaiseApplyVersion { version }),
        2 => waiter(keys.clone()).prop_map(Command::ClaimLock),
        1 => waiter(keys.clone()).prop_map(Command::LeaveLine),
        1 => prop::collection::vec(keys.clone(), 0..4).prop_map(|keys| Command::SettleLocks { keys }),
        1 => (0_u64..30_000).prop_map(|by_ms| Command::TimeJump { by_ms }),
        44 => (prop::option::weighted(0.3, request()), operation(keys))
            .prop_map(|(request, operation)| Command::Operate { request, operation }),
    ]
}

fn request() -> impl Strategy<Value = RequestId> {
    let client = prop_oneof![8 => 7_u64..9, 1 => Just(9_u64)];
    let sequence = prop_oneof![20 => 1_u64..24, 1 => 4_094_u64..4_104];
    (client, sequence, 0_u64..8).prop_map(|(client, sequence, lowest_unanswered)| RequestId {
        client,
        sequence,
        lowest_unanswered,
    })
}

/// Each key is mostly used in one namespace.
fn place(keys: &Keys) -> impl Strategy<Value = (Box<str>, SessionKey)> + use<> {
    (keys.clone(), 0..40_u8).prop_map(|(key, stray)| {
        let home = match key.0[0] {
            1 => "default",
            2 => SMALL,
            _ => EXTRA,
        };
        let namespace = match stray {
            0 => "nowhere",
            1 => "default",
            2 => SMALL,
            3 => EXTRA,
            _ => home,
        };
        (namespace.into(), key)
    })
}

/// A namespace that comes and goes.
pub(crate) const EXTRA: &str = "extra";

fn fence() -> impl Strategy<Value = Fence> {
    prop_oneof![6 => Just(HOLDERS), 3 => Just(NEXT), 1 => 0_u64..12]
}

fn waiter(keys: Keys) -> impl Strategy<Value = Waiter> {
    let fence = prop_oneof![4 => Just(NEXT), 1 => Just(HOLDERS), 1 => 0_u64..12];
    (place(&keys), fence).prop_map(|((namespace, key), fence)| Waiter { namespace, key, fence })
}

fn lock(keys: &Keys) -> impl Strategy<Value = Operation> + use<> {
    let lease_ms = prop_oneof![4 => 1_000_u64..20_000, 1 => select([0, u64::MAX].as_slice())];
    let wait_ms = prop_oneof![2 => Just(0), 3 => 500_u64..20_000, 1 => Just(u64::MAX)];
    let fence = prop_oneof![4 => Just(None), 1 => fence().prop_map(Some)];
    let owner = select(["", "one", "two"].as_slice()).prop_map(Box::from);
    (place(keys), lease_ms, wait_ms, fence, owner).prop_map(
        |((namespace, key), lease_ms, wait_ms, fence, owner)| {
            Operation::Lock(LockSession { namespace, key, lease_ms, wait_ms, fence, owner })
        },
    )
}

fn revoke(keys: &Keys) -> impl Strategy<Value = Operation> + use<> {
    (place(keys), principal(), any::<bool>()).prop_map(|((namespace, key), principal, keep)| {
        Operation::Revoke(RevokePrincipal { namespace, principal, except: keep.then_some(key) })
    })
}

fn namespace_name() -> impl Strategy<Value = Box<str>> {
    select([SMALL, EXTRA, "default", "nowhere"].as_slice()).prop_map(Box::from)
}

fn put_namespace() -> impl Strategy<Value = Operation> {
    // Never "nowhere": it must stay what its name says. The default stays without quotas.
    let name = select([SMALL, EXTRA, EXTRA, EXTRA, "default"].as_slice());
    (name, policy_change(), prop::option::weighted(0.4, any::<bool>())).prop_map(|(name, change, create)| {
        let change = if name == "default" { PolicyChange::default() } else { change };
        Operation::PutNamespace { name: name.into(), change: change.into(), create }
    })
}

fn policy_change() -> impl Strategy<Value = PolicyChange> {
    let limits = (
        prop::option::weighted(0.3, prop::option::weighted(0.7, 0_u64..4)),
        prop::option::weighted(0.3, prop::option::weighted(0.7, 0_u64..60)),
        prop::option::weighted(0.3, prop::option::weighted(0.9, 0_u32..3)),
        prop::option::weighted(0.4, select([Overflow::Refuse, Overflow::EndOldest].as_slice())),
    );
    let times = (
        prop::option::weighted(0.3, prop::option::of(select([0_u64, 2_000, 9_000].as_slice()))),
        prop::option::weighted(0.3, prop::option::of(select([500_u64, 1_500, 4_000].as_slice()))),
        prop::option::weighted(0.2, prop::option::of(select([0_u64, 5_000, 300_000].as_slice()))),
        prop::option::weighted(0.2, select([0_u64, 1_000, 7_000].as_slice())),
        // No tighter than the defaults, or most changes would be out of range.
        prop::option::weighted(0.15, select([1_500_000_u64, 366 * 86_400_000].as_slice())),
        prop::option::weighted(0.15, select([100_000_u64, 366 * 86_400_000].as_slice())),
    );
    let events = (
        prop::option::weighted(0.2, select([0_u32, 3, 70, 1_000_001].as_slice())),
        prop::option::weighted(0.2, select([0_u64, 1_000, 9_000].as_slice())),
    );
    (limits, times, events).prop_map(|(limits, times, events)| PolicyChange {
        sessions_max: limits.0,
        bytes_max: limits.1,
        principal_sessions_max: limits.2,
        principal_overflow: limits.3,
        anonymous_idle_ms: times.0,
        granule_ms: times.1,
        default_idle_ms: times.2,
        tombstone_ms: times.3,
        idle_ms_max: times.4,
        absolute_ms_max: times.5,
        events_max: events.0,
        events_bytes_max: events.1,
        ..PolicyChange::default()
    })
}

fn operation(keys: Keys) -> impl Strategy<Value = Operation> {
    let create = (place(&keys), attributes(), principal(), timeouts()).prop_map(
        |((namespace, key), attributes, principal, timeouts)| {
            Operation::Create(CreateSession { namespace, key, attributes, principal, timeouts })
        },
    );
    let if_version = prop_oneof![3 => Just(None), 1 => (1_u64..4).prop_map(Some)];
    let fenced = (prop::option::weighted(0.3, fence()), any::<bool>());
    let principals = prop::option::of(principal());
    let write = (place(&keys), change(), if_version, principals, timeouts(), fenced).prop_map(
        |((namespace, key), change, if_version, principal, timeouts, (fence, release))| {
            Operation::Write(WriteSession {
                namespace,
                key,
                change,
                if_version,
                principal,
                timeouts,
                fence,
                release,
            })
        },
    );
    let touch = place(&keys).prop_map(|(namespace, key)| Operation::Touch { namespace, key });
    let delete = place(&keys).prop_map(|(namespace, key)| Operation::Delete { namespace, key });
    let many =
        (place(&keys), prop::collection::vec(keys.clone(), 0..4)).prop_map(|((namespace, key), mut keys)| {
            keys.push(key);
            Operation::TouchMany { namespace, keys }
        });
    let fenced = prop::option::weighted(0.3, fence());
    let regenerate = (place(&keys), keys.clone(), fenced).prop_map(|((namespace, key), new_key, fence)| {
        Operation::Regenerate(RegenerateSession { namespace, key, new_key, fence })
    });
    let unlock = (place(&keys), fence())
        .prop_map(|((namespace, key), fence)| Operation::Unlock(Waiter { namespace, key, fence }));
    let break_lock = place(&keys).prop_map(|(namespace, key)| Operation::BreakLock { namespace, key });
    let delete_namespace = namespace_name().prop_map(|name| Operation::DeleteNamespace { name });
    prop_oneof![
        24 => create,
        18 => write,
        5 => touch,
        2 => many,
        2 => delete,
        4 => regenerate,
        12 => lock(&keys),
        3 => unlock,
        1 => break_lock,
        3 => revoke(&keys),
        7 => put_namespace(),
        1 => delete_namespace,
    ]
}

fn name() -> impl Strategy<Value = Box<str>> {
    select(["a", "b", "c", "d", "name"].as_slice()).prop_map(Box::from)
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let value = select(["", "1", "2", "ten bytes!"].as_slice())
        .prop_map(|value| Bytes::from_static(value.as_bytes()));
    prop::collection::btree_map(name(), value, 0..5)
}

fn change() -> impl Strategy<Value = AttributeChange> {
    let patch = (attributes(), prop::collection::vec(name(), 0..4))
        .prop_map(|(set, remove)| AttributeChange::Patch { set, remove });
    prop_oneof![1 => Just(AttributeChange::Keep), 1 => attributes().prop_map(AttributeChange::Replace), 2 => patch]
}

fn principal() -> impl Strategy<Value = Box<str>> {
    select(["", "ann", "bob"].as_slice()).prop_map(Box::from)
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let one = || {
        prop_oneof![
            12 => Just(None),
            8 => (1_000_u64..40_000).prop_map(Some),
            1 => select([0, 999, 100_000, 100_001, 200_000, 200_001, u64::MAX].as_slice()).prop_map(Some),
        ]
    };
    (one(), one()).prop_map(|(idle_ms, absolute_ms)| Timeouts { idle_ms, absolute_ms })
}
