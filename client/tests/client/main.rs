//! The client against nodes that fail on demand.
//!
//! - `lock`: guards, leases, calls that wait.
//! - `watch`: events across nodes. `many`: lists, revocations, namespaces.
//! - `exactly_once`: lost answers, forgotten handles, callers that go away, chaos.
//! - `reach`: nodes that are slow, dead or nowhere, and how often they are dialled.
//! - `size`: operations and batches beside the longest message that a node takes.
//! - `routing`: redirects, dead nodes, deadlines, and what each operation does.
//! - `fake`: the nodes.

mod exactly_once;
mod fake;
mod lock;
mod many;
mod reach;
mod routing;
mod size;
mod watch;
