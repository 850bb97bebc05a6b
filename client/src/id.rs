//! Session ids.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::TryRngCore as _;
use rand::rngs::OsRng;

const RANDOM_BYTES: usize = 32;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A session's id: a bearer secret. `Debug` does not show it; [`SessionId::reveal`] does.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

/// An id that no server would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session id: 16 to 256 characters of A-Z a-z 0-9 - _ . ~ + / = : % are allowed")]
pub struct InvalidSessionId;

impl SessionId {
    /// A new id: 256 bits from the operating system's randomness, in base64url.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: an id that can be guessed must not exist.
    #[must_use]
    pub fn random() -> Self {
        loop {
            let id = Self::drawn();
            // One that begins with a dash would be taken for an option on a command line.
            if !id.0.starts_with('-') {
                return id;
            }
        }
    }

    fn drawn() -> Self {
        let mut bytes = [0_u8; RANDOM_BYTES];
        OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives randomness");
        let mut text = String::with_capacity(RANDOM_BYTES * 4 / 3 + 1);
        for group in bytes.chunks(3) {
            let word = group.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte))
                << (8 * (3 - group.len()));
            for character in 0..=group.len() {
                let six = (word >> (18 - 6 * character)) & 63;
                text.extend(
                    usize::try_from(six).ok().and_then(|six| ALPHABET.get(six)).map(|byte| char::from(*byte)),
                );
            }
        }
        SessionId(text.into())
    }

    /// The secret itself: for a cookie, never for a log.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(id: &str) -> Result<Self, InvalidSessionId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=:%".contains(&byte);
        if (16..=256).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(SessionId(id.into()))
        } else {
            Err(InvalidSessionId)
        }
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_is_43_url_safe_characters_and_never_the_same() {
        let (one, other) = (SessionId::random(), SessionId::random());
        assert_eq!(one.reveal().len(), 43);
        assert!(one.reveal().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(one, other);
        assert_eq!(one.reveal().parse(), Ok(one));
    }

    #[test]
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", SessionId::random()), "SessionId(..)");
    }

    #[test]
    fn short_long_and_strange_ids_are_refused() {
        for id in ["", "short", &"a".repeat(257), "a b c d e f g h i j", "aaaaaaaaaaaaaaaä"] {
            assert_eq!(id.parse::<SessionId>(), Err(InvalidSessionId), "{id}");
        }
    }
}
