use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_proto::v1::sessions_client::SessionsClient;

use super::*;

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in 20 s"));
}

async fn start(dir: &std::path::Path) -> Node {
    let free = "127.0.0.1:0".parse().unwrap();
    let settings = Settings {
        data_dir: dir.to_owned(),
        client_listen: free,
        peer_listen: free,
        admin_listen: free,
        log_prefill_bytes: 0,
        ..Settings::default()
    };
    let node = Box::pin(Node::start(&settings)).await.unwrap();
    until("it is ready", || node.consensus().is_ready()).await;
    node
}

/// However little its clients do for it: one does not read what it is sent, another waits for a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_stopped_holds_its_state_no_longer() {
    let dir = tempfile::TempDir::new().unwrap();
    let node = start(dir.path()).await;
    let address = format!("http://{}", node.addresses().client);
    let channel = tonic::transport::Channel::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = SessionsClient::new(channel);
    let mut create = async |id: &str, bytes| {
        let attributes = [("a".to_owned(), Bytes::from(vec![0; bytes]))].into();
        let create = v1::CreateRequest { id: id.to_owned(), attributes, ..Default::default() };
        client.create(create).await.unwrap();
        client.clone()
    };
    let (large, other) = ("a-session-that-ends", "a-session-that-is-locked");
    create(large, 800_000).await;
    let mut client = create(other, 0).await;
    let mut watching = client.watch(v1::WatchRequest::default()).await.unwrap().into_inner();
    let delete = v1::DeleteRequest { id: large.to_owned(), ..Default::default() };
    client.delete(delete).await.unwrap();
    let lock = v1::LockRequest { id: other.to_owned(), ..Default::default() };
    let held = client.lock(lock.clone()).await.unwrap().into_inner();
    let mut waiter = client.clone();
    let mut wait = tonic::Request::new(v1::LockRequest { wait_ms: 60_000, ..lock });
    wait.set_timeout(Duration::from_secs(60));
    let waiting = tokio::spawn(async move { waiter.lock(wait).await });
    let waits = node.consensus().lock_waits().clone();
    until("one waits for the lock", || waits.is_awaited(held.fence + 1)).await;
    let state = node.consensus().weak_state();
    node.shutdown().await;
    until("the state is gone", || state.upgrade().is_none()).await;
    assert!(waiting.await.unwrap().is_err());
    while let Ok(Some(_)) = watching.message().await {}
}
