//! Attributes: to set, to remove, to return.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_proto::v1;
use quorate_state::{AttributeChange, Attributes, Limits, Refusal};
use tonic::Code;

use crate::services::failure::Failure;

/// The attributes that a caller wants to see; `None`: all.
pub(crate) type Selection = Option<BTreeSet<String>>;

/// Names that one patch may remove.
const REMOVED_MAX: usize = 4_096;

/// Attributes to create or to set. What is too large for any session, whatever its namespace allows, goes no further:
/// it would be replicated and synced only to be refused.
pub(super) fn attributes(
    field: &'static str,
    given: &BTreeMap<String, Bytes>,
) -> Result<Attributes, Failure> {
    if given.len() > Limits::ATTRIBUTES_MAX {
        return Err(too_many(field, given.len(), Limits::ATTRIBUTES_MAX));
    }
    let mut bytes = 0_usize;
    for (name, value) in given {
        check_name(field, name)?;
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
    }
    let (bytes, max) = (u64::try_from(bytes).unwrap_or(u64::MAX), Limits::SESSION_BYTES_MAX);
    if bytes > max {
        return Err(Failure { field: Some(field), ..Refusal::SessionTooLarge { bytes, max }.into() });
    }
    let copied = given.iter().map(|(name, value)| (name.as_str().into(), Bytes::copy_from_slice(value)));
    Ok(copied.collect())
}

/// A patch; an empty one keeps everything.
pub(super) fn patched(patch: &v1::Patch) -> Result<AttributeChange, Failure> {
    let set = attributes("patch.set", &patch.set)?;
    if patch.remove.len() > REMOVED_MAX {
        return Err(too_many("patch.remove", patch.remove.len(), REMOVED_MAX));
    }
    for name in &patch.remove {
        check_name("patch.remove", name)?;
    }
    if patch.remove.iter().any(|name| set.contains_key(name.as_str())) {
        let message = "an attribute is both in patch.set and in patch.remove; name it in one of them";
        return Err(Failure::invalid("CONTRADICTING_PATCH", "patch", message));
    }
    if set.is_empty() && patch.remove.is_empty() {
        return Ok(AttributeChange::Keep);
    }
    Ok(AttributeChange::Patch { set, remove: patch.remove.iter().map(|name| name.as_str().into()).collect() })
}

/// The attributes to return.
pub(super) fn selection(chosen: Option<&v1::AttributeNames>) -> Result<Selection, Failure> {
    let Some(chosen) = chosen else { return Ok(None) };
    let (count, max) = (chosen.names.len(), Limits::ATTRIBUTES_MAX);
    if count > max {
        let message = format!("attributes.names: {count} names; a session has at most {max} attributes");
        let failure = Failure::invalid("TOO_MANY_NAMES", "attributes.names", message);
        return Err(failure.fact("count", count).fact("max_count", max));
    }
    for name in &chosen.names {
        check_name("attributes.names", name)?;
    }
    Ok(Some(chosen.names.iter().cloned().collect()))
}

fn check_name(field: &'static str, name: &str) -> Result<(), Failure> {
    if !(1..=Limits::ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len()) {
        let message = format!(
            "{field}: an attribute's name has {} bytes; 1 to {} are allowed",
            name.len(),
            Limits::ATTRIBUTE_NAME_BYTES_MAX
        );
        return Err(Failure::invalid("INVALID_ATTRIBUTE_NAME", field, message));
    }
    Ok(())
}

fn too_many(field: &'static str, count: usize, max: usize) -> Failure {
    let message = format!("{field}: {count} attributes; at most {max} are allowed in one operation");
    let failure = Failure::new(Code::ResourceExhausted, "TOO_MANY_ATTRIBUTES", message);
    Failure { field: Some(field), ..failure }.fact("count", count).fact("max_count", max)
}
