//! Which node to ask: the leader if it is known, else one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_proto::v1::StatusRequest;

use crate::connection::{Connection, endpoint};
use crate::error::{Error, ErrorKind};
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
    connections: HashMap<String, Connection>,
}

/// The nodes, and the connections to them.
#[derive(Debug)]
pub(crate) struct Router {
    map: Arc<Mutex<Map>>,
}

impl Router {
    pub(crate) fn new(endpoints: Vec<String>) -> Result<Self, Error> {
        if endpoints.is_empty() {
            return Err(Error::local(
                ErrorKind::InvalidArgument,
                "no endpoints: name at least one node as host:port",
            ));
        }
        for address in &endpoints {
            endpoint(address)?;
        }
        Ok(Router { map: Arc::new(Mutex::new(Map { endpoints, ..Map::default() })) })
    }

    /// The node to ask now.
    pub(crate) fn pick(&self) -> String {
        let map = self.map.lock();
        let rotated = || map.endpoints.get(map.next % map.endpoints.len().max(1)).cloned();
        map.leader.clone().or_else(rotated).unwrap_or_default()
    }

    /// All addresses known.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.map.lock().endpoints.clone()
    }

    /// The connection to `address`; a broken one is replaced.
    pub(crate) fn connection(&self, address: &str) -> Result<Connection, Error> {
        let mut map = self.map.lock();
        if let Some(connection) = map.connections.get(address).filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        // Weak: a connection must not keep alive the map that holds it.
        let known = Arc::downgrade(&self.map);
        let learn = move |members: Vec<String>| {
            if let Some(map) = known.upgrade() {
                map.lock().learn_all(&members);
            }
        };
        let connection = Connection::open(endpoint(address)?, Box::new(learn));
        map.connections.insert(address.to_owned(), connection.clone());
        Ok(connection)
    }

    /// `asked` does not lead; `leader` does, if it knew one.
    pub(crate) fn redirect(&self, asked: &str, leader: Option<&str>) {
        let mut map = self.map.lock();
        match leader.filter(|leader| !leader.is_empty() && *leader != asked) {
            Some(leader) => {
                map.learn(leader);
                map.leader = Some(leader.to_owned());
            }
            None => map.leave(asked),
        }
    }

    /// `asked` cannot be reached over `connection`: that is dropped, another node is asked next. Of many callers who
    /// find it broken, the late ones must not drop what has replaced it by then.
    pub(crate) fn abandon(&self, asked: &str, connection: &Connection) {
        let mut map = self.map.lock();
        if map.connections.get(asked).is_some_and(|current| current.is(connection)) {
            map.connections.remove(asked);
            map.leave(asked);
        }
    }

    /// Learns where the members are, from any node that answers.
    pub(crate) async fn refresh(&self) {
        for address in self.endpoints() {
            let Ok(status) = status::ask(&address, StatusRequest::default(), REFRESH_DEADLINE).await else {
                continue;
            };
            let members: Vec<String> =
                status.members.into_iter().map(|member| member.client_address).collect();
            self.map.lock().learn_all(&members);
            return;
        }
    }
}

impl Map {
    /// Members that have not announced themselves have no address yet.
    fn learn_all(&mut self, members: &[String]) {
        for address in members.iter().filter(|address| !address.is_empty()) {
            self.learn(address);
        }
    }

    fn learn(&mut self, address: &str) {
        let same = |known: &String| known.trim_start_matches("http://").trim_end_matches('/') == address;
        if !self.endpoints.iter().any(same) {
            self.endpoints.push(address.to_owned());
        }
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
        Router::new(vec!["a:1".into(), "b:1".into(), "c:1".into()]).unwrap()
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
        let error = Router::new(vec!["not an endpoint".into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(Router::new(vec![]).is_err());
    }
}
