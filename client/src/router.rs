//! Which node to ask: the leader if it is known, else one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_proto::v1::StatusRequest;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::dialler::Dialler;
use crate::error::{Error, ErrorKind};
use crate::pace::Pace;
use crate::status;

const REFRESH_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Map {
    /// Every address known: those given, and those that nodes named.
    endpoints: Vec<String>,
    /// Who was last said, or found, to lead.
    leader: Option<String>,
    /// Whom to ask while nobody is known to lead.
    next: usize,
    /// Whom to ask next of what any node may answer.
    turn: usize,
    peers: HashMap<String, Peer>,
}

/// A node that was dialled.
#[derive(Debug)]
struct Peer {
    connection: Option<Connection>,
    pace: Arc<Pace>,
}

/// How promising it is to ask a node; the lesser, the more.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outlook {
    /// Connected, or may be dialled.
    Good,
    /// It is being dialled, and that takes long.
    Slow,
    /// It is dialled no earlier than this.
    Resting(Instant),
}

/// The nodes, and the connections to them.
#[derive(Debug)]
pub(crate) struct Router {
    map: Arc<Mutex<Map>>,
    dialler: Dialler,
}

impl Router {
    pub(crate) fn new(endpoints: Vec<String>, dialler: Dialler) -> Result<Self, Error> {
        if endpoints.is_empty() {
            return Err(Error::local(
                ErrorKind::InvalidArgument,
                "no endpoints: name at least one node as host:port",
            ));
        }
        for address in &endpoints {
            dialler.endpoint(address)?;
        }
        Ok(Router { map: Arc::new(Mutex::new(Map { endpoints, ..Map::default() })), dialler })
    }

    /// How nodes are reached.
    pub(crate) fn dialler(&self) -> Dialler {
        self.dialler
    }

    /// The node to ask now.
    pub(crate) fn pick(&self) -> String {
        let map = self.map.lock();
        map.leader.clone().or_else(|| map.most_promising(map.next).cloned()).unwrap_or_default()
    }

    /// The node to ask now of what any node may answer: each in its turn, of those that can be reached.
    pub(crate) fn spread(&self) -> String {
        let mut map = self.map.lock();
        map.turn = map.turn.wrapping_add(1);
        map.most_promising(map.turn).cloned().unwrap_or_default()
    }

    /// All addresses known.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.map.lock().endpoints.clone()
    }

    /// The connection to `address`. A broken one is replaced, but not for each caller who finds it broken: an address
    /// that could not be reached rests a while. That is the one error that passes, `Unavailable`.
    pub(crate) fn connection(&self, address: &str) -> Result<Connection, Error> {
        let mut map = self.map.lock();
        let peer = map.peers.get(address);
        let current = peer.and_then(|peer| peer.connection.as_ref());
        if let Some(connection) = current.filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        if let Some(rest) = peer.and_then(|peer| peer.pace.rest(Instant::now())) {
            return Err(Error::local(ErrorKind::Unavailable, format!("{address}: {}", rest.reason)));
        }
        let pace = peer.map_or_else(|| Arc::new(Pace::new()), |peer| Arc::clone(&peer.pace));
        let endpoint = self.dialler.endpoint(address)?;
        // Weak: a connection must not keep alive the map that holds it.
        let (known, dialler) = (Arc::downgrade(&self.map), self.dialler);
        let learn = move |members: Vec<String>| {
            if let Some(map) = known.upgrade() {
                map.lock().learn_all(&members, &dialler);
            }
        };
        let connection = Connection::open(dialler, endpoint, Arc::clone(&pace), Box::new(learn));
        map.peers.insert(address.to_owned(), Peer { connection: Some(connection.clone()), pace });
        Ok(connection)
    }

    /// `asked` does not lead; `leader` does, if it knew one. Whether that is to be asked now: while a dead leader is
    /// not noticed yet it is still named, and an address may be one that nobody can dial.
    pub(crate) fn redirect(&self, asked: &str, leader: Option<&str>) -> bool {
        let mut map = self.map.lock();
        let leader = leader.filter(|leader| *leader != asked && map.learn(leader, &self.dialler));
        match leader.filter(|leader| map.outlook(leader) == Outlook::Good) {
            Some(leader) => {
                map.leader = Some(leader.to_owned());
                true
            }
            None => {
                map.leave(asked);
                false
            }
        }
    }

    /// `asked` is no use at the moment: another node is asked next. Its connection stays.
    pub(crate) fn pass(&self, asked: &str) {
        self.map.lock().leave(asked);
    }

    /// `asked` cannot be reached over `connection`: that is dropped, another node is asked next. Of many callers who
    /// find it broken, the late ones must not drop what has replaced it by then.
    pub(crate) fn abandon(&self, asked: &str, connection: &Connection) {
        let mut map = self.map.lock();
        let Some(peer) = map.peers.get_mut(asked) else { return };
        if peer.connection.as_ref().is_some_and(|current| current.is(connection)) {
            peer.connection = None;
            map.leave(asked);
        }
    }

    /// Learns where the members are, from any node that answers, the leader first.
    pub(crate) async fn refresh(&self, until: Instant) {
        let first = self.pick();
        let others = self.endpoints().into_iter().filter(|address| *address != first);
        for address in std::iter::once(first.clone()).chain(others) {
            let deadline = until.saturating_duration_since(Instant::now()).min(REFRESH_DEADLINE);
            if deadline.is_zero() {
                return;
            }
            let Ok(status) = status::ask(self.dialler, &address, StatusRequest::default(), deadline).await
            else {
                continue;
            };
            let members: Vec<String> =
                status.members.into_iter().map(|member| member.client_address).collect();
            self.map.lock().learn_all(&members, &self.dialler);
            return;
        }
    }
}

impl Map {
    fn learn_all(&mut self, members: &[String], dialler: &Dialler) {
        for address in members {
            self.learn(address, dialler);
        }
    }

    /// Whether `address` is known, or one that can be dialled and from now on known. Members that have not announced
    /// themselves have none yet.
    fn learn(&mut self, address: &str, dialler: &Dialler) -> bool {
        let same = |known: &String| known.trim_start_matches("http://").trim_end_matches('/') == address;
        if self.endpoints.iter().any(same) {
            return true;
        }
        if address.is_empty() || dialler.endpoint(address).is_err() {
            return false;
        }
        self.endpoints.push(address.to_owned());
        true
    }

    fn outlook(&self, address: &str) -> Outlook {
        let Some(peer) = self.peers.get(address) else { return Outlook::Good };
        match &peer.connection {
            Some(connection) if connection.is_closed() => {}
            Some(connection) if connection.is_stuck() => return Outlook::Slow,
            Some(_) => return Outlook::Good,
            None => {}
        }
        peer.pace.rest(Instant::now()).map_or(Outlook::Good, |rest| Outlook::Resting(rest.until))
    }

    /// The first of the most promising, from the one at `first` on.
    fn most_promising(&self, first: usize) -> Option<&String> {
        let (before, after) = self.endpoints.split_at_checked(first % self.endpoints.len().max(1))?;
        let rotated = after.iter().chain(before);
        // Most often it is the first one: each call that knows no leader comes by here.
        let good = rotated.clone().find(|address| self.outlook(address) == Outlook::Good);
        good.or_else(|| rotated.min_by_key(|address| self.outlook(address)))
    }

    /// `asked` is no use: forget that it leads, ask the one after it next.
    fn leave(&mut self, asked: &str) {
        if self.leader.as_deref() == Some(asked) {
            self.leader = None;
        }
        let position = self.endpoints.iter().position(|known| known == asked);
        if let Some(position) = position.filter(|position| *position == self.next % self.endpoints.len()) {
            self.next = position + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        Router::new(vec!["a:1".into(), "b:1".into(), "c:1".into()], Dialler::default()).unwrap()
    }

    #[tokio::test]
    async fn asks_one_after_the_other_until_a_leader_is_named() {
        let router = router();
        assert_eq!(router.pick(), "a:1");
        router.abandon("a:1", &router.connection("a:1").unwrap());
        assert_eq!(router.pick(), "b:1");
        router.redirect("b:1", Some("d:1"));
        assert_eq!(router.pick(), "d:1");
        assert_eq!(router.endpoints().len(), 4);
        router.redirect("d:1", None);
        assert_eq!(router.pick(), "b:1");
        assert!(!router.redirect("b:1", Some("not an endpoint")), "nobody can dial it");
        assert_eq!((router.pick().as_str(), router.endpoints().len()), ("c:1", 4));
    }

    #[tokio::test]
    async fn an_address_that_rests_is_asked_after_all_others() {
        let router = router();
        for (address, reason) in [("a:1", "refused"), ("b:1", "timed out")] {
            let connection = router.connection(address).unwrap();
            router.abandon(address, &connection);
            let pace = Arc::clone(&router.map.lock().peers[address].pace);
            // Long enough for the test.
            (0..12).for_each(|_| pace.failed(reason, Instant::now() + Duration::from_secs(60)));
        }
        router.map.lock().next = 0;
        assert_eq!(router.pick(), "c:1");
        let error = router.connection("b:1").unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "b:1: timed out"));
        assert!(!router.redirect("c:1", Some("a:1")), "a dead leader that is still named");
        assert_eq!(router.pick(), "c:1");
    }

    #[tokio::test]
    async fn many_failures_of_one_node_move_on_by_one() {
        let router = router();
        let broken = router.connection("a:1").unwrap();
        for _ in 0..100 {
            router.abandon("a:1", &broken);
        }
        assert_eq!(router.pick(), "b:1");
    }

    #[tokio::test]
    async fn a_late_failure_does_not_drop_the_connection_that_came_after() {
        let router = router();
        let broken = router.connection("a:1").unwrap();
        router.abandon("a:1", &broken);
        let replaced = router.connection("a:1").unwrap();
        router.abandon("a:1", &broken);
        assert!(router.connection("a:1").unwrap().is(&replaced));
    }

    #[test]
    fn a_bad_endpoint_is_refused() {
        let error = Router::new(vec!["not an endpoint".into()], Dialler::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(Router::new(vec![], Dialler::default()).is_err());
    }
}
