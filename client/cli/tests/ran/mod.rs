//! Runs of the binary.

use std::io::Write;
use std::process::{Command, Stdio};

/// How a run of the binary ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_slice(&self.stdout).expect("JSON on standard output")
    }

    pub(crate) fn error(&self) -> serde_json::Value {
        assert_eq!(self.stderr.lines().count(), 1, "more than one line: {}", self.stderr);
        let object: serde_json::Value = serde_json::from_str(&self.stderr).expect("JSON on standard error");
        object.get("error").expect("the documented shape").clone()
    }
}

/// Runs `quorate` with these arguments and this standard input, against `endpoint`.
pub(crate) async fn run(endpoint: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(arguments).env_clear().env("QUORATE_ENDPOINTS", endpoint);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let stdin = stdin.to_vec();
    let finished = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("the binary starts");
        // Who is not interested in standard input may be gone before it is written.
        let _ = child.stdin.take().expect("piped").write_all(&stdin);
        child.wait_with_output().expect("the binary ends")
    });
    let output = finished.await.expect("no panic");
    let stderr = String::from_utf8(output.stderr).expect("text");
    Ran { code: output.status.code().expect("no signal"), stdout: output.stdout, stderr }
}
