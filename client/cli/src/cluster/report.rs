//! Report: the cluster for people and programs.

use serde::Serialize;

use super::digest::{Comparison, Digests};
use super::view::{Node, View};
use crate::output::{Report, columns};

/// What `cluster status` shows.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterReport {
    /// Hex; null when nobody answers.
    cluster: Option<String>,
    leader: Option<u64>,
    term: u64,
    quorum: bool,
    voters: usize,
    voters_reachable: usize,
    nodes: Vec<NodeReport>,
    digest: Option<DigestReport>,
}

#[derive(Debug, Serialize)]
struct NodeReport {
    node: Option<u64>,
    leader: bool,
    role: Option<String>,
    address: String,
    voter: bool,
    reachable: bool,
    error: Option<String>,
    term: Option<u64>,
    last_log_index: Option<u64>,
    applied_index: Option<u64>,
    persisted_index: Option<u64>,
    lag: Option<u64>,
    sessions: Option<u64>,
    version: Option<String>,
}

#[derive(Debug, Serialize)]
struct DigestReport {
    result: &'static str,
    index: Option<u64>,
    digests: Digests,
    /// Members that were not compared.
    missing: Vec<u64>,
}

impl ClusterReport {
    /// The report on `view`, and on the comparison if one was made.
    pub(crate) fn of(view: &View, comparison: Option<&Comparison>) -> ClusterReport {
        let applied_max = view.applied_max();
        ClusterReport {
            cluster: (view.cluster != 0).then(|| format!("{:016x}", view.cluster)),
            leader: view.leader,
            term: view.term,
            quorum: view.has_quorum(),
            voters: view.voters(),
            voters_reachable: view.voters_reachable(),
            nodes: view.nodes.iter().map(|node| NodeReport::of(node, view.leader, applied_max)).collect(),
            digest: comparison.map(|comparison| DigestReport::of(comparison, view)),
        }
    }
}

impl NodeReport {
    fn of(node: &Node, leader: Option<u64>, applied_max: u64) -> NodeReport {
        let said = node.said.as_ref().ok();
        NodeReport {
            node: node.node,
            leader: node.node.is_some() && node.node == leader,
            role: said.map(|said| said.role.clone()),
            address: node.address.clone(),
            voter: node.voter,
            reachable: said.is_some(),
            error: node.said.as_ref().err().cloned(),
            term: said.map(|said| said.term),
            last_log_index: said.map(|said| said.last_log_index),
            applied_index: said.map(|said| said.applied_index),
            persisted_index: said.map(|said| said.persisted_index),
            lag: said.map(|said| applied_max.saturating_sub(said.applied_index)),
            sessions: said.map(|said| said.sessions),
            version: said.map(|said| said.version.clone()),
        }
    }

    fn row(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mark = if self.leader { "*" } else { "" };
        vec![
            format!("{}{mark}", number(self.node)),
            text(&self.role),
            self.address.clone(),
            number(self.term),
            number(self.last_log_index),
            number(self.applied_index),
            number(self.persisted_index),
            number(self.lag),
            number(self.sessions),
            text(&self.version),
            self.error.as_ref().map_or_else(|| "ok".to_owned(), |why| format!("unreachable: {why}")),
        ]
    }
}

impl DigestReport {
    fn of(comparison: &Comparison, view: &View) -> DigestReport {
        let (result, index, digests) = match comparison {
            Comparison::Equal { index, digests } => ("equal", Some(*index), digests.clone()),
            Comparison::Different { index, digests } => ("different", Some(*index), digests.clone()),
            Comparison::Missed { .. } => ("not_compared", None, Digests::new()),
        };
        let members = view.nodes.iter().filter_map(|node| node.node);
        let missing = members.filter(|node| !digests.contains_key(node)).collect();
        DigestReport { result, index, digests, missing }
    }

    fn line(&self) -> String {
        let compared = self.digests.len();
        let mut line = match (self.result, self.index) {
            ("equal", Some(index)) => format!("digests: equal on {compared} nodes at index {index}"),
            (result, Some(index)) => format!("digests: {result} at index {index}"),
            (_, None) => return "digests: not compared".to_owned(),
        };
        if !self.missing.is_empty() {
            let missing: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
            line.push_str(&format!(" (not compared: node {})", missing.join(", ")));
        }
        line
    }
}

const HEADER: [&str; 11] = [
    "NODE",
    "ROLE",
    "ADDRESS",
    "TERM",
    "LAST LOG",
    "APPLIED",
    "PERSISTED",
    "LAG",
    "SESSIONS",
    "VERSION",
    "STATE",
];

impl Report for ClusterReport {
    fn table(&self) -> String {
        let rows = self.nodes.iter().map(NodeReport::row).collect();
        let mut text = columns(&HEADER, &[3, 4, 5, 6, 7, 8], rows);
        let leader = self.leader.map_or_else(|| "no leader".to_owned(), |node| format!("leader {node}"));
        let quorum = if self.quorum { "quorum" } else { "NO QUORUM" };
        let cluster = self.cluster.as_deref().unwrap_or("unknown");
        text.push_str(&format!(
            "\n\ncluster {cluster}: {leader}, term {}, {quorum} ({} of {} voters answer)",
            self.term, self.voters_reachable, self.voters
        ));
        if let Some(digest) = &self.digest {
            text.push('\n');
            text.push_str(&digest.line());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{down, said, up};
    use super::*;
    use crate::output::{Format, render};

    fn view() -> View {
        View::of(vec![up(said(1, 2, 100)), up(said(2, 2, 104)), down("n3:7101")])
    }

    #[test]
    fn the_table_marks_the_leader_and_says_who_is_missing() {
        let text = render(Format::Table, &ClusterReport::of(&view(), None));
        let expected = "\
NODE  ROLE      ADDRESS  TERM  LAST LOG  APPLIED  PERSISTED  LAG  SESSIONS  VERSION  STATE
1     follower  n1:7101     4       100      100         50    4        10  0.1.0    ok
2*    leader    n2:7101     4       104      104         52    0        10  0.1.0    ok
3     -         n3:7101     -         -        -          -    -         -  -        unreachable: connection refused

cluster 00000000000000c1: leader 2, term 4, quorum (2 of 3 voters answer)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let digests = Digests::from([(1, "aa".to_owned()), (2, "aa".to_owned())]);
        let comparison = Comparison::Equal { index: 104, digests };
        let report = ClusterReport::of(&view(), Some(&comparison));
        let json = serde_json::to_value(&report).expect("json");
        assert_eq!(json["leader"], 2);
        assert_eq!(json["cluster"], "00000000000000c1");
        assert_eq!(json["quorum"], true);
        assert_eq!(
            json["nodes"][2].to_string(),
            r#"{"address":"n3:7101","applied_index":null,"error":"connection refused","lag":null,"last_log_index":null,"leader":false,"node":3,"persisted_index":null,"reachable":false,"role":null,"sessions":null,"term":null,"version":null,"voter":true}"#
        );
        assert_eq!(
            json["digest"].to_string(),
            r#"{"digests":{"1":"aa","2":"aa"},"index":104,"missing":[3],"result":"equal"}"#
        );
        assert!(
            render(Format::Table, &report)
                .ends_with("equal on 2 nodes at index 104 (not compared: node 3)\n")
        );
    }

    #[test]
    fn a_difference_is_shown() {
        let digests = Digests::from([(1, "aa".to_owned()), (2, "bb".to_owned())]);
        let comparison = Comparison::Different { index: 7, digests };
        let text = render(Format::Table, &ClusterReport::of(&view(), Some(&comparison)));
        assert!(text.contains("digests: different at index 7"), "{text}");
    }
}
