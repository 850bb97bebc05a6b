//! Page tokens: where a list goes on. The same on every node, so any node takes one.
//!
//! ```text
//! hex of: version 1 (1 byte) | signed_in (8, big endian) | key (16) | checksum (8, big endian)
//! ```
//!
//! The checksum is over all before it and over which list it is of: a token does not go with another one. It is no
//! secret and no credential: whoever makes one up may begin a list that they may read anywhere in it.

use quorate_state::{PageToken, SessionKey};

const VERSION: u8 = 1;
const TOKEN_BYTES: usize = 1 + 8 + 16 + 8;

/// Which list: pages of the same list have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListId(u64);

impl ListId {
    pub(super) fn of(cluster: u64, namespace: &str, principal: Option<&str>, prefix: &str) -> Self {
        let mut text = cluster.to_be_bytes().to_vec();
        // Neither a namespace nor a prefix has a NUL, and the principal is the last.
        for part in [namespace, prefix] {
            text.extend(part.as_bytes());
            text.push(0);
        }
        text.push(u8::from(principal.is_some()));
        text.extend(principal.unwrap_or_default().as_bytes());
        ListId(quorate_storage::checksum(&text))
    }

    /// The token of a page that ends so.
    pub(crate) fn write(self, last: PageToken) -> String {
        let mut token = vec![VERSION];
        token.extend(last.signed_in.to_be_bytes());
        token.extend(last.key.0);
        token.extend(self.checksum(&token).to_be_bytes());
        hex::encode(token)
    }

    /// Where a page of this list ended; `None` when the token is not one of this list.
    pub(super) fn read(self, token: &str) -> Option<PageToken> {
        let mut bytes = [0; TOKEN_BYTES];
        hex::decode_to_slice(token, &mut bytes).ok()?;
        let (body, checksum) = bytes.split_last_chunk()?;
        let (&version, rest) = body.split_first()?;
        let (signed_in, key) = rest.split_first_chunk()?;
        let known = version == VERSION && self.checksum(body) == u64::from_be_bytes(*checksum);
        let key = SessionKey(key.try_into().ok()?);
        known.then_some(PageToken { signed_in: u64::from_be_bytes(*signed_in), key })
    }

    fn checksum(self, body: &[u8]) -> u64 {
        quorate_storage::checksum(&[&self.0.to_be_bytes(), body].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_with_its_list_alone() {
        let list = ListId::of(7, "shop", Some("ada"), "0f");
        let last = PageToken { signed_in: u64::MAX - 5, key: SessionKey([0xab; 16]) };
        let token = list.write(last);
        assert_eq!(list.read(&token), Some(last));
        let others = [
            ListId::of(8, "shop", Some("ada"), "0f"),
            ListId::of(7, "shop2", Some("ada"), "0f"),
            ListId::of(7, "shop", None, "0f"),
            ListId::of(7, "shop", Some("bob"), "0f"),
            ListId::of(7, "shop", Some("ada"), "0"),
        ];
        for other in others {
            assert_eq!(other.read(&token), None);
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let list = ListId::of(7, "shop", None, "");
        let token = list.write(PageToken { signed_in: 0, key: SessionKey([1; 16]) });
        for place in 0..token.len() {
            let mut damaged = token.clone().into_bytes();
            damaged[place] = if damaged[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(list.read(&String::from_utf8(damaged).unwrap()), None, "{place}");
        }
        for wrong in ["", "0", "zz", &token[2..], &format!("{token}00"), "\u{1F600}"] {
            assert_eq!(list.read(wrong), None, "{wrong}");
        }
    }
}
