//! The Rust client of Quorate: follows the leader, pipelines, retries exactly once.
//!
//! A [`Client`] is cheap to clone; all clones share their connections. Whatever callers have queued is sent as one
//! message over one stream per node. A mutation that may have been lost is sent again under the same request id until
//! its deadline, and takes effect once. What cannot be known is told: [`Error::may_have_taken_effect`].
//!
//! [`Client::lock`] keeps others out of a session for as long as its [`LockGuard`] lives, and tells when that is no longer
//! so. [`Client::watch`] tells what happens to sessions, in order, across the loss of nodes.
//!
//! TLS is not there yet: use the client on a network that you trust. Endpoints that ask for it are refused.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use quorate_client::{Client, LockOptions, NewSession, Patch, Write};
//!
//! # async fn run() -> Result<(), quorate_client::Error> {
//! let client = Client::builder().endpoints(["127.0.0.1:7101", "127.0.0.1:7102"]).connect().await?;
//! let created = client.create(NewSession::new().attribute("user", "alice")).await?;
//! client.patch(&created.id, Patch::new().set("cart", "3 apples")).await?;
//! let session = client.get(&created.id).await?;
//! assert_eq!(session.attributes["cart"].as_ref(), b"3 apples");
//!
//! let guard = client.lock(&created.id, LockOptions::new().wait(Duration::from_secs(10))).await?;
//! guard.write_and_release(Write::replace([("cart", "4 apples")])).await?;
//! client.delete(&created.id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! ```text
//! client      Client: the operations             builder     how a Client is made
//! session     what is read                       change      what is written
//! lock        locks taken and given back         guard       LockGuard: a lock that is held
//! list        sessions, page after page          revocation  "log out everywhere"
//! watch       events, as they happen             event       what watchers are told
//! namespace   namespaces                         policy      what a namespace allows
//! id          SessionId                          position    Position: a place in the history
//! consistency how fresh a read has to be         cursor      Cursor: how far a watcher has come
//! error       Error: retry? took effect?         status      what nodes tell of themselves
//! store       the wire's own requests            expect      which answer belongs to a call
//! call        one operation, through retries     progress    how far a call has come
//! lease       a lock renewed, or lost in time    watcher     a watch, from node to node
//! handle      the client handle, opened once for all callers
//! sequence    request ids: which are unanswered  router      which node to ask
//! connection  from the dial to its end, calls    pipeline    its stream: batches out, answers in
//! dialler     how a node is reached              pace        when an address may be dialled again
//! backoff     pauses that grow               presence    whether a caller is still there
//! ```

#[macro_use]
mod expect;

mod backoff;
mod builder;
mod call;
mod change;
mod client;
mod connection;
mod consistency;
mod cursor;
mod dialler;
mod error;
mod event;
mod guard;
mod handle;
mod id;
mod lease;
mod list;
mod lock;
mod namespace;
mod pace;
mod pipeline;
mod policy;
mod position;
mod presence;
mod progress;
mod revocation;
mod router;
mod sequence;
mod session;
mod status;
mod store;
mod watch;
mod watcher;

pub use builder::Builder;
pub use change::{NewSession, Patch, Write};
pub use client::Client;
pub use consistency::Consistency;
pub use cursor::{Cursor, InvalidCursor};
pub use error::{Error, ErrorKind};
pub use event::{EndReason, Event, EventKind};
pub use guard::LockGuard;
pub use id::{InvalidSessionId, SessionId};
pub use list::{ListOptions, Page};
pub use lock::{LockOptions, LockState};
pub use namespace::{Counters, Namespace, NamespacePut};
pub use policy::{Policy, PolicyChange, PrincipalOverflow};
pub use position::{InvalidPosition, Position};
pub use quorate_proto::SessionStore;
pub use revocation::Revoked;
pub use session::{AttributeSelection, Created, GetOptions, Session, Touched, TouchedMany, Written};
pub use status::NodeStatus;
pub use watch::{Watch, WatchOptions};
