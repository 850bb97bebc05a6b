//! What happens to sessions, as it happens: `scripts/cluster.sh up`, then `cargo run --example watch`.

use quorate_client::{Client, Cursor, EventKind, NewSession, Patch, WatchOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client =
        Client::builder().endpoints(["127.0.0.1:7101", "127.0.0.1:7102", "127.0.0.1:7103"]).connect().await?;

    // From now on: every event after this returns comes, also when the node that serves it goes down.
    let mut watch = client.watch(WatchOptions::new().principal("alice")).await?;

    let id = client.create(NewSession::new().attribute("cart", "3 apples").principal("alice")).await?.id;
    client.patch(&id, Patch::new().set("cart", "4 apples")).await?;
    client.revoke("alice").await?;

    // Keep the cursor beside what the events led to: a program that starts again resumes there.
    let mut kept: Option<String> = None;
    while let Some(event) = watch.next().await {
        let event = event?;
        let names: Vec<&String> = event.attributes.keys().collect();
        println!("{:?} {} version {} {:?} {names:?}", event.kind, event.handle, event.version, event.reason);
        kept = Some(event.cursor.to_string());
        if event.kind == EventKind::Deleted {
            break;
        }
    }

    let cursor: Cursor = kept.unwrap_or_default().parse()?;
    let again = client.watch(WatchOptions::new().after(cursor)).await?;
    println!("resumed behind {cursor}; now at {:?}", again.cursor().map(|cursor| cursor.to_string()));
    Ok(())
}
