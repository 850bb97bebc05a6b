//! `Sessions.Pipeline`: batches of tagged operations over one stream, answered as they complete.
//!
//! # Layout
//!
//! ```text
//! schedule   which operations may run now: those on one session run in the order sent     (pure)
//! answers    answers on their way out, cut into messages                                  (pure)
//! pace       whether the client takes them                                                (pure)
//! pending    an operation that has not ended; how many there may be                       (pure)
//! jobs       what runs beside the stream: batches of reads, operations by themselves
//! outbox     mutations on their way into the log
//! line       one stream: admits, completes, times out
//! dispatch   and starts what may run
//! codec      its messages on the wire, bounded before they are decoded
//! ```

mod answers;
mod codec;
mod dispatch;
mod jobs;
mod line;
mod outbox;
mod pace;
mod pending;
mod schedule;

pub(crate) use codec::PipelineCodec;
pub(crate) use line::Line;
