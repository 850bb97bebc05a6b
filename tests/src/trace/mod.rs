//! What strace recorded of three nodes, and the check that each reply followed the syncs that it promises.
//!
//! # Layout
//!
//! ```text
//! line         one line of strace's output
//! recording    a file of them: every call with its beginning and its end
//! http2        the gRPC messages that one side of a connection sent
//! durability   the check
//! ```

mod durability;
pub(crate) mod http2;
mod line;
mod recording;

pub use durability::{NodeTrace, Report, TracedWrite, check};
pub use recording::{Call, Recording, strace_arguments};
