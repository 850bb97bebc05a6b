//! What a node of version 1 left on its disk, every later version starts from. `tests/fixtures/v1/node` was written once,
//! by `write_the_fixture` below, and is never written again.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use quorate_node::Node;
use quorate_node::config::Settings;
use quorate_proto::SessionStore as _;
use quorate_proto::v1;
use tonic::Code;

const SESSIONS: usize = 30;
const DELETED: usize = 7;
const RENAMED: usize = 8;
const NEW_ID: &str = "fixture-session-renamed";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1/node")
}

fn id(number: usize) -> String {
    format!("fixture-session-{number:04}")
}

/// Long ones stand in several parts of the session store.
fn value(number: usize) -> Bytes {
    Bytes::from(vec![b'v'; number * 300])
}

async fn start(data_dir: &Path) -> Node {
    let free = "127.0.0.1:0".parse().unwrap();
    let settings = Settings {
        cluster_name: "fixture".to_owned(),
        data_dir: data_dir.to_owned(),
        client_listen: free,
        peer_listen: free,
        admin_listen: free,
        log_prefill_bytes: 0,
        ..Settings::default()
    };
    let node = Node::start(&settings).await.unwrap();
    let ready = async {
        while !node.consensus().is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("ready within 30 s");
    node
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn get(node: &Node, id: &str) -> Result<v1::Session, tonic::Status> {
    let request = v1::GetRequest { id: id.to_owned(), ..Default::default() };
    node.sessions().get(request).await.map(|answer| answer.session.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_from_what_version_1_left() {
    let temporary = tempfile::tempdir().unwrap();
    let data_dir = temporary.path().join("node");
    copy(&fixture(), &data_dir);
    for _ in 0..2 {
        let node = start(&data_dir).await;
        for number in (0..SESSIONS).filter(|number| ![DELETED, RENAMED].contains(number)) {
            let session = get(&node, &id(number)).await.unwrap();
            assert_eq!(session.attributes, BTreeMap::from([("a".to_owned(), value(number))]), "{number}");
            assert_eq!((session.version, session.principal.as_str()), (2, "ada"), "{number}");
        }
        assert_eq!(get(&node, NEW_ID).await.unwrap().version, 3);
        for gone in [DELETED, RENAMED] {
            assert_eq!(get(&node, &id(gone)).await.unwrap_err().code(), Code::NotFound);
        }
        // And it goes on.
        let touch = v1::TouchRequest { id: id(1), ..Default::default() };
        node.sessions().touch(touch).await.unwrap();
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes the fixture, once"]
async fn write_the_fixture() {
    assert!(!fixture().exists(), "what was written once is not written again");
    let node = start(&fixture()).await;
    let sessions = node.sessions();
    // Sessions that never expire: the fixture is opened years later.
    let timeouts = v1::Timeouts { idle_ms: Some(366 * 86_400_000), absolute_ms: None };
    for number in 0..SESSIONS {
        let create = v1::CreateRequest { id: id(number), timeouts: Some(timeouts), ..Default::default() };
        sessions.create(create).await.unwrap();
        let change = v1::WriteRequest {
            id: id(number),
            principal: Some("ada".to_owned()),
            change: Some(v1::write_request::Change::Replace(v1::Attributes {
                attributes: BTreeMap::from([("a".to_owned(), value(number))]),
            })),
            ..Default::default()
        };
        sessions.write(change).await.unwrap();
    }
    sessions.delete(v1::DeleteRequest { id: id(DELETED), ..Default::default() }).await.unwrap();
    let regenerate =
        v1::RegenerateRequest { id: id(RENAMED), new_id: NEW_ID.to_owned(), ..Default::default() };
    sessions.regenerate(regenerate).await.unwrap();
    node.shutdown().await;
    std::fs::remove_file(fixture().join("LOCK")).unwrap();
}
