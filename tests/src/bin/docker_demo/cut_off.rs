//! Inside a node's container: writes and linearizable reads sent straight to that node, with plain gRPC stubs.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1::cluster_client::ClusterClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_proto::v1::{CreateRequest, GetRequest, StatusRequest};
use quorate_tests::{HarnessError, channel, new_id};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use super::sighting::{Sighting, now_us};

/// The attribute that holds the register's value, a number that only rises.
pub(crate) const REGISTER: &str = "n";
/// The role of a node that leads, as its status names it.
const LEADER: &str = "leader";
/// Callers of each kind.
const CALLERS: usize = 4;
/// How long a call is waited for.
const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// A caller's pace: a node that refuses at once is not asked in a tight loop.
const PACE: Duration = Duration::from_millis(10);

/// Sends calls until standard input ends, and prints a line for each.
///
/// # Errors
/// The node cannot be reached at all, or standard input holds no session id.
pub(crate) async fn run(address: SocketAddrV4) -> Result<(), HarnessError> {
    let mut register = String::new();
    if !std::io::stdin().read_line(&mut register).is_ok_and(|bytes| bytes > 0) {
        return Err(HarnessError::Unreadable("standard input holds no session id".to_owned()));
    }
    let register = register.trim().to_owned();
    let (ending, ended) = oneshot::channel::<()>();
    // A thread of its own: reading blocks, and the process must be able to end without it.
    std::thread::spawn(move || {
        // Whatever comes, or an error: the next thing that is told is the end.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(ending);
    });
    let channel = channel(address).await?;
    let (seen, mut lines) = mpsc::unbounded_channel();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(write(channel.clone(), seen.clone()));
        callers.spawn(read_register(channel.clone(), register.clone(), seen.clone()));
    }
    callers.spawn(watch_role(channel, seen));
    tokio::pin!(ended);
    loop {
        tokio::select! {
            _ = &mut ended => return Ok(()),
            sighting = lines.recv() => match sighting {
                Some(sighting) => println!("{sighting}"),
                None => return Ok(()),
            },
        }
    }
}

/// A request that the node must answer itself: it may not be forwarded.
fn direct<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request.metadata_mut().insert("quorate-redirect", MetadataValue::from_static("true"));
    request
}

/// Calls again and again at [`PACE`].
async fn call_repeatedly<F>(seen: mpsc::UnboundedSender<Sighting>, mut call: impl FnMut() -> F)
where
    F: Future<Output = Sighting>,
{
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        if seen.send(call().await).is_err() {
            return;
        }
    }
}

async fn write(channel: Channel, seen: mpsc::UnboundedSender<Sighting>) {
    call_repeatedly(seen, || async {
        let id = new_id().reveal().to_owned();
        let attributes = HashMap::from([("from".to_owned(), Bytes::from_static(b"the cut-off side"))]);
        let request = CreateRequest {
            id: id.clone(),
            attributes: attributes.into_iter().collect(),
            ..Default::default()
        };
        let began_us = now_us();
        let mut client = SessionsClient::new(channel.clone());
        let answer = tokio::time::timeout(CALL_TIMEOUT * 2, client.create(direct(request))).await;
        Sighting::Write { began_us, acknowledged: matches!(answer, Ok(Ok(_))).then_some(id) }
    })
    .await;
}

async fn read_register(channel: Channel, id: String, seen: mpsc::UnboundedSender<Sighting>) {
    call_repeatedly(seen, || async {
        let request = GetRequest { id: id.clone(), touch: Some(false), ..Default::default() };
        let began_us = now_us();
        let mut client = SessionsClient::new(channel.clone());
        let answer = tokio::time::timeout(CALL_TIMEOUT * 2, client.get(direct(request))).await;
        let session = answer.ok().and_then(Result::ok).and_then(|answer| answer.into_inner().session);
        let value = session.and_then(|session| {
            let text = session.attributes.get(REGISTER)?;
            // A value that is no number counts as the oldest: it would show as stale.
            Some(std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0))
        });
        Sighting::Read { began_us, value }
    })
    .await;
}

async fn watch_role(channel: Channel, seen: mpsc::UnboundedSender<Sighting>) {
    call_repeatedly(seen, || async {
        let mut client = ClusterClient::new(channel.clone());
        let asked = client.status(StatusRequest { digest: false, at_least_index: 0 });
        let answer = tokio::time::timeout(CALL_TIMEOUT * 2, asked).await;
        // No answer says nothing: only the node's own word counts as stepping down.
        let leads = answer.ok().and_then(Result::ok).map(|answer| answer.into_inner().role == LEADER);
        Sighting::Role { at_us: now_us(), leads }
    })
    .await;
}
