//! Watches over a scripted node.
//!
//! ```text
//! tells    what comes, and from where on      ends    what a watch ends with, or why it does not begin
//! ```

mod ends;
mod tells;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use quorate_proto::v1;
use quorate_state::{
    AttributeChange, Attributes, Command, CreateSession, Operation, PolicyChange, RegenerateSession,
    RevokePrincipal, SessionKey, Timeouts, WriteSession,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::follow::{PATIENCE, PROGRESS_INTERVAL};
use super::look::EVENTS_MAX;
use super::{WATCHES_MAX, WatchStream, Watches};
use crate::services::backend::Backend as _;
use crate::services::scripted::{CLUSTER, Scripted};

/// Below [`PROGRESS_INTERVAL`]: nothing more is under way.
const MOMENT: Duration = Duration::from_secs(1);

/// Time stands still but for those who wait (`start_paused`): a timeout costs nothing.
struct Rig {
    backend: Scripted,
    watches: Watches,
    stop: CancellationToken,
}

async fn rig() -> Rig {
    let stop = CancellationToken::new();
    Rig { backend: Scripted::leader(), watches: Watches::new(stop.clone()), stop }
}

fn key(number: u64) -> SessionKey {
    let mut key = SessionKey([0; 16]);
    key.0[..8].copy_from_slice(&number.to_be_bytes());
    key
}

fn attributes(value: &[u8]) -> Attributes {
    [("a".into(), Bytes::copy_from_slice(value))].into()
}

fn write(number: u64, value: &[u8], principal: Option<&str>) -> Operation {
    Operation::Write(WriteSession {
        namespace: "default".into(),
        key: key(number),
        change: AttributeChange::Replace(attributes(value)),
        if_version: None,
        principal: principal.map(Into::into),
        timeouts: Timeouts::default(),
        fence: None,
        release: false,
    })
}

fn keep(namespace: &str, events: u32) -> Operation {
    let change = PolicyChange { events_max: Some(events), ..PolicyChange::default() };
    Operation::PutNamespace { name: namespace.into(), change: Box::new(change), create: None }
}

impl Rig {
    /// The index at which it was applied.
    async fn apply(&self, command: Command) -> u64 {
        let mut results = self.backend.submit(vec![command]).await.unwrap();
        results.next().await.unwrap().unwrap().index
    }

    async fn operate(&self, operation: Operation) -> u64 {
        self.apply(Command::Operate { request: None, operation }).await
    }

    async fn create_in(&self, namespace: &str, number: u64, principal: &str) -> u64 {
        let (namespace, principal) = (namespace.into(), principal.into());
        let (key, attributes, timeouts) = (key(number), attributes(b"first"), Timeouts::default());
        let create = CreateSession { namespace, key, attributes, principal, timeouts };
        self.operate(Operation::Create(create)).await
    }

    async fn create(&self, number: u64, principal: &str) -> u64 {
        self.create_in("default", number, principal).await
    }

    async fn write(&self, number: u64, value: &[u8], principal: Option<&str>) -> u64 {
        self.operate(write(number, value, principal)).await
    }

    /// Nobody gets to look in between.
    async fn at_once(&self, operations: Vec<Operation>) {
        let commands = operations.into_iter().map(|operation| Command::Operate { request: None, operation });
        let results = self.backend.submit(commands.collect()).await.unwrap();
        results.for_each(|result| async { drop(result.unwrap()) }).await;
    }

    async fn delete(&self, number: u64) -> u64 {
        self.operate(Operation::Delete { namespace: "default".into(), key: key(number) }).await
    }

    async fn keep(&self, namespace: &str, events: u32) -> u64 {
        self.operate(keep(namespace, events)).await
    }

    async fn remove_namespace(&self, namespace: &str) -> u64 {
        self.operate(Operation::DeleteNamespace { name: namespace.into() }).await
    }

    fn watch(&self, request: &v1::WatchRequest) -> Result<WatchStream, Status> {
        self.watches.watch(&self.backend, request).map_err(crate::services::Failure::into_status)
    }

    /// A watch whose first message has come, and where it begins.
    async fn begun(&self, request: &v1::WatchRequest) -> (WatchStream, v1::Cursor) {
        let mut watch = self.watch(request).map_err(|status| status.to_string()).unwrap();
        let first = next(&mut watch).await.unwrap();
        assert_eq!(first.events, []);
        (watch, first.cursor.unwrap())
    }

    async fn index(&self) -> u64 {
        self.backend.with_applied(|_, index| index)
    }
}

async fn next(watch: &mut WatchStream) -> Result<v1::WatchResponse, Status> {
    let message = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
    message.expect("a message within a minute").expect("the stream ended without an error")
}

/// As many events, and the cursor of the last message.
async fn events(watch: &mut WatchStream, count: usize) -> (Vec<v1::Event>, v1::Cursor) {
    let (mut events, mut cursor) = (Vec::new(), None);
    let reading = async {
        while events.len() < count {
            let message = next(watch).await.unwrap();
            events.extend(message.events);
            cursor = message.cursor;
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
    assert!(read.is_ok() && events.len() == count, "{} of {count} events came", events.len());
    (events, cursor.unwrap())
}

async fn assert_quiet(watch: &mut WatchStream) {
    assert!(tokio::time::timeout(MOMENT, watch.next()).await.is_err(), "nothing is to come");
}

fn at(index: u64) -> v1::Cursor {
    v1::Cursor { position: Some(v1::Position { cluster: CLUSTER, index }), ordinal: None }
}

fn after(cursor: v1::Cursor) -> v1::WatchRequest {
    v1::WatchRequest { after: Some(cursor), ..v1::WatchRequest::default() }
}

fn all() -> v1::WatchRequest {
    v1::WatchRequest::default()
}

fn in_namespace(namespace: &str) -> v1::WatchRequest {
    v1::WatchRequest { namespace: namespace.to_owned(), ..v1::WatchRequest::default() }
}

/// Code, reason and facts of why a watch ends or does not begin.
fn why<T>(result: Result<T, Status>) -> (Code, String, BTreeMap<String, String>) {
    let status = result.err().expect("an error");
    let info = status.get_details_error_info().expect("a reason");
    (status.code(), info.reason, info.metadata.into_iter().collect())
}

async fn end(watch: &mut WatchStream) -> (Code, String, BTreeMap<String, String>) {
    loop {
        if let Err(status) = next(watch).await {
            assert!(watch.next().await.is_none(), "an error is the last");
            return why(Err::<(), _>(status));
        }
    }
}

fn is(ended: &(Code, String, BTreeMap<String, String>), code: Code, reason: &str) {
    assert_eq!((ended.0, ended.1.as_str()), (code, reason));
}
