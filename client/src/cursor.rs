//! Cursors: how far a watcher has come.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use quorate_proto::v1;

use crate::position::Position;

/// A place among the events of a namespace. As text: a [`Position`], and behind a dot which of its events it is; without
/// that it is behind all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// When.
    pub position: Position,
    /// Which of the namespace's events of that position, from 0; `None`: behind all of them.
    pub ordinal: Option<u32>,
}

/// Text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected CLUSTER-INDEX or CLUSTER-INDEX.ORDINAL, such as 00c0ffee00c0ffee-42.0")]
pub struct InvalidCursor;

impl Ord for Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |cursor: &Cursor| (cursor.position, cursor.ordinal.is_none(), cursor.ordinal);
        place(self).cmp(&place(other))
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ordinal {
            Some(ordinal) => write!(f, "{}.{ordinal}", self.position),
            None => self.position.fmt(f),
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (position, ordinal) = match text.split_once('.') {
            Some((position, ordinal)) => (position, Some(ordinal.parse().map_err(|_| InvalidCursor)?)),
            None => (text, None),
        };
        Ok(Cursor { position: position.parse().map_err(|_| InvalidCursor)?, ordinal })
    }
}

/// Behind all events of the position: what a write returned, for one.
impl From<Position> for Cursor {
    fn from(position: Position) -> Self {
        Cursor { position, ordinal: None }
    }
}

impl From<v1::Cursor> for Cursor {
    fn from(cursor: v1::Cursor) -> Self {
        Cursor { position: cursor.position.map(Position::from).unwrap_or_default(), ordinal: cursor.ordinal }
    }
}

impl From<Cursor> for v1::Cursor {
    fn from(cursor: Cursor) -> Self {
        v1::Cursor { position: Some(cursor.position.into()), ordinal: cursor.ordinal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64, ordinal: Option<u32>) -> Cursor {
        Cursor { position: Position { cluster: 0xc0ffee, index }, ordinal }
    }

    #[test]
    fn text_round_trips() {
        for (cursor, text) in
            [(at(42, Some(7)), "0000000000c0ffee-42.7"), (at(42, None), "0000000000c0ffee-42")]
        {
            assert_eq!(cursor.to_string(), text);
            assert_eq!(text.parse(), Ok(cursor));
        }
        for text in ["", "7", "1-2.", "1-2.x", "1-2.3.4", ".1"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }

    #[test]
    fn without_an_ordinal_it_is_behind_all_events_of_its_position() {
        let ordered = [at(41, None), at(42, Some(0)), at(42, Some(9)), at(42, None), at(43, Some(0))];
        assert!(ordered.is_sorted_by(|one, next| one < next));
    }
}
