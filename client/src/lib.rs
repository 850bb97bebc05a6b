//! The Rust client of Quorate: follows the leader, pipelines, retries exactly once.
//!
//! A [`Client`] is cheap to clone; all clones share their connections. Whatever callers have queued is sent as one
//! message over one stream per node. A mutation that may have been lost is sent again under the same request id until
//! its deadline, and takes effect once. What cannot be known is told: [`Error::may_have_taken_effect`].
//!
//! TLS is not there yet: use the client on a network that you trust.
//!
//! ```no_run
//! use quorate_client::{Client, NewSession, Patch};
//!
//! # async fn run() -> Result<(), quorate_client::Error> {
//! let client = Client::builder().endpoints(["127.0.0.1:7101", "127.0.0.1:7102"]).connect().await?;
//! let created = client.create(NewSession::new().attribute("user", "alice")).await?;
//! client.patch(&created.id, Patch::new().set("cart", "3 apples")).await?;
//! let session = client.get(&created.id).await?;
//! assert_eq!(session.attributes["cart"].as_ref(), b"3 apples");
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
//! id          SessionId                          position    Position: a place in the history
//! error       Error: retry? took effect?         status      what nodes tell of themselves
//! call        one operation, through retries     handle      the client handle, opened once for all callers
//! sequence    request ids: which are unanswered  router      which node to ask
//! connection  from the dial to its end, calls    pipeline    its stream: batches out, answers in
//! dialler     how a node is reached              pace        when an address may be dialled again
//! backoff     pauses that grow
//! ```

#[macro_use]
mod expect;

mod backoff;
mod builder;
mod call;
mod change;
mod client;
mod connection;
mod dialler;
mod error;
mod handle;
mod id;
mod pace;
mod pipeline;
mod position;
mod router;
mod sequence;
mod session;
mod status;
mod store;

pub use builder::Builder;
pub use change::{NewSession, Patch, Write};
pub use client::Client;
pub use error::{Error, ErrorKind};
pub use id::{InvalidSessionId, SessionId};
pub use position::{InvalidPosition, Position};
pub use quorate_proto::SessionStore;
pub use session::{AttributeSelection, Created, GetOptions, Session, Touched, Written};
pub use status::NodeStatus;
