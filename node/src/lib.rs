//! A Quorate node.
//!
//! # Layout
//!
//! ```text
//! cli         quorated's command line         config      Settings: flags, environment, TOML file, defaults
//! node        Node: everything below, started and stopped together
//! services    gRPC for clients                admin       HTTP for health
//! consensus   the replicated state            logging     log lines
//! connections accepted ones, to be closed      budget      bytes in flight
//! ```

pub mod admin;
mod budget;
pub mod cli;
pub mod config;
mod connections;
pub mod consensus;
pub mod logging;
pub mod node;
pub mod services;

pub use node::Node;
