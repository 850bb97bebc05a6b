//! What is submitted to a leader whose followers acknowledge nothing, though they hear it and answer its heartbeats: what
//! becomes of a cluster whose followers' session stores do not keep up.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use quorate_state::{Command, NodeId, Operation, RevokePrincipal, SessionKey, Waiter};

use super::{Consensus, ProposeError, is_throttled};
use crate::config::Settings;
use crate::node::Node;

const IN_FLIGHT_BYTES: u64 = 64 << 10;
/// So many are surely more than fit.
const TOO_MANY: usize = 1_000;

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in 30 s"));
}

fn members() -> BTreeMap<NodeId, String> {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    // Both held until both are known.
    let listeners = [free(), free()];
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string());
    (1..).zip(addresses).collect()
}

async fn start(node: NodeId, members: &BTreeMap<NodeId, String>, dir: &Path) -> Node {
    let free = "127.0.0.1:0".parse().unwrap();
    let settings = Settings {
        node_id: node,
        members: members.clone(),
        data_dir: dir.join(node.to_string()),
        client_listen: free,
        peer_listen: members[&node].parse().unwrap(),
        admin_listen: free,
        in_flight_bytes: IN_FLIGHT_BYTES,
        log_prefill_bytes: 0,
        ..Settings::default()
    };
    Box::pin(Node::start(&settings)).await.unwrap()
}

/// Two nodes. The one that leads comes first; the other has much more to persist than its budget allows, from here on.
async fn stalled(dir: &Path) -> [Node; 2] {
    let members = members();
    let (first, second) = (start(1, &members, dir).await, start(2, &members, dir).await);
    until("both are ready", || first.consensus().is_ready() && second.consensus().is_ready()).await;
    let leads = first.consensus().leader().is_some_and(|leader| leader.is_self);
    let (leader, follower) = if leads { (first, second) } else { (second, first) };
    let inner = Arc::clone(&follower.consensus().inner);
    tokio::spawn(async move {
        loop {
            inner.replica.publish(inner.replica.applied_index(), 1 << 40);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let persister = Arc::clone(&follower.consensus().inner.persister);
    until("beyond its budget", || persister.within_budget().now_or_never().is_none()).await;
    [leader, follower]
}

fn touch() -> Command {
    let operation = Operation::Touch { namespace: "default".into(), key: SessionKey([1; 16]) };
    Command::Operate { request: None, operation }
}

fn unlock() -> Command {
    let holder = Waiter { namespace: "default".into(), key: SessionKey([1; 16]), fence: 1 };
    Command::Operate { request: None, operation: Operation::Unlock(holder) }
}

/// How many are taken, by callers who wait for none of them.
async fn taken(consensus: &Consensus, command: fn() -> Command) -> usize {
    for taken in 0..TOO_MANY {
        match consensus.submit(vec![command()]).await {
            Ok(results) => drop(results),
            Err(ProposeError::Overloaded) => return taken,
            Err(error) => panic!("{error}"),
        }
    }
    TOO_MANY
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_any_more_is_bounded_and_leaves_room_for_what_gives_locks_back() {
    let dir = tempfile::TempDir::new().unwrap();
    let [leader, follower] = stalled(dir.path()).await;
    let consensus = leader.consensus();
    let touches = taken(consensus, touch).await;
    assert!((10..TOO_MANY).contains(&touches), "{touches} touches are in the log, and none is applied");
    let unlocks = taken(consensus, unlock).await;
    assert!((10..TOO_MANY).contains(&unlocks), "{unlocks} unlocks");
    drop(follower);
}

#[test]
fn what_gives_locks_back_and_the_nodes_own_commands_wait_for_no_budget() {
    let (namespace, key) = (Box::<str>::from("default"), SessionKey([1; 16]));
    let operate = |operation| Command::Operate { request: None, operation };
    let ends = [
        Operation::Delete { namespace: namespace.clone(), key },
        Operation::Revoke(RevokePrincipal {
            namespace: namespace.clone(),
            principal: "ada".into(),
            except: None,
        }),
        Operation::DeleteNamespace { name: namespace.clone() },
    ];
    assert!(ends.into_iter().map(operate).all(|command| is_throttled(&command)));
    assert!(is_throttled(&touch()) && is_throttled(&Command::OpenClient { client: 1 }));
    let waiter = || Waiter { namespace: namespace.clone(), key, fence: 1 };
    let own = [Command::Tick { wall_ms: 1 }, Command::ClaimLock(waiter()), Command::LeaveLine(waiter())];
    assert!(!own.iter().any(is_throttled));
    let broken = operate(Operation::BreakLock { namespace: namespace.clone(), key });
    assert!(!is_throttled(&unlock()) && !is_throttled(&broken));
}
