//! Holds a session's lock and writes under it, until it is told that the lock is lost; each step is a line on standard
//! output. A process of its own, so that a test can stop it.
//!
//! ```text
//! holds 3                      it has the lock, with this fencing token
//! wrote 7                      its seventh write was taken
//! trouble ...                  a write came to nothing, or nobody knows
//! refused STALE_FENCE          a write was refused by the servers: the lock is another's
//! is_lost true                 what the guard said then
//! told lock is not held ...    what the guard told whoever waits for the loss
//! guard LockLost               what a write through the guard came to
//! ```

use std::io::BufRead as _;
use std::time::Duration;

use clap::Parser;
use quorate_client::{Client, Error, ErrorKind, LockGuard, LockOptions, Patch, SessionId, Write};
use tokio::time::{Instant, sleep, timeout};

const BETWEEN_WRITES: Duration = Duration::from_millis(20);
const LASTS_MAX: Duration = Duration::from_secs(120);
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Holds a session's lock and writes under it; the session's id is read from standard input
#[derive(Debug, Parser)]
#[command(name = "quorate-lock-holder")]
struct Arguments {
    /// The nodes
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    endpoints: Vec<String>,

    /// The lease
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    lease_ms: u64,
}

fn write(number: u64) -> Write {
    Write::patch(Patch::new().set("writer", format!("holder {number}")))
}

/// Writes until the servers refuse it.
async fn write_on(client: &Client, id: &SessionId, guard: &LockGuard) -> Result<(), Error> {
    let deadline = Instant::now() + LASTS_MAX;
    for number in 1.. {
        // Past the guard, which would not even ask a server.
        match client.write(id, write(number).fence(guard.fence())).await {
            Ok(_) => println!("wrote {number}"),
            Err(error) if error.kind() == ErrorKind::LockLost => {
                println!("refused {}", error.reason().unwrap_or_default());
                break;
            }
            Err(error) if Instant::now() < deadline => println!("trouble {error}"),
            Err(error) => return Err(error),
        }
        sleep(BETWEEN_WRITES).await;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let id: SessionId = line.trim().parse()?;
    let client = Client::builder().endpoints(arguments.endpoints).connect().await?;
    let options = LockOptions::new().lease(Duration::from_millis(arguments.lease_ms)).owner("holder");
    let guard = client.lock(&id, options).await?;
    println!("holds {}", guard.fence());
    write_on(&client, &id, &guard).await?;
    println!("is_lost {}", guard.is_lost());
    match timeout(TOLD_WITHIN, guard.lost()).await {
        Ok(error) => println!("told {error}"),
        Err(_) => println!("not told"),
    }
    match guard.write(write(0)).await {
        Ok(_) => println!("guard wrote"),
        Err(error) => println!("guard {:?}", error.kind()),
    }
    Ok(())
}
