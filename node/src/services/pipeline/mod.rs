//! `Sessions.Pipeline`: batches of tagged operations over one stream, answered as they complete.
//!
//! # Layout
//!
//! ```text
//! schedule   which operations may run now: those on one session run in the order sent     (pure)
//! answers    answers on their way out, cut into messages                                  (pure)
//! line       one stream: admits, dispatches, completes, times out
//! ```

mod answers;
mod line;
mod schedule;

pub(crate) use line::Line;
