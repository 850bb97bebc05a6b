//! What users of other stores suffer, and must not suffer here: on real processes, with real faults.
//!
//! ```text
//! parallel   requests of one user at the same time: patches, and a logout among them
//! holder     a process that holds a lock, to be stopped
//! locks      a lock whose holder stops, a lock whose leader is killed
//! everywhere "log out everywhere" with very many sessions
//! expiries   sessions that expire while leaders are killed
//! ```

mod everywhere;
mod expiries;
mod holder;
mod locks;
mod parallel;
