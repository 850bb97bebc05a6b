//! Names: of namespaces, sessions and people.

use quorate_state::{Limits, SessionId, SessionKey};
use rand::RngCore as _;

use crate::services::failure::Failure;

/// A session, by its namespace and id.
pub(super) fn session(namespace_name: &str, id: &str) -> Result<(Box<str>, SessionKey), Failure> {
    let namespace = namespace(namespace_name)?;
    let id = session_id("id", id)?;
    let key = SessionKey::derive(&namespace, &id);
    Ok((namespace, key))
}

/// A namespace as session operations name it: empty means the default one.
pub(crate) fn namespace(name: &str) -> Result<Box<str>, Failure> {
    let name = if name.is_empty() { quorate_state::DEFAULT_NAMESPACE } else { name };
    if is_namespace(name) {
        return Ok(name.into());
    }
    let message = format!(
        "the namespace is not a name: 1 to {} characters of A-Z a-z 0-9 - _ . are allowed (empty means \"default\")",
        Limits::NAMESPACE_BYTES_MAX
    );
    Err(Failure::invalid("INVALID_NAMESPACE", "namespace", message))
}

/// A namespace as the Namespaces service names it: in full.
pub(super) fn namespace_in_full(name: &str) -> Result<Box<str>, Failure> {
    if !name.is_empty() && is_namespace(name) {
        return Ok(name.into());
    }
    let message = format!(
        "name is not a namespace's name: 1 to {} characters of A-Z a-z 0-9 - _ . are allowed",
        Limits::NAMESPACE_BYTES_MAX
    );
    Err(Failure::invalid("INVALID_NAMESPACE", "name", message))
}

fn is_namespace(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= Limits::NAMESPACE_BYTES_MAX && name.bytes().all(allowed)
}

pub(super) fn session_id(field: &'static str, id: &str) -> Result<SessionId, Failure> {
    SessionId::parse(id).map_err(|error| Failure::invalid("INVALID_ID", field, format!("{field}: {error}")))
}

/// The caller's id, or a new one of 258 random bits when the caller gave none.
pub(super) fn id_or_new(field: &'static str, id: &str, exactly_once: bool) -> Result<SessionId, Failure> {
    if !id.is_empty() {
        return session_id(field, id);
    }
    if exactly_once {
        let message = format!(
            "{field} is empty: with a request_id the caller makes the id, so that a retry carries the same one"
        );
        return Err(Failure::invalid("ID_REQUIRED", field, message));
    }
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0_u8; 43];
    rand::rng().fill_bytes(&mut random);
    // Six bits of each byte choose a character: uniform, since 64 divides 256.
    let id: String = random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 64)))
        .map(|byte| char::from(*byte))
        .collect();
    session_id(field, &id)
}

/// A session's key, by its handle.
pub(super) fn handle(handle: &str) -> Result<SessionKey, Failure> {
    let mut key = [0; 16];
    if are_digits(handle) && hex::decode_to_slice(handle, &mut key).is_ok() {
        return Ok(SessionKey(key));
    }
    let message = "handle is not a session's handle: 32 lower-case hex digits are allowed";
    Err(Failure::invalid("INVALID_HANDLE", "handle", message))
}

/// What handles begin with.
pub(super) fn handle_prefix(prefix: &str) -> Result<Box<str>, Failure> {
    if prefix.len() <= 32 && are_digits(prefix) {
        return Ok(prefix.into());
    }
    let message =
        "handle_prefix is not the beginning of a handle: up to 32 lower-case hex digits are allowed";
    Err(Failure::invalid("INVALID_HANDLE", "handle_prefix", message))
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A signed-in user; empty: nobody.
pub(crate) fn principal(principal: &str) -> Result<Box<str>, Failure> {
    if principal.len() > Limits::PRINCIPAL_BYTES_MAX {
        let message = format!(
            "the principal has {} bytes; at most {} are allowed",
            principal.len(),
            Limits::PRINCIPAL_BYTES_MAX
        );
        return Err(Failure::invalid("INVALID_PRINCIPAL", "principal", message));
    }
    Ok(principal.into())
}

/// A signed-in user.
pub(super) fn somebody(name: &str) -> Result<Box<str>, Failure> {
    if name.is_empty() {
        let message =
            format!("the principal is empty; 1 to {} bytes are allowed", Limits::PRINCIPAL_BYTES_MAX);
        return Err(Failure::invalid("INVALID_PRINCIPAL", "principal", message));
    }
    principal(name)
}

/// What a lock's holder calls itself.
pub(super) fn owner(owner: &str) -> Result<Box<str>, Failure> {
    if owner.len() > Limits::OWNER_BYTES_MAX {
        let (bytes, max) = (owner.len(), Limits::OWNER_BYTES_MAX);
        let message = format!("owner has {bytes} bytes; at most {max} are allowed");
        return Err(Failure::invalid("INVALID_OWNER", "owner", message));
    }
    Ok(owner.into())
}
