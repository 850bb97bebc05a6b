//! Prepare: creates the sessions that are written or read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use quorate_client::{Client, Error, SessionId};
use tokio::task::JoinSet;

use super::plan::{Kind, Plan};
use super::progress::Line;
use crate::failure::Failure;

/// Most creates at once: enough to fill batches, whatever the number of callers.
const CREATORS_MAX: u32 = 256;

/// Creates the planned sessions through all `clients` and returns their ids; none for a workload that needs none.
///
/// # Errors
///
/// [`Failure::Client`] with the first create that failed.
pub(crate) async fn sessions(clients: &[Client], kind: Kind, plan: &Plan) -> Result<Vec<SessionId>, Failure> {
    if kind == Kind::Create {
        return Ok(Vec::new());
    }
    let mut line = Line::new();
    let next = Arc::new(AtomicU32::new(0));
    let values: Arc<[Bytes]> = plan.values().into();
    let mut creators = JoinSet::new();
    for (client, _) in clients.iter().cycle().zip(0..CREATORS_MAX.min(plan.sessions)) {
        creators.spawn(create_some(client.clone(), plan.clone(), Arc::clone(&values), Arc::clone(&next)));
    }
    let mut ids = Vec::new();
    let mut seconds = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            created = creators.join_next() => match created {
                Some(Ok(created)) => ids.extend(created?),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => break,
            },
            _ = seconds.tick() => {
                let created = next.load(Ordering::Relaxed).min(plan.sessions);
                line.show(&format!("creating sessions: {created} of {}", plan.sessions));
            }
        }
    }
    line.clear();
    Ok(ids)
}

async fn create_some(
    client: Client,
    plan: Plan,
    values: Arc<[Bytes]>,
    next: Arc<AtomicU32>,
) -> Result<Vec<SessionId>, Error> {
    let mut ids = Vec::new();
    let mut values = values.iter().cycle();
    while next.fetch_add(1, Ordering::Relaxed) < plan.sessions {
        let value = values.next().cloned().unwrap_or_default();
        ids.push(client.create(plan.new_session(value)).await?.id);
    }
    Ok(ids)
}
