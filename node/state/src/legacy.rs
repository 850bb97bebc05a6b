//! What earlier formats looked like. Read, never written.
//!
//! Format 1, up to apply version 1: no locks, no index of principals, one namespace, no quotas, no events.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{self, AttributeChange, ClientId, Command, CreateSession, RequestId};
use crate::digest::Digest;
use crate::header;
use crate::key::SessionKey;
use crate::member::{Member, NodeId};
use crate::namespace;
use crate::policy::{self, MorePolicy, NamespaceId};
use crate::record::{self, Tombstone};
use crate::session::{self, Attributes, Timeouts, Version};
use crate::time::{Clocks, ClusterTime, Millis, ServedTime};

#[derive(Serialize, Deserialize)]
pub(crate) struct Session {
    namespace: NamespaceId,
    version: Version,
    created: ClusterTime,
    timeouts: Timeouts,
    granule_ms: Millis,
    last_touch: ServedTime,
    principal: Box<str>,
    attributes: Arc<Attributes>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Record {
    Live(Session),
    Tombstone(Tombstone),
}

impl From<Record> for record::Record {
    fn from(record: Record) -> Self {
        match record {
            Record::Tombstone(tombstone) => record::Record::Tombstone(tombstone),
            Record::Live(session) => {
                let Session { namespace, version, created, timeouts, granule_ms, last_touch, .. } = session;
                let Session { principal, attributes, .. } = session;
                record::Record::Live(session::Session {
                    namespace,
                    version,
                    created,
                    timeouts,
                    idle_ms: timeouts.idle_ms,
                    granule_ms,
                    last_touch,
                    principal,
                    signed_in: 0,
                    lock: None,
                    attributes,
                })
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Policy {
    default_timeouts: Timeouts,
    idle_ms_max: Millis,
    absolute_ms_max: Millis,
    session_bytes_max: u64,
    attributes_max: u32,
    tombstone_ms: Millis,
}

#[derive(Serialize, Deserialize)]
struct Namespace {
    id: NamespaceId,
    policy: Policy,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    apply_version: u32,
    clocks: Clocks,
    last_tick_wall_ms: u64,
    namespaces: BTreeMap<Box<str>, Namespace>,
    members: BTreeMap<NodeId, Member>,
    records: u64,
    clients: u64,
    digest: Digest,
}

impl From<Namespace> for namespace::Namespace {
    fn from(namespace: Namespace) -> Self {
        let Namespace { id, policy } = namespace;
        let policy = policy::Policy {
            default_timeouts: policy.default_timeouts,
            idle_ms_max: policy.idle_ms_max,
            absolute_ms_max: policy.absolute_ms_max,
            session_bytes_max: policy.session_bytes_max,
            attributes_max: policy.attributes_max,
            tombstone_ms: policy.tombstone_ms,
            more: MorePolicy::default(),
        };
        namespace::Namespace { id, policy, counters: namespace::Counters::default() }
    }
}

impl From<Header> for header::Header {
    fn from(header: Header) -> Self {
        let next_namespace = header.namespaces.values().map(|namespace| namespace.id).max().unwrap_or(0) + 1;
        let namespaces = header.namespaces.into_iter().map(|(name, namespace)| (name, namespace.into()));
        header::Header {
            apply_version: header.apply_version,
            clocks: header.clocks,
            last_tick_wall_ms: header.last_tick_wall_ms,
            namespaces: Arc::new(namespaces.collect()),
            members: Arc::new(header.members),
            records: header.records,
            clients: header.clients,
            digest: header.digest,
            next_fence: 1,
            next_namespace,
            revoked: Arc::default(),
            rings: BTreeMap::new(),
            event_blocks: 0,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Proposal {
    stamp: ClusterTime,
    command: OldCommand,
}

#[derive(Serialize, Deserialize)]
enum OldCommand {
    Tick { wall_ms: u64 },
    OpenClient { client: ClientId },
    Operate { request: Option<RequestId>, operation: Operation },
    Reap { keys: Vec<SessionKey> },
    Announce { node: NodeId, member: Member },
    RaiseApplyVersion { version: u32 },
}

#[derive(Serialize, Deserialize)]
enum Operation {
    Create(CreateSession),
    Write(WriteSession),
    Touch { namespace: Box<str>, key: SessionKey },
    Delete { namespace: Box<str>, key: SessionKey },
    Regenerate(RegenerateSession),
}

#[derive(Serialize, Deserialize)]
struct WriteSession {
    namespace: Box<str>,
    key: SessionKey,
    change: AttributeChange,
    if_version: Option<Version>,
    principal: Option<Box<str>>,
    timeouts: Timeouts,
}

#[derive(Serialize, Deserialize)]
struct RegenerateSession {
    namespace: Box<str>,
    key: SessionKey,
    new_key: SessionKey,
}

impl From<Proposal> for command::Proposal {
    fn from(proposal: Proposal) -> Self {
        let command = match proposal.command {
            OldCommand::Tick { wall_ms } => Command::Tick { wall_ms },
            OldCommand::OpenClient { client } => Command::OpenClient { client },
            OldCommand::Operate { request, operation } => {
                Command::Operate { request, operation: operation.into() }
            }
            OldCommand::Reap { keys } => Command::Reap { keys },
            OldCommand::Announce { node, member } => Command::Announce { node, member },
            OldCommand::RaiseApplyVersion { version } => Command::RaiseApplyVersion { version },
        };
        command::Proposal { stamp: proposal.stamp, command }
    }
}

impl From<Operation> for command::Operation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Create(create) => command::Operation::Create(create),
            Operation::Touch { namespace, key } => command::Operation::Touch { namespace, key },
            Operation::Delete { namespace, key } => command::Operation::Delete { namespace, key },
            Operation::Write(WriteSession { namespace, key, change, if_version, principal, timeouts }) => {
                let (fence, release) = (None, false);
                command::Operation::Write(command::WriteSession {
                    namespace,
                    key,
                    change,
                    if_version,
                    principal,
                    timeouts,
                    fence,
                    release,
                })
            }
            Operation::Regenerate(RegenerateSession { namespace, key, new_key }) => {
                let fence = None;
                command::Operation::Regenerate(command::RegenerateSession { namespace, key, new_key, fence })
            }
        }
    }
}
