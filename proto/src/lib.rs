//! Quorate's protobuf definitions and the code generated from them.
//!
//! # Layout
//!
//! - [`v1`]: the public API, package `quorate.v1`.
//! - [`peer`]: between nodes, package `quorate.peer.v1`; no promise of stability.
//! - [`DESCRIPTORS`]: the file descriptor set of both, for gRPC reflection.

/// The public API: package `quorate.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::restriction, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// Between nodes: package `quorate.peer.v1`.
pub mod peer {
    /// Version 1 of the peer protocol.
    #[allow(missing_docs, clippy::all, clippy::pedantic, clippy::restriction, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("quorate.peer.v1");
    }
}

/// The encoded `google.protobuf.FileDescriptorSet` of all packages here.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

mod store;

pub use store::SessionStore;
