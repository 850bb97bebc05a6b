//! `quorate`: the command line of Quorate.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_cli::main()
}
