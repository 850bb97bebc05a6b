//! `quorate completions`: completion scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output::print_bytes;

const HELP: &str = "\
Examples:
  quorate completions bash > /etc/bash_completion.d/quorate
  quorate completions zsh > ~/.zfunc/_quorate
  quorate completions fish > ~/.config/fish/completions/quorate.fish";

/// Print a completion script for a shell
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// [`Failure::Write`] when standard output cannot be written.
pub(crate) fn run(arguments: CompletionsArguments) -> Result<(), Failure> {
    print_bytes(&script(arguments.shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "quorate", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).expect("text");
            for word in ["regenerate", "watch", "principal-overflow", "status", "bench", "deadline"] {
                assert!(script.contains(word), "{shell}: {word} is missing");
            }
        }
    }
}
