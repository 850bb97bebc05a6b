//! A node as a library: started, used through `SessionStore`, stopped, started again.

use std::time::Duration;

use quorate_node::Node;
use quorate_node::config::Settings;
use quorate_proto::SessionStore;
use quorate_proto::v1;
use tonic::Code;

/// Listening wherever there is room: another port at each start, which is a move that changes nothing.
fn free() -> Settings {
    let free = "127.0.0.1:0".parse().expect("an address");
    Settings { client_listen: free, peer_listen: free, admin_listen: free, ..Settings::default() }
}

async fn start(data_dir: &std::path::Path) -> Node {
    let settings = Settings { data_dir: data_dir.to_owned(), ..free() };
    let node = Node::start(&settings).await.expect("the node starts");
    let ready = async {
        while !node.consensus().is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("ready within 30 s");
    node
}

/// A program's whole use of an embedded store.
async fn fill(store: &impl SessionStore<Error = tonic::Status>, id: &str) -> u64 {
    let create = v1::CreateRequest { id: id.to_owned(), principal: "ada".to_owned(), ..Default::default() };
    store.create(create).await.expect("created");
    let change =
        v1::WriteRequest { id: id.to_owned(), principal: Some("eve".to_owned()), ..Default::default() };
    store.write(change).await.expect("written");
    store
        .touch(v1::TouchRequest { id: id.to_owned(), ..Default::default() })
        .await
        .expect("touched")
        .position
        .expect("a position")
        .index
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_survive_the_node_that_held_them() {
    const ID: &str = "0123456789abcdef";
    let directory = tempfile::tempdir().expect("a directory");
    let node = start(directory.path()).await;
    let index = fill(node.sessions(), ID).await;
    assert!(index > 0);
    node.shutdown().await;

    let node = start(directory.path()).await;
    let get = v1::GetRequest { id: ID.to_owned(), ..Default::default() };
    let session = node.sessions().get(get.clone()).await.expect("still there").session.expect("a session");
    assert_eq!((session.principal.as_str(), session.version), ("eve", 2));
    node.sessions()
        .delete(v1::DeleteRequest { id: ID.to_owned(), ..Default::default() })
        .await
        .expect("deleted");
    assert_eq!(node.sessions().get(get).await.expect_err("gone").code(), Code::NotFound);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_refused_leaves_nothing_running() {
    let (mine, others) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let other = start(others.path()).await;
    let settings = Settings { data_dir: mine.path().to_owned(), ..free() };
    // Its only peer says that it belongs to another cluster.
    let with_stranger = Settings {
        node_id: 2,
        members: [(1, other.addresses().peer.to_string()), (2, "embedded:7201".to_owned())].into(),
        ..settings.clone()
    };
    for _ in 0..2 {
        let refused = Node::start(&with_stranger).await.map(drop).expect_err("another cluster's member");
        assert!(refused.to_string().contains("belongs to cluster"), "{refused}");
    }
    other.shutdown().await;
}
