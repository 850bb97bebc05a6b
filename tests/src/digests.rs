//! Whether replicas are equal.

use std::fmt;
use std::net::SocketAddrV4;

use crate::status::status_of;

/// The digests of several nodes at one log index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The applied index at which all of them were taken.
    pub index: u64,
    /// Node id and digest.
    pub of: Vec<(u64, String)>,
}

impl Digests {
    /// Asks these nodes, each by its id and its client listener.
    ///
    /// # Errors
    /// Why there is no answer to compare: one of them does not answer, or they do not stand at one index now.
    pub async fn ask(nodes: &[(u64, SocketAddrV4)]) -> Result<Digests, String> {
        let asked = nodes.iter().map(|(_, address)| status_of(*address, true, 0));
        let mut said = Vec::new();
        for ((node, _), status) in nodes.iter().zip(futures_util::future::join_all(asked).await) {
            said.push(status.map_err(|status| format!("node {node}: {}", status.message()))?);
        }
        let indexes: Vec<u64> = said.iter().map(|status| status.applied_index).collect();
        let index = indexes.first().copied().ok_or("no node runs")?;
        if indexes.iter().any(|other| *other != index) {
            return Err(format!("applied indexes: {indexes:?}"));
        }
        let of = nodes.iter().zip(said).map(|((node, _), status)| (*node, status.digest)).collect();
        Ok(Digests { index, of })
    }

    /// Whether every one of `nodes` is among them.
    #[must_use]
    pub fn are_of(&self, nodes: &[u64]) -> bool {
        nodes.iter().all(|node| self.of.iter().any(|(of, _)| of == node))
    }

    /// Whether all are there and all the same.
    #[must_use]
    pub fn are_equal(&self) -> bool {
        let mut all = self.of.iter().map(|(_, digest)| digest);
        all.next().is_some_and(|first| !first.is_empty() && all.all(|digest| digest == first))
    }

    /// `equal` or `different`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.are_equal() { "equal" } else { "different" }
    }
}

impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at index {}:", self.index)?;
        self.of.iter().try_for_each(|(node, digest)| write!(f, " node {node} {digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(of: &[&str]) -> Digests {
        Digests { index: 1, of: (1..).zip(of.iter().map(|digest| (*digest).to_owned())).collect() }
    }

    #[test]
    fn equal_means_there_and_the_same() {
        assert!(digests(&["a", "a", "a"]).are_equal());
        assert!(!digests(&["a", "a", "b"]).are_equal());
        assert!(!digests(&["", "", ""]).are_equal());
        assert!(!digests(&[]).are_equal());
        assert!(digests(&["a", "a", "a"]).are_of(&[1, 2, 3]));
        assert!(!digests(&["a", "a"]).are_of(&[1, 2, 3]), "a node is missing");
    }
}
