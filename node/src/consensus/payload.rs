//! A log entry's payload as bytes, the same in the log and on the wire.
//!
//! ```text
//! empty                                  blank: a new leader's first entry
//! 1 ..                                   a proposal (quorate_state::Proposal::FORMAT and postcard)
//! 0xff version(1) postcard(MembershipRecord)   a membership
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Entry, EntryPayload, LogId, Membership, Payload, PeerNode, StoredMembership};
use super::types::{log_id_from_storage, log_id_to_storage};

const MEMBERSHIP_TAG: u8 = 0xff;
const MEMBERSHIP_FORMAT: u8 = 1;
const META_FORMAT: u8 = 1;

/// A membership: joint configurations, and every node's peer address.
#[derive(Serialize, Deserialize)]
struct MembershipRecord {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, PeerNode>,
}

impl MembershipRecord {
    fn of(membership: &Membership) -> Self {
        MembershipRecord {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
        }
    }

    fn into_membership(self) -> Result<Membership, io::Error> {
        if self.configs.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(self.configs, self.nodes)
            .map_err(|error| invalid(format!("a stored membership: {error}")))
    }
}

/// What stands beside the state in the session store and in snapshots: where it is in the log, and who belongs.
#[derive(Serialize, Deserialize)]
struct MetaRecord {
    applied: Option<quorate_storage::LogId>,
    membership_at: Option<quorate_storage::LogId>,
    membership: MembershipRecord,
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn encode<T: Serialize>(head: Vec<u8>, record: &T) -> Bytes {
    postcard::to_extend(record, head).map(Bytes::from).expect("memory takes any record of this process")
}

/// The bytes of an entry's payload.
pub(crate) fn encode_payload(payload: &EntryPayload) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::new(),
        EntryPayload::Normal(Payload(bytes)) => bytes.clone(),
        EntryPayload::Membership(membership) => {
            encode(vec![MEMBERSHIP_TAG, MEMBERSHIP_FORMAT], &MembershipRecord::of(membership))
        }
    }
}

/// The entry that `bytes` are the payload of.
///
/// # Errors
/// `InvalidData` when they decode to no payload known here. A proposal's own content is checked when it is applied.
pub(crate) fn decode_entry(log_id: LogId, bytes: Bytes) -> Result<Entry, io::Error> {
    let payload = match bytes.split_first() {
        None => EntryPayload::Blank,
        Some((&MEMBERSHIP_TAG, rest)) => match rest.split_first() {
            Some((&MEMBERSHIP_FORMAT, rest)) => {
                let record: MembershipRecord = postcard::from_bytes(rest).map_err(|error| {
                    invalid(format!("the membership at log index {}: {error}", log_id.index))
                })?;
                EntryPayload::Membership(record.into_membership()?)
            }
            _ => {
                return Err(invalid(format!(
                    "the membership at log index {} has an unknown format: upgrade this node",
                    log_id.index
                )));
            }
        },
        Some(_) => EntryPayload::Normal(Payload(bytes)),
    };
    Ok(Entry { log_id, payload })
}

/// The meta bytes that stand beside a persisted state.
pub(crate) fn encode_meta(applied: Option<&LogId>, membership: &StoredMembership) -> Bytes {
    let record = MetaRecord {
        applied: applied.map(log_id_to_storage),
        membership_at: membership.log_id().as_ref().map(log_id_to_storage),
        membership: MembershipRecord::of(membership.membership()),
    };
    encode(vec![META_FORMAT], &record)
}

/// Reads [`encode_meta`]'s bytes.
///
/// # Errors
/// `InvalidData` on an unknown format or undecodable bytes.
pub(crate) fn decode_meta(bytes: &[u8]) -> Result<(Option<LogId>, StoredMembership), io::Error> {
    let Some((&META_FORMAT, rest)) = bytes.split_first() else {
        return Err(invalid(
            "the persisted state's meta record has an unknown format: upgrade this node".into(),
        ));
    };
    let record: MetaRecord = postcard::from_bytes(rest)
        .map_err(|error| invalid(format!("the persisted state's meta record: {error}")))?;
    let membership = StoredMembership::new(
        record.membership_at.map(log_id_from_storage),
        record.membership.into_membership()?,
    );
    Ok((record.applied.map(log_id_from_storage), membership))
}
