//! Session ids and the keys derived from them. The id is a bearer secret: it never enters the state.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A session id as a client presents it, checked. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(Box<str>);

/// Why an id was refused. Says nothing of the id itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Shorter than [`SessionId::MIN_BYTES`] or longer than [`SessionId::MAX_BYTES`].
    #[error("the session id has {0} bytes; between 16 and 256 are allowed")]
    Length(usize),
    /// A byte outside `A-Z a-z 0-9 - _ . ~ + / = : %`, at this offset.
    #[error(
        "the session id has a character at offset {0} that is not URL-safe (A-Z a-z 0-9 - _ . ~ + / = : %)"
    )]
    Character(usize),
}

impl SessionId {
    /// The shortest id: 16 bytes. (A 128-bit random id takes 22 in base64url.)
    pub const MIN_BYTES: usize = 16;
    /// The longest id.
    pub const MAX_BYTES: usize = 256;

    /// Checks an id's length and characters.
    ///
    /// # Errors
    /// [`IdError`] when either is out of bounds.
    pub fn parse(id: &str) -> Result<Self, IdError> {
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&id.len()) {
            return Err(IdError::Length(id.len()));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=:%".contains(&byte);
        match id.bytes().position(|byte| !allowed(byte)) {
            Some(offset) => Err(IdError::Character(offset)),
            None => Ok(SessionId(id.into())),
        }
    }

    /// The secret itself, for the one who is answered with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// What names a session in the state: the first 16 bytes of SHA-256(namespace, 0, id). Its hex is the *handle*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey(pub [u8; 16]);

impl SessionKey {
    /// Derives the key. `namespace` has no NUL byte (see [`crate::Limits`]).
    #[must_use]
    pub fn derive(namespace: &str, id: &SessionId) -> Self {
        let digest =
            Sha256::new_with_prefix(namespace.as_bytes()).chain_update([0]).chain_update(id.0.as_bytes());
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(digest.finalize()) {
            *to = from;
        }
        SessionKey(key)
    }

    /// The key in hex: a name for people and tools, never a credential.
    #[must_use]
    pub fn handle(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.handle())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({self})")
    }
}
