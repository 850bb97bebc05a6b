//! An operation of a stream that has been admitted and has not ended.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::Permit;
use crate::services::answer::Reply;
use crate::services::reasons::Stake;
use crate::services::request::{Request, Work};

pub(super) struct Pending {
    pub(super) tag: u64,
    pub(super) deadline: Instant,
    pub(super) stake: Stake,
    /// Given back to the node when the operation ends, answered or not: what has been submitted is held until then.
    pub(super) permit: Permit,
    /// Of a lock that may wait for its turn: cancelled when its caller has gone.
    pub(super) withdrawn: Option<CancellationToken>,
    pub(super) stage: Stage,
    /// Told that its deadline passed; what it comes to is for nobody.
    pub(super) answered: bool,
    /// What would be sent to the leader, encoded: a copy, since an operation as received holds on to the whole message
    /// it came in. Kept only where the stream is not redirected.
    pub(super) original: Option<Vec<u8>>,
}

/// How far an operation has come.
pub(super) enum Stage {
    /// Goes with others of its kind, once its turn comes.
    Batched(Work),
    /// Runs by itself, once its turn comes.
    Single(Request),
    /// As `Single`, from the original.
    Again,
    /// Being run.
    Running(Option<Reply>),
    /// Waits for the turn of a lock, out of its lane.
    InLine,
}

/// The operations of a stream that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Load {
    operations: usize,
    bytes: u64,
}

/// Operations of one stream in flight; beyond it the stream is not read. The client library stays below it.
pub(super) const OPERATIONS_MAX: usize = 4_096;
/// Of which so many may be locks that wait for their turn: others must get through, above all those that give locks back.
pub(super) const WAITS_MAX: usize = OPERATIONS_MAX / 2;
/// Bytes of one stream's operations in flight; beyond it the stream is not read.
const BYTES_MAX: u64 = 32 << 20;

impl Load {
    pub(super) fn add(&mut self, permit: &Permit) {
        self.operations += 1;
        self.bytes += permit.bytes();
    }

    pub(super) fn remove(&mut self, permit: &Permit) {
        self.operations -= 1;
        self.bytes -= permit.bytes();
    }

    pub(super) fn has_room(&self) -> bool {
        self.operations < OPERATIONS_MAX && self.bytes < BYTES_MAX
    }
}
