//! Confirmation: what cannot be undone is asked about first.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::Failure;

/// Asks on the terminal whether to do what `question` says; asks nobody if `yes`.
///
/// # Errors
///
/// [`Failure::Declined`], or [`Failure::Usage`] when nobody is there to be asked.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Usage("there is no terminal to ask for confirmation on: give --yes".to_owned()));
    }
    // A closed standard error leaves nobody to ask: no answer is no.
    let _ = write!(io::stderr(), "{question} [y/N] ");
    match answer(io::stdin().lock()) {
        true => Ok(()),
        false => Err(Failure::Declined),
    }
}

fn answer(mut input: impl BufRead) -> bool {
    let mut line = String::new();
    input.read_line(&mut line).is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (text, agreed) in [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("yo\n", false)] {
            assert_eq!(answer(text.as_bytes()), agreed, "{text:?}");
        }
        assert!(confirm(true, "?").is_ok());
    }
}
