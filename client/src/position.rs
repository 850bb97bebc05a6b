//! Positions.

use std::fmt;
use std::str::FromStr;

use quorate_proto::v1;

/// A place in the replicated history of one cluster. Every write returns one; a read at least at it sees that write.
/// As text: the cluster id in hex, a dash, the log index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The cluster it belongs to; another cluster refuses it.
    pub cluster: u64,
    /// The log index.
    pub index: u64,
}

/// Text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position: expected CLUSTER-INDEX, such as 00c0ffee00c0ffee-42")]
pub struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.cluster, self.index)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (cluster, index) = text.split_once('-').ok_or(InvalidPosition)?;
        let cluster = u64::from_str_radix(cluster, 16).map_err(|_| InvalidPosition)?;
        Ok(Position { cluster, index: index.parse().map_err(|_| InvalidPosition)? })
    }
}

impl From<v1::Position> for Position {
    fn from(position: v1::Position) -> Self {
        Position { cluster: position.cluster, index: position.index }
    }
}

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        v1::Position { cluster: position.cluster, index: position.index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let position = Position { cluster: 0xc0ffee, index: 42 };
        assert_eq!(position.to_string(), "0000000000c0ffee-42");
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "7", "x-1", "1-x", "-"] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
    }
}
