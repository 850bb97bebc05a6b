//! The store as a node lives with it: restarts, kills, damage, growth.

pub(crate) mod base;
mod damage;
mod events;
mod files;
mod floor;
mod kill;
mod reopen;
mod write_behind;
