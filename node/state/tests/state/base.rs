//! Short ways to say proposals, and a state to send them to.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use quorate_state::{
    APPLY_VERSION, AttributeChange, Attributes, ClusterTime, Command, Counters, CreateSession, Frozen,
    Header, LockSession, Member, MorePolicy, Namespace, Operation, Outcome, Policy, Proposal, Refusal,
    RegenerateSession, RequestId, Restore, RestoreError, RevokePrincipal, Session, SessionKey, State,
    Timeouts, Waiter, WriteSession, encode_client, encode_events, encode_record,
};

/// When the first entry of a test is stamped.
pub(crate) const START: u64 = 1_700_000_000_000;

/// A second namespace with limits that are easily met.
pub(crate) const SMALL: &str = "small";

pub(crate) fn small_policy() -> Policy {
    Policy {
        default_timeouts: Timeouts { idle_ms: Some(10_000), absolute_ms: Some(90_000) },
        idle_ms_max: 100_000,
        absolute_ms_max: 200_000,
        session_bytes_max: 24,
        attributes_max: 3,
        tombstone_ms: 7_000,
        more: MorePolicy::default(),
    }
}

pub(crate) fn key(number: u8) -> SessionKey {
    SessionKey([number; 16])
}

pub(crate) fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).into(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

pub(crate) fn patch(set: &[(&str, &str)], remove: &[&str]) -> AttributeChange {
    AttributeChange::Patch {
        set: attributes(set),
        remove: remove.iter().map(|name| (*name).into()).collect(),
    }
}

pub(crate) fn timeouts(idle_ms: impl Into<Option<u64>>, absolute_ms: impl Into<Option<u64>>) -> Timeouts {
    Timeouts { idle_ms: idle_ms.into(), absolute_ms: absolute_ms.into() }
}

pub(crate) fn create(number: u8) -> CreateSession {
    CreateSession {
        namespace: "default".into(),
        key: key(number),
        attributes: attributes(&[("a", "1"), ("b", "2")]),
        principal: "".into(),
        timeouts: Timeouts::default(),
    }
}

pub(crate) fn write(number: u8, change: AttributeChange) -> WriteSession {
    WriteSession {
        namespace: "default".into(),
        key: key(number),
        change,
        if_version: None,
        principal: None,
        timeouts: Timeouts::default(),
        fence: None,
        release: false,
    }
}

/// Takes a lock for 10 s, waiting for so long.
pub(crate) fn lock(number: u8, wait_ms: u64) -> LockSession {
    LockSession {
        namespace: "default".into(),
        key: key(number),
        lease_ms: 10_000,
        wait_ms,
        fence: None,
        owner: "here".into(),
    }
}

pub(crate) fn waiter(number: u8, fence: u64) -> Waiter {
    Waiter { namespace: "default".into(), key: key(number), fence }
}

/// Ends all of a principal's sessions, or all but one.
pub(crate) fn revoke(principal: &str, except: Option<u8>) -> Operation {
    Operation::Revoke(RevokePrincipal {
        namespace: "default".into(),
        principal: principal.into(),
        except: except.map(key),
    })
}

pub(crate) fn touch(number: u8) -> Operation {
    Operation::Touch { namespace: "default".into(), key: key(number) }
}

pub(crate) fn delete(number: u8) -> Operation {
    Operation::Delete { namespace: "default".into(), key: key(number) }
}

pub(crate) fn regenerate(number: u8, new: u8) -> Operation {
    Operation::Regenerate(RegenerateSession {
        namespace: "default".into(),
        key: key(number),
        new_key: key(new),
        fence: None,
    })
}

pub(crate) fn member(incarnation: u64) -> Member {
    Member {
        incarnation,
        client_address: "127.0.0.1:7101".into(),
        peer_address: "127.0.0.1:7201".into(),
        admin_address: "127.0.0.1:7301".into(),
        version: "0.1.0".into(),
    }
}

/// A state, and the index of the last entry applied to it.
pub(crate) struct Replica {
    pub(crate) state: State,
    pub(crate) index: u64,
}

impl Replica {
    /// As every cluster starts, before it knows anything of today.
    pub(crate) fn first() -> Self {
        Replica { state: State::new(), index: 0 }
    }

    /// Applies the next entry.
    pub(crate) fn apply(&mut self, proposal: Proposal) -> Outcome {
        self.index += 1;
        self.state.apply(self.index, proposal)
    }

    /// As it comes back from bytes.
    pub(crate) fn restored(&self, keep_slots: bool) -> Self {
        Replica { state: restored(&self.state.freeze(), keep_slots), index: self.index }
    }
}

impl Deref for Replica {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Replica {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// A state at today's apply version that also has the namespace [`SMALL`].
pub(crate) fn state_with_small() -> Replica {
    Replica { state: with_small(APPLY_VERSION), index: 0 }
}

/// A state that also has the namespace [`SMALL`], from a header.
pub(crate) fn with_small(apply_version: u32) -> State {
    let mut header = State::new().freeze().header().clone();
    let mut namespaces: BTreeMap<_, _> = header.namespaces.as_ref().clone();
    namespaces
        .insert(SMALL.into(), Namespace { id: 2, policy: small_policy(), counters: Counters::default() });
    header.namespaces = Arc::new(namespaces);
    (header.apply_version, header.next_namespace) = (apply_version, 3);
    // What the digest must be, a failed restore tells.
    match restore_empty(&header) {
        Err(RestoreError::Digest { found, .. }) => header.digest = found,
        _ => panic!("the digest must depend on the namespaces"),
    }
    restore_empty(&header).unwrap()
}

fn restore_empty(header: &Header) -> Result<State, RestoreError> {
    Restore::new(&header.encode()).unwrap().finish()
}

/// Through bytes and back; with the slots it had, or in the order of its records.
pub(crate) fn restored(frozen: &Frozen, keep_slots: bool) -> State {
    let mut restore = Restore::new(&frozen.header().encode()).unwrap();
    for (slot, key, record) in frozen.records() {
        let bytes = encode_record(key, record);
        if keep_slots {
            restore.insert_at(slot, &bytes).unwrap();
        } else {
            restore.insert(&bytes).unwrap();
        }
    }
    for (id, client) in frozen.clients() {
        restore.client(&encode_client(id, client)).unwrap();
    }
    for (id, block) in frozen.event_blocks() {
        restore.events(&encode_events(id, block)).unwrap();
    }
    restore.finish().unwrap()
}

/// A state and the stamp of its next entry.
pub(crate) struct Store {
    pub(crate) state: Replica,
    pub(crate) stamp: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        let mut store = Store { state: state_with_small(), stamp: START };
        store.tick();
        store
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.state.apply(Proposal { stamp: ClusterTime(self.stamp), command })
    }

    pub(crate) fn tick(&mut self) {
        assert_eq!(self.apply(Command::Tick { wall_ms: self.stamp }), Outcome::Done);
    }

    /// Time passes, served: in Ticks of a second.
    pub(crate) fn pass(&mut self, mut ms: u64) {
        while ms > 0 {
            let step = ms.min(1_000);
            self.stamp += step;
            ms -= step;
            self.tick();
        }
    }

    pub(crate) fn run(&mut self, operation: Operation) -> Outcome {
        self.apply(Command::Operate { request: None, operation })
    }

    pub(crate) fn request(
        &mut self,
        (client, sequence, lowest): (u64, u64, u64),
        operation: Operation,
    ) -> Outcome {
        let request = RequestId { client, sequence, lowest_unanswered: lowest };
        self.apply(Command::Operate { request: Some(request), operation })
    }

    pub(crate) fn create(&mut self, number: u8) -> Outcome {
        self.run(Operation::Create(create(number)))
    }

    pub(crate) fn write(&mut self, number: u8, change: AttributeChange) -> Outcome {
        self.run(Operation::Write(write(number, change)))
    }

    pub(crate) fn get(&self, number: u8) -> Result<&Session, Refusal> {
        self.state.lookup("default", &key(number), self.state.clocks())
    }

    pub(crate) fn attributes(&self, number: u8) -> Attributes {
        self.get(number).unwrap().attributes.as_ref().clone()
    }
}

pub(crate) fn written(version: u64) -> Outcome {
    Outcome::Written { version }
}

pub(crate) fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}
