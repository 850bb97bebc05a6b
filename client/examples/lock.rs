//! One session, several workers, one at a time: `scripts/cluster.sh up`, then `cargo run --example lock`.

use std::time::Duration;

use quorate_client::{AttributeSelection, Client, LockOptions, NewSession, SessionId, Write};

/// Adds one to a number in the session. Without the lock, parallel workers would overwrite each other's.
async fn work(client: Client, id: SessionId, name: String) -> Result<(), quorate_client::Error> {
    // Whoever finds it locked waits in line, on the server. The lease bounds how long a worker that died is waited for.
    let options =
        LockOptions::new().lease(Duration::from_secs(10)).wait(Duration::from_secs(30)).owner(&name);
    let (guard, session) = client.lock_and_get(&id, options, AttributeSelection::All).await?;
    let count = session.attributes.get("count").map(|count| String::from_utf8_lossy(count).into_owned());
    let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    println!("{name} holds the lock with token {} and reads {count}", guard.fence());

    // The guard renews the lease meanwhile. Work that must not outlive the lock watches it.
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
        lost = guard.lost() => return Err(lost),
    }
    guard.write_and_release(Write::replace([("count", (count + 1).to_string())])).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client =
        Client::builder().endpoints(["127.0.0.1:7101", "127.0.0.1:7102", "127.0.0.1:7103"]).connect().await?;
    let id = client.create(NewSession::new()).await?.id;
    let workers: Vec<_> =
        (1..=5).map(|n| tokio::spawn(work(client.clone(), id.clone(), format!("worker {n}")))).collect();
    for worker in workers {
        worker.await??;
    }
    let session = client.get(&id).await?;
    let count = session.attributes.get("count").map(|count| String::from_utf8_lossy(count).into_owned());
    println!("five workers counted to {}", count.unwrap_or_default());
    client.delete(&id).await?;
    Ok(())
}
