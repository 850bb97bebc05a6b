//! Sessions that expire while leaders are killed: each end is told, once.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_client::{EndReason, Event, EventKind, Position, Watch, WatchOptions};
use quorate_tests::PATIENCE;
use tokio::time::timeout;

use crate::common::{Outcome, session, three};

const SESSIONS: u32 = 80;
/// One after the other, for longer than the failovers take.
const FIRST: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(100);

async fn read(watch: &mut Watch) -> Result<Vec<Event>, Box<dyn std::error::Error>> {
    let mut events = Vec::new();
    while events.len() < SESSIONS as usize {
        let next = timeout(PATIENCE, watch.next()).await;
        let next = next.map_err(|_| format!("{} expiries were told, and no more", events.len()))?;
        events.push(next.ok_or("the watch ended without an error")??);
    }
    Ok(events)
}

#[tokio::test]
async fn every_expiry_is_told_once_though_leaders_are_killed_meanwhile() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let of = || WatchOptions::new().kinds([EventKind::Expired]);
    let mut watch = client.watch(of()).await?;
    let (mut made, mut begin) = (BTreeMap::new(), Position::default());
    for number in 0..SESSIONS {
        let value = number.to_string();
        let lasts = FIRST + BETWEEN * number;
        let (new, reason) = if number % 2 == 0 {
            (session("a", value.clone()).idle_timeout(lasts), EndReason::IdleTimeout)
        } else {
            (session("a", value.clone()).absolute_timeout(lasts), EndReason::AbsoluteTimeout)
        };
        let created = client.create(new).await?;
        if number == 0 {
            begin = created.position;
        }
        made.insert(created.handle, (value, reason));
    }
    for _ in 0..2 {
        let leader = cluster.wait_leader().await?;
        cluster.node_mut(leader)?.kill()?;
        cluster.wait_leader_but(leader).await?;
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
    }
    let events = read(&mut watch).await?;
    let told: BTreeMap<_, _> = events
        .iter()
        .map(|event| {
            let value = event.attributes.get("a").map(|value| String::from_utf8_lossy(value).into_owned());
            (event.handle.clone(), (value.unwrap_or_default(), event.reason))
        })
        .collect();
    let expected: BTreeMap<_, _> =
        made.into_iter().map(|(handle, (value, reason))| (handle, (value, Some(reason)))).collect();
    assert_eq!(told, expected, "each with its last attributes");
    // Nothing more comes for a while, and a watch that begins anew is told the same.
    let quiet = timeout(Duration::from_millis(500), watch.next()).await;
    assert!(quiet.is_err(), "one expiry was told twice: {quiet:?}");
    let again = read(&mut cluster.client()?.watch(of().after(begin)).await?).await?;
    assert_eq!(again, events);
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    Ok(())
}
