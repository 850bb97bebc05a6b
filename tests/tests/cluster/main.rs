//! Tests against clusters of real processes.
//!
//! ```text
//! common        starting clusters, plain gRPC calls
//! three_nodes   replication, losing the leader, losing the quorum, a paused leader
//! kills         everything acknowledged outlives kill -9 of one node and of all
//! linearizable  what many clients saw of a session while nodes were killed and paused
//! forwarding    any node takes any request, or names the leader
//! exactly_once  a request id is carried out once, also across leaders
//! loss_points   each mutation, retried after each point at which it can get lost, takes effect once
//! reads         AT_LEAST on followers
//! expiry        deadlines: never early, gone soon after
//! cluster_time  wrong wall clocks, restarts and failovers expire nobody
//! locks         held, waited for and refused, also across leaders
//! lists         pages that are stable, sessions that are revoked together
//! namespaces    policies, quotas, and the end of one
//! bench         `quorate bench` of hand-overs: what it says is what happened
//! bad_input     a clear error, nothing changed, the node up
//! garbage       the same for bytes that are no request at all
//! data_dir      directories that a node must refuse
//! restart       restarts keep everything; SIGTERM ends in order
//! peers         nodes that move, that are behind, that hand over
//! promises      parallel patches, logouts among writes, holders that stop, "log out everywhere"
//! catch_up      a node that was away longer than the log reaches back
//! services      health and reflection
//! harness       a node that ended by itself is never left out
//! full_disk     a node without space stops; the others serve on
//! watching      events: none missing, on any node, over kills and restarts
//! watched       who writes to a namespace, and what is seen of it
//! ```

mod bad_input;
mod bench;
mod catch_up;
mod cluster_time;
mod common;
mod data_dir;
mod exactly_once;
mod expiry;
mod forwarding;
mod full_disk;
mod garbage;
mod harness;
mod kills;
mod linearizable;
mod lists;
mod locks;
mod loss_points;
mod namespaces;
mod peers;
mod promises;
mod reads;
mod restart;
mod services;
mod three_nodes;
mod watched;
mod watching;
