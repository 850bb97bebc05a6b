//! Progress: one line on standard error that is written over, when a person is watching.

use std::io::{self, IsTerminal, Write};

/// The line. Does nothing when standard error is not a terminal.
pub(crate) struct Line {
    watched: bool,
}

impl Line {
    /// An empty line.
    pub(crate) fn new() -> Line {
        Line { watched: io::stderr().is_terminal() }
    }

    /// Shows `text` instead of what was there.
    pub(crate) fn show(&mut self, text: &str) {
        if self.watched {
            // Nobody is harmed by a progress line that cannot be written.
            let _ = write!(io::stderr(), "\r{text}\u{1b}[K");
        }
    }

    /// Leaves nothing behind.
    pub(crate) fn clear(&mut self) {
        self.show("");
        if self.watched {
            let _ = write!(io::stderr(), "\r");
        }
    }
}
