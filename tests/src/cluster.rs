//! A cluster of real processes on a loopback address of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1::StatusResponse;
use rand::Rng as _;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::digests::Digests;
use crate::error::HarnessError;
use crate::process::{NodeProcess, NodeSpec, Ports};
use crate::status::{is_ready, status_of};

/// How long a condition that should come true soon may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const CLIENT_DEADLINE: Duration = Duration::from_secs(15);

/// Asks again and again until `probe` answers `Ok`; its `Err` says what is still missing.
///
/// # Errors
/// [`HarnessError::Deadline`] with what was missing last.
pub async fn until<T, F>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T, HarnessError>
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => {
                return Err(HarnessError::Deadline { what: what.to_owned(), within, seen });
            }
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

/// How to make a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The `quorated` to run.
    pub binary: PathBuf,
    /// How many nodes, with ids from 1.
    pub nodes: u64,
    /// More arguments for every node.
    pub arguments: Vec<OsString>,
    /// A program in front of quorated, for a node and its directory: `strace` and its arguments.
    pub wrapper: Option<fn(id: u64, dir: &Path) -> Vec<OsString>>,
}

impl ClusterOptions {
    /// Three nodes of `binary`.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> ClusterOptions {
        ClusterOptions { binary: binary.into(), nodes: 3, arguments: Vec::new(), wrapper: None }
    }
}

/// A running cluster. Dropping it kills its nodes and removes its directory (kept when `QUORATE_KEEP` is set).
#[derive(Debug)]
pub struct ProcessCluster {
    nodes: BTreeMap<u64, NodeProcess>,
    dir: TempDir,
}

/// An address of 127.0.0.0/8 on which nobody listens: no port of it is shared with other tests, with a cluster that
/// somebody runs, or with outgoing connections, which start from 127.0.0.1.
fn own_loopback_address() -> Ipv4Addr {
    let mut random = rand::rng();
    loop {
        let host = Ipv4Addr::new(
            127,
            random.random_range(1..255),
            random.random_range(1..255),
            random.random_range(1..255),
        );
        let ports = Ports::of(host, 1);
        if [ports.client, ports.peer, ports.admin]
            .iter()
            .all(|address| std::net::TcpListener::bind(address).is_ok())
        {
            return host;
        }
    }
}

impl ProcessCluster {
    /// Lays out a cluster without starting any node.
    ///
    /// # Errors
    /// No directory can be made.
    pub fn lay_out(options: &ClusterOptions) -> Result<ProcessCluster, HarnessError> {
        let dir = tempfile::Builder::new().prefix("quorate-").tempdir();
        let mut dir = dir.map_err(HarnessError::io("make a directory in", std::env::temp_dir()))?;
        dir.disable_cleanup(std::env::var_os("QUORATE_KEEP").is_some());
        let host = own_loopback_address();
        let peers = (1..=options.nodes).map(|id| format!("{id}={}", Ports::of(host, id).peer));
        let members = peers.collect::<Vec<_>>().join(",");
        let mut nodes = BTreeMap::new();
        for id in 1..=options.nodes {
            let home = dir.path().join(format!("node-{id}"));
            fs::create_dir_all(&home).map_err(HarnessError::io("make", &home))?;
            let ports = Ports::of(host, id);
            let data_dir = home.join("data");
            let mut program = options.wrapper.map_or_else(Vec::new, |wrapper| wrapper(id, &home));
            program.push(options.binary.clone().into());
            let mut arguments: Vec<OsString> = [
                format!("--node-id={id}"),
                format!("--members={members}"),
                format!("--client-listen={}", ports.client),
                format!("--peer-listen={}", ports.peer),
                format!("--admin-listen={}", ports.admin),
            ]
            .map(Into::into)
            .into();
            arguments.extend(["--data-dir".into(), data_dir.clone().into()]);
            arguments.extend(options.arguments.iter().cloned());
            let spec = NodeSpec { id, ports, data_dir, log: home.join("log"), program, arguments };
            nodes.insert(id, NodeProcess::new(spec));
        }
        Ok(ProcessCluster { nodes, dir })
    }

    /// Starts all nodes and waits until each is ready.
    ///
    /// # Errors
    /// A node does not start, or the cluster does not form in [`PATIENCE`].
    pub async fn start(options: &ClusterOptions) -> Result<ProcessCluster, HarnessError> {
        let mut cluster = ProcessCluster::lay_out(options)?;
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
        Ok(cluster)
    }

    /// Starts every node that does not run; returns at once.
    ///
    /// # Errors
    /// A process cannot be started, or a node has ended by itself: starting it again would hide that.
    pub fn start_all(&mut self) -> Result<(), HarnessError> {
        self.check_alive()?;
        self.nodes.values_mut().filter(|node| node.pid().is_none()).try_for_each(NodeProcess::start)
    }

    /// The directory that holds everything of this cluster.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The node ids.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The ids of the nodes that run.
    pub fn running(&mut self) -> Vec<u64> {
        self.nodes.iter_mut().filter_map(|(id, node)| node.is_running().then_some(*id)).collect()
    }

    /// The ids of the nodes that should run: started, and neither killed nor stopped since.
    #[must_use]
    pub fn expected(&self) -> Vec<u64> {
        self.nodes.iter().filter_map(|(id, node)| node.should_run().then_some(*id)).collect()
    }

    /// Checks that every node runs that should.
    ///
    /// # Errors
    /// [`HarnessError::Ended`] when one has ended by itself.
    pub fn check_alive(&mut self) -> Result<(), HarnessError> {
        self.nodes.values_mut().try_for_each(NodeProcess::check_alive)
    }

    /// A node's process.
    ///
    /// # Errors
    /// There is no such node.
    pub fn node(&self, id: u64) -> Result<&NodeProcess, HarnessError> {
        self.nodes.get(&id).ok_or(HarnessError::NoNode(id))
    }

    /// A node's process, to start and stop it.
    ///
    /// # Errors
    /// There is no such node.
    pub fn node_mut(&mut self, id: u64) -> Result<&mut NodeProcess, HarnessError> {
        self.nodes.get_mut(&id).ok_or(HarnessError::NoNode(id))
    }

    /// Where a node listens.
    ///
    /// # Errors
    /// There is no such node.
    pub fn ports(&self, id: u64) -> Result<Ports, HarnessError> {
        Ok(self.node(id)?.spec().ports)
    }

    /// `host:port` of every node's client listener.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.values().map(|node| node.spec().ports.client.to_string()).collect()
    }

    /// A new client handle that knows all nodes.
    ///
    /// # Errors
    /// The client library refuses the endpoints.
    pub fn client(&self) -> Result<Client, HarnessError> {
        Ok(Client::builder().endpoints(self.endpoints()).deadline(CLIENT_DEADLINE).build()?)
    }

    /// SIGTERM, and waits until it has ended in order.
    ///
    /// # Errors
    /// It had ended by itself before, does not end in [`PATIENCE`], or ends with anything but success.
    pub async fn stop(&mut self, id: u64) -> Result<(), HarnessError> {
        self.node_mut(id)?.check_alive()?;
        self.node(id)?.signal(Signal::TERM)?;
        let status = self.wait_end(id, PATIENCE).await?;
        if status.success() {
            return Ok(());
        }
        let log = self.node(id)?.log_tail(20);
        Err(HarnessError::Disorderly { node: id, status: status.to_string(), log })
    }

    /// Stops every node that should run, one after the other.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub async fn stop_all(&mut self) -> Result<(), HarnessError> {
        for id in self.expected() {
            self.stop(id).await?;
        }
        Ok(())
    }

    /// Waits until a node's process has ended, as the caller wants it to.
    ///
    /// # Errors
    /// It has not ended in time.
    pub async fn wait_end(&mut self, id: u64, within: Duration) -> Result<ExitStatus, HarnessError> {
        self.node_mut(id)?.expect_end();
        let deadline = Instant::now() + within;
        loop {
            let node = self.node_mut(id)?;
            if let Some(status) = node.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let seen = format!("the end of its log:\n{}", node.log_tail(20));
                return Err(HarnessError::Deadline { what: format!("node {id} ends"), within, seen });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until a node says it is ready: recovered, and it knows a leader.
    ///
    /// # Errors
    /// It ended, or is not ready in [`PATIENCE`].
    pub async fn wait_ready(&mut self, id: u64) -> Result<(), HarnessError> {
        let admin = self.ports(id)?.admin;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = is_ready(admin).await;
            let node = self.node_mut(id)?;
            node.check_not_ended()?;
            if ready {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seen = format!("the end of its log:\n{}", node.log_tail(20));
                return Err(HarnessError::Deadline {
                    what: format!("node {id} is ready"),
                    within: PATIENCE,
                    seen,
                });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until every node that should run is ready.
    ///
    /// # Errors
    /// As [`Self::wait_ready`].
    pub async fn wait_ready_all(&mut self) -> Result<(), HarnessError> {
        for id in self.expected() {
            self.wait_ready(id).await?;
        }
        self.check_alive()
    }

    /// A node's view of the cluster.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self, id: u64) -> Result<StatusResponse, HarnessError> {
        Ok(status_of(self.ports(id)?.client, false, 0).await?)
    }

    /// The leader, if the leader itself and a majority of all nodes say so now.
    pub async fn leader(&mut self) -> Option<u64> {
        let majority = self.nodes.len() / 2 + 1;
        let addresses: Vec<SocketAddrV4> = self
            .running()
            .iter()
            .filter_map(|id| self.nodes.get(id).map(|node| node.spec().ports.client))
            .collect();
        let asked = addresses.into_iter().map(|address| status_of(address, false, 0));
        let said: Vec<StatusResponse> =
            futures_util::future::join_all(asked).await.into_iter().filter_map(Result::ok).collect();
        let leader = said.iter().find(|status| status.role == "leader" && status.leader == status.node)?.node;
        (said.iter().filter(|status| status.leader == leader).count() >= majority).then_some(leader)
    }

    /// Waits until there is a leader other than `but` (0: any).
    ///
    /// # Errors
    /// There is none in [`PATIENCE`].
    pub async fn wait_leader_but(&mut self, but: u64) -> Result<u64, HarnessError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.leader().await {
                Some(leader) if leader != but => return Ok(leader),
                seen if Instant::now() >= deadline => {
                    let seen = format!("the leader seen last: {seen:?}");
                    let what = "a majority follows a leader".to_owned();
                    return Err(HarnessError::Deadline { what, within: PATIENCE, seen });
                }
                _ => sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Waits until there is a leader.
    ///
    /// # Errors
    /// There is none in [`PATIENCE`].
    pub async fn wait_leader(&mut self) -> Result<u64, HarnessError> {
        self.wait_leader_but(0).await
    }

    /// A running node that does not lead.
    ///
    /// # Errors
    /// There is no leader, or nobody else.
    pub async fn a_follower(&mut self) -> Result<u64, HarnessError> {
        let leader = self.wait_leader().await?;
        self.running().into_iter().find(|id| *id != leader).ok_or(HarnessError::NoNode(0))
    }

    /// Waits until all nodes that should run have applied what the furthest of them has, and compares them there.
    ///
    /// # Errors
    /// One of them has ended, or they did not stand at one index in [`PATIENCE`].
    pub async fn digests(&mut self) -> Result<Digests, HarnessError> {
        let addresses = self
            .expected()
            .into_iter()
            .map(|id| Ok((id, self.ports(id)?.client)))
            .collect::<Result<Vec<_>, HarnessError>>()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = Digests::ask(&addresses).await;
            self.check_alive()?;
            match seen {
                Ok(digests) => return Ok(digests),
                Err(seen) if Instant::now() >= deadline => {
                    let what = "all nodes stand at one log index".to_owned();
                    return Err(HarnessError::Deadline { what, within: PATIENCE, seen });
                }
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }
}

impl Drop for ProcessCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.nodes.values() {
                eprintln!("--- node {}: the end of its log\n{}", node.spec().id, node.log_tail(15));
            }
        }
    }
}
