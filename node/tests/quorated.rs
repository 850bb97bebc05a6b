//! The binary's command line: what it refuses, what it prints, with which exit code.

use std::process::{Command, Output};

fn quorated(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorated"));
    let inherited = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("QUORATED_"));
    for name in inherited {
        command.env_remove(name);
    }
    command.args(args).envs(environment.iter().copied()).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_bad_value_is_refused_with_key_value_source_and_what_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("quorated.toml");
    std::fs::write(&file, "node_id = 1\ntiming = \"fast\"\n").unwrap();
    let file = file.to_str().unwrap();
    let in_file = format!("{file}:2");
    let table = [
        (quorated(&["--timing", "fast"], &[]), "flag --timing"),
        (quorated(&[], &[("QUORATED_TIMING", "fast")]), "environment variable QUORATED_TIMING"),
        (quorated(&["--config", file], &[]), in_file.as_str()),
    ];
    for (output, origin) in table {
        assert_eq!(output.status.code(), Some(2));
        let told = stderr(&output);
        for part in ["timing", "\"fast\"", origin, "lan or wan"] {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
    }
}

#[test]
fn listening_beyond_loopback_is_refused_before_anything_happens() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let output = quorated(&["--client-listen", "0.0.0.0:0", "--data-dir", data.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--insecure"), "{}", stderr(&output));
    assert!(!data.exists());
}

#[test]
fn effective_settings_are_printed_as_toml() {
    let output = quorated(&["--node-id", "2", "config"], &[("QUORATED_MEMBERS", "1=a:1,2=b:2")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).contains("node_id = 2\n") && stdout(&output).contains("members = \"1=a:1,2=b:2\"\n")
    );
}

#[test]
fn the_health_of_a_node_that_is_not_there_is_bad() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let output = quorated(&["health", "--admin", &address], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

#[test]
fn help_and_unknown_flags() {
    assert_eq!(quorated(&["--help"], &[]).status.code(), Some(0));
    let output = quorated(&["--node-ip", "1"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--node-ip"), "{}", stderr(&output));
}
