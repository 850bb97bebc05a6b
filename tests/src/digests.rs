//! Whether replicas are equal.

use std::fmt;

/// The digests of several nodes at one log index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The applied index at which all of them were taken.
    pub index: u64,
    /// Node id and digest.
    pub of: Vec<(u64, String)>,
}

impl Digests {
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
    }
}
