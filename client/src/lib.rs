//! The Rust client of Quorate.
