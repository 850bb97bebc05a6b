//! View: what follows from the nodes' answers. No network, no clock.

use std::collections::BTreeMap;

/// What came back from one address.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The address that was asked, `host:port`.
    pub(crate) address: String,
    /// What the node said, or why it said nothing.
    pub(crate) said: Result<Said, String>,
}

/// What a node says of itself and the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) cluster: u64,
    pub(crate) node: u64,
    /// The leader it follows; 0 when it knows none.
    pub(crate) leader: u64,
    pub(crate) term: u64,
    pub(crate) role: String,
    pub(crate) last_log_index: u64,
    pub(crate) applied_index: u64,
    pub(crate) persisted_index: u64,
    pub(crate) sessions: u64,
    pub(crate) version: String,
    pub(crate) members: Vec<KnownMember>,
}

/// A member of the cluster as a node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownMember {
    pub(crate) node: u64,
    pub(crate) address: String,
    pub(crate) voter: bool,
}

/// One node: known from the membership, from an answer, or as an address that nobody can place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// `None` for an address that does not answer and that no member claims.
    pub(crate) node: Option<u64>,
    pub(crate) address: String,
    pub(crate) voter: bool,
    pub(crate) said: Result<Said, String>,
}

/// The cluster as its nodes describe it.
#[derive(Debug)]
pub(crate) struct View {
    /// 0 when nobody answers.
    pub(crate) cluster: u64,
    /// The node that leads in the highest term heard of, when it answers and says so itself.
    pub(crate) leader: Option<u64>,
    /// The highest term heard of.
    pub(crate) term: u64,
    /// Members first, by number; then addresses that nobody can place.
    pub(crate) nodes: Vec<Node>,
    /// Nodes that answer but belong to another cluster than the first that answered.
    strangers: Vec<String>,
}

impl View {
    /// Draws the picture. The membership is taken from the leader, else from the node that is furthest.
    pub(crate) fn of(replies: Vec<Reply>) -> View {
        let answered = || replies.iter().filter_map(|reply| reply.said.as_ref().ok());
        let cluster = answered().map(|said| said.cluster).next().unwrap_or(0);
        let own = || answered().filter(|said| said.cluster == cluster);
        let term = own().map(|said| said.term).max().unwrap_or(0);
        let leads = |said: &&Said| said.term == term && said.role == "leader";
        let leader = own().find(leads).map(|said| said.node);
        let knowing = own().find(leads).or_else(|| own().max_by_key(|said| (said.applied_index, said.node)));
        let members = knowing.map(|said| said.members.clone()).unwrap_or_default();
        let strangers = replies
            .iter()
            .filter(|reply| reply.said.as_ref().is_ok_and(|said| said.cluster != cluster))
            .map(|reply| reply.address.clone())
            .collect();
        View { cluster, leader, term, nodes: place(members, replies, cluster), strangers }
    }

    /// Voters in all.
    pub(crate) fn voters(&self) -> usize {
        self.nodes.iter().filter(|node| node.voter).count()
    }

    /// Voters that answer.
    pub(crate) fn voters_reachable(&self) -> usize {
        self.nodes.iter().filter(|node| node.voter && node.said.is_ok()).count()
    }

    /// Whether more than half of the voters answer.
    pub(crate) fn has_quorum(&self) -> bool {
        self.voters_reachable() * 2 > self.voters()
    }

    /// Why the cluster cannot be relied on, or `None` when there is a leader and a quorum.
    pub(crate) fn unhealthy(&self) -> Option<String> {
        let (reachable, voters) = (self.voters_reachable(), self.voters());
        if self.nodes.iter().all(|node| node.said.is_err()) {
            return Some("no node answers".to_owned());
        }
        if !self.strangers.is_empty() {
            return Some(format!(
                "{} belong to another cluster; check --endpoints",
                self.strangers.join(", ")
            ));
        }
        if !self.has_quorum() {
            return Some(format!("no quorum: {reachable} of {voters} voters answer"));
        }
        if self.leader.is_none() {
            return Some(format!(
                "no leader: {reachable} of {voters} voters answer, none leads in term {}",
                self.term
            ));
        }
        None
    }

    /// The last entry applied by the leader, else by any node.
    pub(crate) fn applied_max(&self) -> u64 {
        let said = || self.nodes.iter().filter_map(|node| node.said.as_ref().ok());
        let leading = said().find(|said| Some(said.node) == self.leader);
        leading.or_else(|| said().max_by_key(|said| said.applied_index)).map_or(0, |said| said.applied_index)
    }
}

/// Puts each reply to its member. One node may answer at several addresses: the first answer counts.
fn place(members: Vec<KnownMember>, replies: Vec<Reply>, cluster: u64) -> Vec<Node> {
    let mut nodes: BTreeMap<u64, Node> = BTreeMap::new();
    let mut advertised: BTreeMap<String, u64> = BTreeMap::new();
    for member in members {
        advertised.insert(member.address.clone(), member.node);
        let said = Err("not asked: its address is not known".to_owned());
        let node = Node { node: Some(member.node), address: member.address, voter: member.voter, said };
        nodes.insert(node.node.unwrap_or_default(), node);
    }
    let (answers, failures): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.said.is_ok());
    let mut unplaced = Vec::new();
    for Reply { address, said } in answers {
        let Ok(said) = said else { continue };
        if said.cluster != cluster {
            let why = format!("belongs to another cluster ({:016x})", said.cluster);
            unplaced.push(Node { node: None, address, voter: false, said: Err(why) });
            continue;
        }
        let new =
            Node { node: Some(said.node), address: address.clone(), voter: false, said: Err(String::new()) };
        let node = nodes.entry(said.node).or_insert(new);
        if node.said.is_err() {
            node.address = address;
            node.said = Ok(said);
        }
    }
    for Reply { address, said } in failures {
        // A member may have answered at another address than the one it advertises.
        if advertised.get(&address).is_some_and(|node| nodes.get(node).is_some_and(|node| node.said.is_ok()))
        {
            continue;
        }
        let claimed = nodes.values_mut().find(|node| node.address == address);
        match claimed {
            Some(node) if node.said.is_ok() => {}
            Some(node) => node.said = said,
            None if unplaced.iter().any(|node: &Node| node.address == address) => {}
            None => unplaced.push(Node { node: None, address, voter: false, said }),
        }
    }
    nodes.into_values().chain(unplaced).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Node `node` of three, following `leader`, in term 4.
    pub(crate) fn said(node: u64, leader: u64, applied_index: u64) -> Said {
        let member = |node| KnownMember { node, address: format!("n{node}:7101"), voter: true };
        Said {
            cluster: 0xc1,
            node,
            leader,
            term: 4,
            role: if node == leader { "leader" } else { "follower" }.to_owned(),
            last_log_index: applied_index,
            applied_index,
            persisted_index: applied_index / 2,
            sessions: 10,
            version: "0.1.0".to_owned(),
            members: (1..=3).map(member).collect(),
        }
    }

    pub(crate) fn up(said: Said) -> Reply {
        Reply { address: format!("n{}:7101", said.node), said: Ok(said) }
    }

    pub(crate) fn down(address: &str) -> Reply {
        Reply { address: address.to_owned(), said: Err("connection refused".to_owned()) }
    }

    #[test]
    fn three_nodes_and_a_leader_are_healthy() {
        let view = View::of(vec![up(said(1, 2, 100)), up(said(2, 2, 103)), up(said(3, 2, 90))]);
        assert_eq!((view.leader, view.unhealthy(), view.applied_max()), (Some(2), None, 103));
        assert_eq!((view.voters(), view.voters_reachable()), (3, 3));
    }

    #[test]
    fn one_of_three_may_be_down_and_is_still_listed() {
        let view = View::of(vec![up(said(1, 2, 100)), up(said(2, 2, 103)), down("n3:7101")]);
        assert_eq!(view.unhealthy(), None);
        let third = view.nodes.last().expect("three nodes");
        assert_eq!((third.node, third.said.clone()), (Some(3), Err("connection refused".to_owned())));
        assert_eq!(view.nodes.len(), 3);
    }

    #[test]
    fn two_of_three_down_is_no_quorum_even_if_the_third_believes_to_lead() {
        let view = View::of(vec![up(said(1, 1, 100)), down("n2:7101"), down("n3:7101")]);
        assert!(view.unhealthy().expect("unhealthy").contains("1 of 3 voters"));
    }

    #[test]
    fn a_leader_of_an_older_term_does_not_count() {
        let old = Said { term: 3, ..said(1, 1, 100) };
        let view = View::of(vec![up(old), up(said(2, 0, 100)), up(said(3, 0, 100))]);
        assert!(view.unhealthy().expect("unhealthy").contains("no leader"));
    }

    #[test]
    fn a_leader_that_does_not_answer_is_no_leader_seen() {
        let view = View::of(vec![up(said(1, 3, 100)), up(said(2, 3, 100)), down("n3:7101")]);
        assert_eq!(view.leader, None);
        assert!(view.unhealthy().is_some());
    }

    #[test]
    fn a_node_reached_by_two_addresses_is_one_node() {
        let other = Reply { address: "localhost:7101".to_owned(), said: Ok(said(1, 1, 100)) };
        let view = View::of(vec![other, up(said(1, 1, 100)), up(said(2, 1, 100)), up(said(3, 1, 100))]);
        assert_eq!(view.nodes.len(), 3);
        // The advertised address of a node in a container may not be reachable from here; it answered elsewhere.
        let published = Reply { address: "127.0.0.1:7101".to_owned(), said: Ok(said(1, 1, 100)) };
        let view = View::of(vec![published, up(said(2, 1, 9)), up(said(3, 1, 9)), down("n1:7101")]);
        assert_eq!(view.nodes.iter().filter(|node| node.node == Some(1)).count(), 1);
        assert_eq!(view.unhealthy(), None);
    }

    #[test]
    fn nobody_answers() {
        let view = View::of(vec![down("a:1"), down("b:1")]);
        assert_eq!(view.unhealthy().as_deref(), Some("no node answers"));
        assert_eq!((view.nodes.len(), view.has_quorum()), (2, false));
    }

    #[test]
    fn a_node_of_another_cluster_is_pointed_out() {
        let stranger = Said { cluster: 0xbad, ..said(3, 3, 100) };
        let view = View::of(vec![up(said(1, 1, 100)), up(said(2, 1, 100)), up(stranger)]);
        assert!(view.unhealthy().expect("unhealthy").contains("another cluster"));
    }
}
