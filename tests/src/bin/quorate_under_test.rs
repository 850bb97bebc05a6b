//! `quorate`, built with the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_cli::main()
}
