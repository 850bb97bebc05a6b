//! Lists of sessions, a page at a time.
//!
//! A page begins behind the last session of the one before, by an order that no other session's coming or going changes:
//! what is there all the time comes exactly once.

use std::ops::{Bound, RangeInclusive};

use crate::key::SessionKey;
use crate::outcome::Refusal;
use crate::policy::NamespaceId;
use crate::record::Record;
use crate::session::Session;
use crate::state::State;
use crate::time::Clocks;

/// Sessions looked at for one page.
const LOOKS_MAX: usize = 10_000;

/// The last session of a page: when it signed in (0 in a list of all), and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageToken {
    /// The log index of its sign-in; 0 in a list that is not of one principal.
    pub signed_in: u64,
    /// Its key.
    pub key: SessionKey,
}

/// A session in a list.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    /// Its key.
    pub key: SessionKey,
    /// What it is.
    pub session: &'a Session,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// In order.
    pub sessions: Vec<Listed<'a>>,
    /// Where the next page goes on; `None` after the last one.
    pub next: Option<PageToken>,
}

impl State {
    /// Up to `size` sessions of a namespace, of one principal or of all, whose keys begin with `prefix` (hex digits as
    /// [`SessionKey::handle`] has them), behind `after`. Judged at `now`.
    ///
    /// # Errors
    /// [`Refusal::UnknownNamespace`].
    pub fn list(
        &self,
        namespace: &str,
        principal: Option<&str>,
        prefix: &str,
        after: Option<PageToken>,
        size: usize,
        now: Clocks,
    ) -> Result<Page<'_>, Refusal> {
        let (id, _) = self.namespace(namespace).ok_or(Refusal::UnknownNamespace)?;
        let keys = range_of(prefix);
        let mut page = Page { sessions: Vec::new(), next: None };
        let mut last = None;
        for (looked, token) in self.candidates(id, principal, &keys, after).enumerate() {
            if page.sessions.len() >= size || looked >= LOOKS_MAX {
                page.next = last;
                break;
            }
            last = Some(token);
            if keys.contains(&token.key)
                && let Some((_, Record::Live(session))) = self.record(&token.key, now)
            {
                page.sessions.push(Listed { key: token.key, session });
            }
        }
        Ok(page)
    }

    fn candidates<'a>(
        &'a self,
        namespace: NamespaceId,
        principal: Option<&str>,
        keys: &RangeInclusive<SessionKey>,
        after: Option<PageToken>,
    ) -> Box<dyn Iterator<Item = PageToken> + 'a> {
        let index = self.table.index();
        let Some(principal) = principal else {
            let (first, last) = (*keys.start(), *keys.end());
            let from = match after {
                Some(token) if token.key >= first => Bound::Excluded(token.key),
                _ => Bound::Included(first),
            };
            let keys = index.keys(namespace, from).take_while(move |key| *key <= last);
            return Box::new(keys.map(|key| PageToken { signed_in: 0, key }));
        };
        let Some(sessions) = index.principal(namespace, principal) else {
            return Box::new(std::iter::empty());
        };
        let from = after.map_or(Bound::Unbounded, |token| Bound::Excluded((token.signed_in, token.key)));
        let sessions = sessions.range((from, Bound::Unbounded));
        Box::new(sessions.map(|(signed_in, key)| PageToken { signed_in: *signed_in, key: *key }))
    }
}

/// The keys whose hex begins so. Of what no handle begins with: none.
fn range_of(prefix: &str) -> RangeInclusive<SessionKey> {
    let none = SessionKey([0xff; 16])..=SessionKey([0; 16]);
    if prefix.len() > 32 || !prefix.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return none;
    }
    let fill = |digit: u8| {
        let digits: String = prefix.chars().chain(std::iter::repeat(char::from(digit))).take(32).collect();
        let mut key = [0; 16];
        hex::decode_to_slice(digits, &mut key).ok().map(|()| SessionKey(key))
    };
    match (fill(b'0'), fill(b'f')) {
        (Some(first), Some(last)) => first..=last,
        _ => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_of_keys() {
        let mut key = [0xab; 16];
        key[15] = 0x0c;
        let key = SessionKey(key);
        for prefix in ["", "a", "ab", "aba", &key.handle()] {
            assert!(range_of(prefix).contains(&key) && key.handle().starts_with(prefix), "{prefix:?}");
        }
        let longer = format!("{}0", key.handle());
        for prefix in ["b", "aa", "ac", "abb", "AB", "ab g", "\u{e4}", &longer] {
            assert!(!range_of(prefix).contains(&key), "{prefix:?}");
        }
        assert!(
            range_of("").contains(&SessionKey([0; 16])) && range_of("").contains(&SessionKey([0xff; 16]))
        );
        assert!(range_of("x").is_empty());
    }
}
