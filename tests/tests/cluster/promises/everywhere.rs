//! "Log out everywhere", with very many sessions.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quorate_client::{
    AttributeSelection, Client, Consistency, ErrorKind, GetOptions, ListOptions, LockOptions, NewSession,
    Position, SessionId, Write,
};
use quorate_tests::{PATIENCE, ProcessCluster, until};

use crate::common::{Outcome, looking, three};

const SESSIONS: usize = 10_000;
const CALLERS: usize = 256;
const USER: &str = "alice";

async fn sign_in(client: &Client, principal: &str) -> Result<SessionId, quorate_client::Error> {
    Ok(client.create(NewSession::new().principal(principal)).await?.id)
}

/// Which of the sessions this node's own memory has at a position.
async fn readable(
    client: &Client,
    address: String,
    sessions: &[SessionId],
    position: Position,
) -> Result<Vec<usize>, quorate_client::Error> {
    let options = GetOptions {
        touch: false,
        attributes: AttributeSelection::None,
        consistency: Consistency::AtLeast(position),
        node: Some(address),
    };
    let read = stream::iter(sessions.iter().enumerate()).map(|(number, id)| {
        let options = options.clone();
        async move {
            match client.get_with(id, options).await {
                Ok(_) => Ok(Some(number)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        }
    });
    let found: Vec<Option<usize>> = read.buffer_unordered(CALLERS).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Asserts that of these sessions every node has this one alone, at this position.
async fn assert_only(
    cluster: &ProcessCluster,
    client: &Client,
    sessions: &[SessionId],
    kept: usize,
    position: Position,
) -> Outcome {
    for node in cluster.ids() {
        let address = cluster.ports(node)?.client.to_string();
        let found = readable(client, address, sessions, position).await?;
        assert_eq!(found, [kept], "node {node}");
    }
    Ok(())
}

#[tokio::test]
async fn log_out_everywhere_else_ends_ten_thousand_sessions_in_one_call() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let sign_ins = stream::iter(0..SESSIONS).map(|_| sign_in(&client, USER));
    let sessions: Vec<SessionId> = sign_ins.buffered(CALLERS).try_collect().await?;
    let (kept, other) = (SESSIONS / 2, sign_in(&client, "bob").await?);

    let revoked = client.revoke_except(USER, &sessions[kept]).await?;
    assert_eq!(revoked.sessions, SESSIONS as u64 - 1);
    assert_only(&cluster, &client, &sessions, kept, revoked.position).await?;
    let written = client.replace(&sessions[0], [("a", "1")]).await;
    assert_eq!(written.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    assert_eq!(client.get_with(&other, looking()).await?.principal, "bob");

    // The user signs in again, while what was ended is reaped.
    let again = sign_in(&client, USER).await?;
    let listed = client.list(ListOptions::new().principal(USER)).await?;
    assert_eq!((listed.sessions.len(), listed.next), (2, None));
    assert_eq!(client.get_with(&again, looking()).await?.principal, USER);
    until("what was ended leaves memory", PATIENCE, || async {
        let counters = client.get_namespace("default").await.map_err(|error| error.to_string())?.counters;
        let seen = (counters.live, counters.deleted);
        if seen == (3, SESSIONS as u64 - 1) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await?;
    assert_eq!(client.get_with(&again, looking()).await?.principal, USER);

    // Those of one who is signed in nowhere else go too.
    let revoked = client.revoke(USER).await?;
    assert_eq!(revoked.sessions, 2);
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    Ok(())
}

/// Gives a session new ids without a pause until it is gone; every id that it had, or may have.
async fn keep_renaming(client: Client, id: SessionId) -> Result<Vec<SessionId>, String> {
    let mut ids = vec![id.clone()];
    let (mut live, mut unknown) = (id, None);
    loop {
        let new = SessionId::random();
        ids.push(new.clone());
        match client.regenerate_to(&live, new.clone()).await {
            Ok(_) => (live, unknown) = (new, None),
            // No quorum for long: either may be the live one.
            Err(error) if error.may_have_taken_effect() && unknown.is_none() => unknown = Some(new),
            Err(error) if error.is_retryable() => {}
            Err(error) => match (error.reason(), unknown.take()) {
                (Some("NOT_FOUND"), _) => return Ok(ids),
                (Some("RENAMED"), Some(renamed)) => live = renamed,
                (reason, _) => return Err(format!("{error} ({reason:?})")),
            },
        }
    }
}

#[tokio::test]
async fn no_session_escapes_a_revocation_by_a_new_id_or_a_lock() -> Outcome {
    const RENAMED: usize = 24;
    const ROUNDS: usize = 3;
    let mut cluster = three().await?;
    let client = cluster.client()?;
    for round in 0..ROUNDS {
        let mut renaming = Vec::new();
        for _ in 0..RENAMED {
            let id = sign_in(&client, USER).await?;
            // Connections of their own: else they would all stand behind one another.
            renaming.push(tokio::spawn(keep_renaming(cluster.client()?, id)));
        }
        let locked = sign_in(&client, USER).await?;
        let guard = client.lock(&locked, LockOptions::new()).await?;
        let version = guard.write(Write::keep().principal(USER)).await?.version;
        assert_eq!(version, 2);
        until("ids are changing", PATIENCE, || async {
            let page = client.list(ListOptions::new().principal(USER).page_size(1_000)).await;
            let sessions = page.map_err(|error| error.to_string())?.sessions;
            let renamed = sessions.iter().filter(|session| session.version > 3).count();
            if renamed == RENAMED { Ok(()) } else { Err(format!("{renamed} of them")) }
        })
        .await?;
        let leader = cluster.wait_leader().await?;
        let revoked = tokio::spawn({
            let client = client.clone();
            async move { client.revoke(USER).await }
        });
        if round > 0 {
            cluster.node_mut(leader)?.kill()?;
        }
        let revoked = revoked.await??;
        assert_eq!(revoked.sessions, RENAMED as u64 + 1);
        let mut ids = vec![locked];
        for renamed in renaming {
            ids.extend(renamed.await??);
        }
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
        for node in cluster.ids() {
            let address = cluster.ports(node)?.client.to_string();
            let found = readable(&client, address, &ids, revoked.position).await?;
            assert_eq!(found, [0; 0], "node {node}");
        }
        assert_eq!(client.list(ListOptions::new().principal(USER)).await?.sessions, []);
        let late = guard.write(Write::keep().principal(USER)).await.err().ok_or("written after its end")?;
        assert!(matches!(late.kind(), ErrorKind::NotFound | ErrorKind::LockLost), "{late}");
    }
    let digests = cluster.digests().await?;
    assert!(digests.are_equal() && digests.of.len() == 3, "{digests}");
    Ok(())
}
