//! The log against crashes, damage, failing disks, and a naive model.

mod base;
mod calls;
mod crash;
mod damage;
mod failure;
mod model;
mod reads;
mod reopen;
mod stall;
