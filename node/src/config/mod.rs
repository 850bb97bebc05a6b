//! What a node is told at start.
//!
//! # Layout
//!
//! ```text
//! settings   Settings: the plain, checked values the node runs with      key      the table of keys: names, defaults, help
//! source     where a value came from: flag, environment, file, default   file     the TOML file
//! parse      raw values of all sources -> Settings                       render   Settings -> TOML
//! address    host:port texts                                             error    why a start was refused
//! ```
//!
//! Precedence: flags, then `QUORATED_*` environment, then the TOML file, then the default.

mod address;
mod error;
mod file;
mod key;
mod parse;
mod render;
mod settings;
mod source;

pub use error::ConfigError;
pub use key::{KEYS, Key};
pub use parse::{Loaded, load};
pub use settings::{LogFormat, ReadMode, Settings, Timing};
pub use source::{Given, Source};
