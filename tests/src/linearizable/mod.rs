//! Linearizability: what clients recorded of sessions while nodes were killed and paused, and the check that some order
//! of the operations, one after the other, explains every answer.
//!
//! Each session is checked by itself (linearizability is local: Herlihy and Wing, 1990), all its ids together. An
//! operation whose outcome is unknown may take effect at any time after its call, or never. Histories are shorter than
//! idle timeouts, leases and the time for which an id that was given up stays refused; absolute deadlines pass within
//! them. Not among the operations: waiting in line for a lock, whose grant and claim are two steps that others can see.
//!
//! # Layout
//!
//! ```text
//! operation   what a client asks of a session     outcome     what came of it
//! state       what a session is: the model        history     what was recorded of one session
//! checker     whether a history is linearizable   findings    what all histories of a run say
//!
//! recording   clients at work, nodes disturbed    fault       what is done to a node
//! worker      one client                          caller      how it calls: Rust client, or plain gRPC
//! arena       the sessions worked on              subject     one of them
//! trouble     what a failed call says
//! ```

mod arena;
mod caller;
mod checker;
mod fault;
mod findings;
mod history;
mod operation;
mod outcome;
mod recording;
mod state;
mod subject;
mod trouble;
mod worker;

pub use checker::{Dead, Verdict, check};
pub use fault::Fault;
pub use findings::Findings;
pub use history::{Entry, History, Record};
pub use operation::{KEYS_MAX, Key, Number, Operation};
pub use outcome::{Outcome, Seen};
pub use recording::{Recording, Size};
pub use state::{Live, State};
