//! Digest: compares the nodes' states at one position.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_client::Client;

use super::view::View;

/// Pause between two rounds. A quiet cluster still applies a tick each second: the rounds must fall between two.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// Most rounds: under steady writes the nodes may never stand at one position together.
const ROUNDS_MAX: usize = 100;

/// Digests by node.
pub(crate) type Digests = BTreeMap<u64, String>;

/// What the comparison found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// All nodes that answered have one digest at `index`.
    Equal {
        /// The log index at which they were compared.
        index: u64,
        /// Each node's digest.
        digests: Digests,
    },
    /// They do not.
    Different {
        /// The log index at which they were compared.
        index: u64,
        /// Each node's digest.
        digests: Digests,
    },
    /// They were never seen at one position, or there are not two to compare.
    Missed {
        /// Why, for people.
        why: String,
    },
}

/// Digests seen so far, by the position they are of.
#[derive(Debug, Default)]
struct Sightings(BTreeMap<u64, Digests>);

impl Sightings {
    fn add(&mut self, index: u64, node: u64, digest: String) {
        self.0.entry(index).or_default().insert(node, digest);
    }

    /// A verdict, once `nodes` nodes were seen at one position, or any two disagree at one.
    fn verdict(&self, nodes: usize) -> Option<Comparison> {
        let differing =
            |digests: &&Digests| digests.values().any(|digest| Some(digest) != digests.values().next());
        for (index, digests) in &self.0 {
            if differing(&digests) {
                return Some(Comparison::Different { index: *index, digests: digests.clone() });
            }
        }
        let complete = self.0.iter().rev().find(|(_, digests)| digests.len() >= nodes);
        complete.map(|(index, digests)| Comparison::Equal { index: *index, digests: digests.clone() })
    }
}

/// Brings the nodes that answer to the highest position that any of them has applied, and compares their digests
/// at a position at which all were seen. Nodes go on while they are asked, so it takes several rounds under load.
pub(crate) async fn compare(client: &Client, view: &View) -> Comparison {
    let answering = |node: &&super::view::Node| node.said.is_ok();
    let addresses: Vec<String> =
        view.nodes.iter().filter(answering).map(|node| node.address.clone()).collect();
    if addresses.len() < 2 && view.voters() > 1 {
        return Comparison::Missed {
            why: format!("{} of {} nodes answer", addresses.len(), view.nodes.len()),
        };
    }
    let mut sightings = Sightings::default();
    let mut at_least = view
        .nodes
        .iter()
        .filter_map(|node| node.said.as_ref().ok())
        .map(|said| said.applied_index)
        .max()
        .unwrap_or(0);
    let mut failure = None;
    for _ in 0..ROUNDS_MAX {
        let asked = addresses.iter().map(|address| client.status_of(address, true, at_least));
        for status in join_all(asked).await {
            match status {
                Ok(status) if status.digest.is_empty() => failure = Some("a node sent no digest".to_owned()),
                Ok(status) => {
                    at_least = at_least.max(status.applied_index);
                    sightings.add(status.applied_index, status.node, status.digest);
                }
                Err(error) => failure = Some(error.to_string()),
            }
        }
        if let Some(verdict) = sightings.verdict(addresses.len()) {
            return verdict;
        }
        tokio::time::sleep(ROUND_PAUSE).await;
    }
    let why = failure.unwrap_or_else(|| "the nodes were never seen at one position".to_owned());
    Comparison::Missed { why }
}

/// Digests for an error line.
pub(crate) fn facts(digests: &Digests) -> String {
    let facts: Vec<String> =
        digests.iter().map(|(node, digest)| format!("node {node} has {digest}")).collect();
    facts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sightings(seen: &[(u64, u64, &str)]) -> Sightings {
        let mut sightings = Sightings::default();
        for (index, node, digest) in seen {
            sightings.add(*index, *node, (*digest).to_owned());
        }
        sightings
    }

    #[test]
    fn equal_needs_all_nodes_at_one_position() {
        assert_eq!(sightings(&[(5, 1, "a"), (5, 2, "a"), (6, 3, "b")]).verdict(3), None);
        let verdict =
            sightings(&[(5, 1, "a"), (5, 2, "a"), (6, 3, "b"), (6, 1, "b"), (6, 2, "b")]).verdict(3);
        assert!(matches!(verdict, Some(Comparison::Equal { index: 6, .. })), "{verdict:?}");
    }

    #[test]
    fn different_needs_two_at_one_position() {
        let verdict = sightings(&[(5, 1, "a"), (5, 3, "b")]).verdict(3);
        assert!(matches!(verdict, Some(Comparison::Different { index: 5, .. })), "{verdict:?}");
        assert_eq!(
            sightings(&[(5, 1, "a"), (6, 3, "b")]).verdict(3),
            None,
            "other positions are no difference"
        );
    }

    #[test]
    fn facts_name_the_nodes() {
        let digests = Digests::from([(1, "aa".to_owned()), (2, "bb".to_owned())]);
        assert_eq!(facts(&digests), "node 1 has aa, node 2 has bb");
    }
}
