//! What clients talk to: gRPC services over consensus.
//!
//! # Layout
//!
//! ```text
//! server     the client listener: limits, services, shutdown     sessions   quorate.v1.Sessions, unary calls
//! pipeline   Sessions.Pipeline                                   cluster    quorate.v1.Cluster
//! health     grpc.health.v1.Health                               namespaces quorate.v1.Namespaces
//! watch      Sessions.Watch                                      embedded   the same operations in this process
//! unary      one operation on its own
//!
//! executor   runs an operation: here, or at the leader           read       linearizable and local reads
//! request    wire operation -> checked command or read           answer     outcome or session -> wire answer
//! lock       the answer to a lock, the wait for one              query      lists, namespaces
//! reasons    the table of errors                                 failure    an error, as status or as answer
//! explain    the transport's own errors                          arrival    when a call arrived, when it is cut off
//! backend    what all this needs of consensus                    planted    a bug on purpose, in test builds
//! ```
//!
//! A unary call, a pipelined operation and one forwarded by another node run through the same `executor`, `read`,
//! `request`, `answer` and `reasons`.

mod answer;
mod arrival;
mod backend;
mod cluster;
mod embedded;
mod executor;
mod explain;
mod failure;
mod health;
mod lock;
mod namespaces;
mod pipeline;
mod planted;
mod query;
mod read;
mod reasons;
mod request;
mod server;
mod sessions;
mod unary;
mod watch;

pub use failure::{DOMAIN, Failure};
pub use server::{ClientListener, Services};

#[cfg(test)]
mod scripted;
