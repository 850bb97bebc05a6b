//! Quorate's replicated state machine: what a session store *is*, with no IO, clock, randomness or async.
//!
//! The same proposals in the same order give the same state, to the byte, on every replica.
//!
//! # Layout
//!
//! ```text
//! what goes in and comes out
//!   command    what the log carries: a stamp and a command       outcome   what applying it answers
//!   key        session keys and ids                              time      cluster time, served time
//!   session    one session                                       policy    a namespace's policy, and the limits
//!   lock       who holds a session, and who waits                namespace one application: policy and counters
//!   event      what watchers are told                            member    a node as it announced itself
//!   digest     equal on all replicas                         places    which of a list
//! the state
//!   state      all of it, and what can be asked of it            apply     what each command does to it
//!   record     what a slot holds: a session or a tombstone       table     records by key and slot
//!   chunks     the slots, shared with frozen views               keymap    from keys to slots
//!   client     one client handle's remembered outcomes           clients   the retry table
//!   expiry     when records can leave memory                     index     sessions by namespace and principal
//!   events     those kept for watchers                           revocation whose sessions were revoked
//!   list       pages of sessions
//! in and out of memory
//!   frozen     a view that does not change                       changes   what a write-behind must write
//!   header     the small part, counts and digest                 encoding  formats of records and clients
//!   restore    back to a state, checked                          legacy    formats of earlier versions
//! ```

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod apply;
mod changes;
mod chunks;
mod client;
mod clients;
mod command;
mod digest;
mod encoding;
mod event;
mod events;
mod expiry;
mod frozen;
mod header;
mod index;
mod key;
mod keymap;
mod legacy;
mod list;
mod lock;
mod member;
mod namespace;
mod outcome;
mod places;
mod policy;
mod record;
mod restore;
mod revocation;
mod session;
mod state;
mod table;
mod time;

pub use changes::Changes;
pub use client::Client;
pub use command::{
    AttributeChange, ClientId, Command, CreateSession, DecodeError, LockSession, Operation, Proposal,
    RegenerateSession, RequestId, RevokePrincipal, Waiter, WriteSession,
};
pub use digest::Digest;
pub use encoding::{
    EncodingError, decode_client, decode_events, decode_record, encode_client, encode_events, encode_record,
};
pub use event::{Cursor, EndReason, Event, Happening};
pub use events::{EventBlock, EventBlockId, Lost};
pub use frozen::Frozen;
pub use header::{Header, RingStart};
pub use key::{IdError, SessionId, SessionKey};
pub use list::{Listed, Page, PageToken};
pub use lock::{Fence, Holder, Lock, Ticket, Turn};
pub use member::{Member, NodeId};
pub use namespace::{Counters, Namespace, Usage};
pub use outcome::{Outcome, Refusal};
pub use places::Places;
pub use policy::{Limits, MorePolicy, NamespaceId, Overflow, Policy, PolicyChange};
pub use record::{Ending, Record, Slot, Tombstone};
pub use restore::{Restore, RestoreError};
pub use revocation::{Revocation, Revoked};
pub use session::{Attributes, Session, Timeouts, Version};
pub use state::{APPLY_VERSION, DEFAULT_NAMESPACE, State};
pub use time::{ADVANCE_MS_MAX, Clocks, ClusterTime, Millis, OUTAGE_MS, ServedTime};
