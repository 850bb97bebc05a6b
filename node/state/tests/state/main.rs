//! Tests of the state machine through its public API.
//!
//! ```text
//! base        short ways to say proposals            script      random sequences of them
//! operations  each operation, alone                  model       a naive store, written independently
//! requests    exactly once, client handles           against     the state against the model
//! time        clocks, deadlines, reaping             replicas    same entries, same state: also through disk
//! frozen      views that do not change               hostile     bytes that nobody wrote
//! formats     encodings that must not drift          purity      what must not leak, or be kept
//! locks       leases, fences, the line               principals  revocation, limits
//! namespaces  policies, quotas, deletion             events      what watchers are told
//! ```
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod against;
mod base;
mod events;
mod formats;
mod frozen;
mod hostile;
mod locks;
mod model;
mod namespaces;
mod operations;
mod principals;
mod purity;
mod replicas;
mod requests;
mod script;
mod time;
