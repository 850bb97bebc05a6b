//! What a node of an earlier version left on its disk, every later version starts from. `tests/fixtures/v1/node` and
//! `v2/node` were written once each, by `write_the_fixture` below, and are never written again.
//!
//! Version 2 has locks, namespaces, revocations and events.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "all of it is tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use quorate_node::Node;
use quorate_node::config::Settings;
use quorate_proto::SessionStore as _;
use quorate_proto::v1;
use quorate_proto::v1::namespaces_client::NamespacesClient;
use quorate_state::{APPLY_VERSION, Cursor, EndReason, Happening, State};
use tonic::Code;
use tonic::transport::Endpoint;

/// What `write_the_fixture` writes.
const PRESENT: u32 = 2;
const SESSIONS: usize = 30;
const DELETED: usize = 7;
const RENAMED: usize = 8;
const NEW_ID: &str = "fixture-session-renamed";
const LOCKED: usize = 5;
/// Of version 2: a namespace with two sessions of one principal, all of whose but the second were revoked.
const SHOP: &str = "shop";
const SHOPPERS: [&str; 2] = ["fixture-shopper-0001", "fixture-shopper-0002"];

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/v{version}/node"))
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
        let is_raised = || node.consensus().with_state(State::apply_version) == APPLY_VERSION;
        while !node.consensus().is_ready() || !is_raised() {
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

fn shopper(number: usize) -> (String, String) {
    (SHOP.to_owned(), SHOPPERS[number].to_owned())
}

/// What only version 2 left.
async fn assert_second_version(node: &Node, round: u64) {
    let get = |number| {
        let (namespace, id) = shopper(number);
        node.sessions().get(v1::GetRequest { namespace, id, ..Default::default() })
    };
    assert_eq!(get(0).await.unwrap_err().code(), Code::NotFound, "revoked");
    assert_eq!(get(1).await.unwrap().session.unwrap().principal, "bob");
    // Tokens go on rising above the one that the fixture gave.
    let lock = v1::LockRequest { id: id(LOCKED + 1), lease_ms: 1_000, ..Default::default() };
    let Ok(lock) = node.sessions().lock(lock).await else { return assert!(round > 0, "nobody holds it") };
    assert!(lock.fence > 1);
    node.consensus().with_state(|state| {
        // The cluster began to tell when its apply version was raised.
        let began = state.events(1, Cursor::default()).err().unwrap().oldest;
        let events: Vec<_> = state.events(1, Cursor::behind(began.index - 1)).unwrap().collect();
        assert_eq!(events.len(), 2 * SESSIONS + 2);
        for (number, pair) in events.chunks(2).take(SESSIONS).enumerate() {
            let previous = Happening::Updated { previous_principal: Some("".into()) };
            assert!(pair[0].what == Happening::Created && pair[1].what == previous, "{number}");
            assert_eq!((pair[0].key, pair[0].version), (pair[1].key, 1));
        }
        let deleted = events[2 * SESSIONS];
        assert_eq!((deleted.ended(), deleted.key), (Some(EndReason::Logout), events[2 * DELETED].key));
        let Happening::Ended { attributes, .. } = &deleted.what else { panic!("not an end") };
        assert_eq!(attributes["a"], value(DELETED));
        assert!(matches!(events[2 * SESSIONS + 1].what, Happening::Renamed { .. }));
        let (shop, policy) = state.namespace(SHOP).unwrap();
        assert_eq!(policy.more.events_max, 1_000);
        let ends = state.events(shop, Cursor::default()).err().map(|lost| lost.oldest).unwrap();
        let shoppers = state.events(shop, ends).unwrap();
        let ends: Vec<_> = shoppers.filter_map(|event| event.ended()).collect();
        assert_eq!(ends, [EndReason::Revoked]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_from_what_version_1_left() {
    starts_from(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_from_what_version_2_left() {
    starts_from(2).await;
}

async fn starts_from(version: u32) {
    let temporary = tempfile::tempdir().unwrap();
    let data_dir = temporary.path().join("node");
    copy(&fixture(version), &data_dir);
    for round in 0..2 {
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
        if version >= 2 {
            assert_second_version(&node, round).await;
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
    let fixture = fixture(PRESENT);
    assert!(!fixture.exists(), "what was written once is not written again");
    let node = start(&fixture).await;
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
    write_second_version(&node, timeouts).await;
    node.shutdown().await;
    std::fs::remove_file(fixture.join("LOCK")).unwrap();
}

async fn write_second_version(node: &Node, timeouts: v1::Timeouts) {
    let address = format!("http://{}", node.addresses().client);
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut namespaces = NamespacesClient::new(channel);
    let policy = Some(v1::Policy { events_max: Some(1_000), ..Default::default() });
    let put = v1::PutNamespaceRequest { name: SHOP.to_owned(), policy, ..Default::default() };
    namespaces.put(put).await.unwrap();
    let sessions = node.sessions();
    for number in 0..SHOPPERS.len() {
        let (namespace, id) = shopper(number);
        let principal = "bob".to_owned();
        let timeouts = Some(timeouts);
        let create = v1::CreateRequest { namespace, id, principal, timeouts, ..Default::default() };
        sessions.create(create).await.unwrap();
    }
    let (namespace, except_id) = shopper(1);
    let revoke =
        v1::RevokeRequest { namespace, except_id, principal: "bob".to_owned(), ..Default::default() };
    assert_eq!(sessions.revoke(revoke).await.unwrap().sessions, 1);
    let reaped = async {
        let is_told = |state: &State| {
            let (shop, _) = state.namespace(SHOP).unwrap();
            state.events_kept(shop).0 == 3
        };
        while !node.consensus().with_state(is_told) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reaped).await.expect("reaped within 30 s");
    let lock = v1::LockRequest { id: id(LOCKED), lease_ms: 3_600_000, ..Default::default() };
    assert_eq!(sessions.lock(lock).await.unwrap().fence, 1);
}
