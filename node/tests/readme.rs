//! README.md is what users read first: its table of settings must say what `quorated --help` says, and its example must
//! be the one that is compiled.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

const README: &str = include_str!("../../README.md");
const QUICKSTART: &str = include_str!("../../client/examples/quickstart.rs");

/// Rows of the table, made from the help: key, default, meaning.
fn rows() -> Vec<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_quorated")).arg("--help").env_clear().output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, options) = help.split_once("Options:").unwrap();
    let (options, _) = options.split_once("Sources of a setting").unwrap();
    // The help is wrapped to the terminal.
    let options = options.split_whitespace().collect::<Vec<_>>().join(" ");
    options.split(" --").filter_map(row).collect()
}

fn row(option: &str) -> Option<String> {
    let (text, rest) = option.split_once(" [env: ")?;
    let (_, rest) = rest.split_once("[default: ")?;
    let (default, _) = rest.split_once("] [example: ")?;
    let (flag, meaning) = text.split_once("> ").or_else(|| text.split_once(">] "))?;
    let meaning = meaning.trim_start_matches("] ");
    let name = flag.split(['<', '[', ' ']).next()?;
    Some(format!("| `{name}` | {default} | {meaning} |"))
}

#[test]
fn the_table_of_settings_is_the_help() {
    let rows = rows();
    assert!(rows.len() >= 18, "the help was not understood: {rows:#?}");
    for row in &rows {
        assert!(README.contains(row.as_str()), "README.md has no line\n{row}");
    }
    let (_, table) = README.split_once("| key | default | meaning |").unwrap();
    let listed = table.lines().skip(2).take_while(|line| line.starts_with("| `")).count();
    assert_eq!(listed, rows.len(), "README.md lists a setting that is not in the help");
}

#[test]
fn the_example_is_the_one_that_is_compiled() {
    assert!(
        README.contains(QUICKSTART.trim()),
        "README.md does not show client/examples/quickstart.rs as it is"
    );
}
