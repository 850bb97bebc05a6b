//! The values a node runs with.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use quorate_state::NodeId;

use super::address::port_of;

/// A node's settings: plain values, whatever their source. See [`super::KEYS`] for each one's meaning and range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's number in `members`; at least 1, never reused for another data directory.
    pub node_id: NodeId,
    /// The cluster's name: the same on every node. The cluster id derives from it and from the members.
    pub cluster_name: String,
    /// Where the log and the sessions live. Belongs to one process at a time.
    pub data_dir: PathBuf,
    /// Where clients are served (gRPC). Port 0 takes a free one.
    pub client_listen: SocketAddr,
    /// Where the other nodes are served (gRPC).
    pub peer_listen: SocketAddr,
    /// Where health is served (HTTP).
    pub admin_listen: SocketAddr,
    /// What clients are told to dial, `host:port`; see [`Settings::advertised_client`].
    pub advertise_client: Option<String>,
    /// What peers are told to dial, `host:port`; see [`Settings::advertised_peer`].
    pub advertise_peer: Option<String>,
    /// Where the admin listener is reached, `host:port`; see [`Settings::advertised_admin`].
    pub advertise_admin: Option<String>,
    /// The static bootstrap list, node id to peer address. Empty: this node is a cluster of its own.
    pub members: BTreeMap<NodeId, String>,
    /// Heartbeat and election timers.
    pub timing: Timing,
    /// How linearizable reads are confirmed.
    pub read_mode: ReadMode,
    /// Whether listening beyond loopback without TLS was allowed explicitly.
    pub insecure: bool,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written: a level or `tracing` directives.
    pub log_level: String,
    /// Bytes of Raft log that may wait to be persisted in the session store before proposals are slowed.
    pub log_budget_bytes: u64,
    /// Bytes of client operations in flight at once on this node; the excess is refused with `OVERLOADED`.
    pub in_flight_bytes: u64,
    /// Bytes of cache for the session store on disk.
    pub session_cache_bytes: u64,
    /// Added to the wall clock as this node sees it, milliseconds. For tests.
    pub clock_offset_ms: i64,
    /// Log files made ready at the first start. For tests.
    pub log_prefill_bytes: u64,
    /// Log entries kept behind the persisted position. For tests.
    pub log_entries_kept: u64,
}

/// Heartbeat and election timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// One data centre: heartbeats every 20 ms, elections after 60 to 100 ms.
    Lan,
    /// Ten times that.
    Wan,
}

/// How a linearizable read is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// By the leader's lease: no message, but trusts that clocks advance at about the same rate.
    Lease,
    /// By a round trip to a quorum for each batch of reads.
    ReadIndex,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timing::Lan => "lan",
            Timing::Wan => "wan",
        })
    }
}

impl fmt::Display for ReadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadMode::Lease => "lease",
            ReadMode::ReadIndex => "read-index",
        })
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

impl Default for Settings {
    /// A cluster of one on loopback, on the default ports, in `./quorate-data`. A test keeps these equal to the
    /// defaults in [`super::KEYS`].
    fn default() -> Self {
        let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Settings {
            node_id: 1,
            cluster_name: "quorate".to_owned(),
            data_dir: PathBuf::from("quorate-data"),
            client_listen: local(7101),
            peer_listen: local(7201),
            admin_listen: local(7301),
            advertise_client: None,
            advertise_peer: None,
            advertise_admin: None,
            members: BTreeMap::new(),
            timing: Timing::Lan,
            read_mode: ReadMode::Lease,
            insecure: false,
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            log_budget_bytes: 1 << 30,
            in_flight_bytes: 64 << 20,
            session_cache_bytes: 64 << 20,
            clock_offset_ms: 0,
            log_prefill_bytes: 256 << 20,
            log_entries_kept: 100_000,
        }
    }
}

impl Settings {
    /// What peers dial: `advertise_peer`, else this node's entry in `members`, else where it listens (`bound`, the
    /// actual address, in case port 0 was asked for).
    #[must_use]
    pub fn advertised_peer(&self, bound: SocketAddr) -> String {
        let given = self.advertise_peer.as_ref().or_else(|| self.members.get(&self.node_id));
        given.cloned().unwrap_or_else(|| bound.to_string())
    }

    /// What clients dial: `advertise_client`, else where the node listens; when that is every interface
    /// (`0.0.0.0`, `[::]`), the host of [`Settings::advertised_peer`] with the port of `bound`.
    #[must_use]
    pub fn advertised_client(&self, bound: SocketAddr) -> String {
        self.advertised(self.advertise_client.as_ref(), bound)
    }

    /// Where the admin listener is reached: as [`Settings::advertised_client`], from `advertise_admin`.
    #[must_use]
    pub fn advertised_admin(&self, bound: SocketAddr) -> String {
        self.advertised(self.advertise_admin.as_ref(), bound)
    }

    fn advertised(&self, given: Option<&String>, bound: SocketAddr) -> String {
        if let Some(address) = given {
            return address.clone();
        }
        if !bound.ip().is_unspecified() {
            return bound.to_string();
        }
        let peer = self.advertised_peer(self.peer_listen);
        let host = port_of(&peer).map_or(peer.as_str(), |(host, _)| host);
        format!("{host}:{}", bound.port())
    }

    /// The members to bootstrap with: `members`, or this node alone. `bound` is where its peer listener is.
    #[must_use]
    pub fn bootstrap_members(&self, bound: SocketAddr) -> BTreeMap<NodeId, String> {
        if self.members.is_empty() {
            BTreeMap::from([(self.node_id, self.advertised_peer(bound))])
        } else {
            self.members.clone()
        }
    }

    /// The listeners that are reachable from other machines, by key.
    #[must_use]
    pub fn exposed_listeners(&self) -> Vec<(&'static str, SocketAddr)> {
        let listeners = [
            ("client-listen", self.client_listen),
            ("peer-listen", self.peer_listen),
            ("admin-listen", self.admin_listen),
        ];
        listeners.into_iter().filter(|(_, address)| !address.ip().is_loopback()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn advertised_addresses_default_to_where_the_node_listens() {
        let settings = Settings::default();
        assert_eq!(settings.advertised_client(listen("127.0.0.1:4000")), "127.0.0.1:4000");
        assert_eq!(settings.advertised_peer(listen("127.0.0.1:4001")), "127.0.0.1:4001");
        assert_eq!(
            settings.bootstrap_members(listen("127.0.0.1:4001")),
            BTreeMap::from([(1, "127.0.0.1:4001".to_owned())])
        );
    }

    #[test]
    fn every_interface_advertises_the_host_peers_know() {
        let members = BTreeMap::from([(1, "node-1:7201".to_owned()), (2, "node-2:7201".to_owned())]);
        let settings = Settings { members: members.clone(), ..Settings::default() };
        assert_eq!(settings.advertised_peer(listen("0.0.0.0:7201")), "node-1:7201");
        assert_eq!(settings.advertised_client(listen("0.0.0.0:7101")), "node-1:7101");
        assert_eq!(settings.advertised_admin(listen("[::]:7301")), "node-1:7301");
        assert_eq!(settings.bootstrap_members(listen("0.0.0.0:7201")), members);
    }

    #[test]
    fn an_explicit_advertisement_wins() {
        let settings = Settings {
            advertise_client: Some("public:1".to_owned()),
            advertise_peer: Some("[fd00::1]:2".to_owned()),
            ..Settings::default()
        };
        assert_eq!(settings.advertised_client(listen("0.0.0.0:7101")), "public:1");
        assert_eq!(settings.advertised_peer(listen("0.0.0.0:7201")), "[fd00::1]:2");
        assert_eq!(settings.advertised_admin(listen("0.0.0.0:7301")), "[fd00::1]:7301");
    }
}
