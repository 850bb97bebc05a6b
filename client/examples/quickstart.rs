//! A session's life against a local cluster: `scripts/cluster.sh up`, then `cargo run --example quickstart`.

use quorate_client::{Client, ErrorKind, NewSession, Patch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client =
        Client::builder().endpoints(["127.0.0.1:7101", "127.0.0.1:7102", "127.0.0.1:7103"]).connect().await?;

    // The id is a secret made here: put it into the user's cookie.
    let created = client.create(NewSession::new().attribute("user", "alice")).await?;
    println!("created   {} at version {}", created.handle, created.version);

    let written = client.patch(&created.id, Patch::new().set("cart", "3 apples")).await?;
    println!("patched   to version {} at position {}", written.version, written.position);

    // A read renews the idle deadline.
    let session = client.get(&created.id).await?;
    let names: Vec<&String> = session.attributes.keys().collect();
    println!("read      attributes {names:?}, expires in {:?}", session.remaining);

    // A new id when the user signs in: the old one is dead at once.
    let renewed = client.regenerate(&created.id).await?;
    client.delete(&renewed.id).await?;
    match client.get(&renewed.id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => println!("deleted   and gone"),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}
