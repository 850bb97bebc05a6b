//! A process that holds a lock and writes under it: `quorate-lock-holder`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_client::SessionId;
use quorate_tests::{HarnessError, PATIENCE, ProcessCluster, until};
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate-lock-holder");

/// Killed when dropped.
pub(super) struct Holder {
    child: Child,
    /// What it has said.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Holder {
    pub(super) fn start(
        cluster: &ProcessCluster,
        id: &SessionId,
        lease: Duration,
    ) -> Result<Holder, Box<dyn std::error::Error>> {
        let mut child = Command::new(PROGRAM)
            .args(["--endpoints", &cluster.endpoints().join(",")])
            .args(["--lease-ms", &lease.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().ok_or("no standard input")?;
        writeln!(input, "{}", id.reveal())?;
        let output = child.stdout.take().ok_or("no standard output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&lines);
        // Ends with the process.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.lock().push(line);
            }
        });
        Ok(Holder { child, lines })
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// Waits until it says this, and returns what follows it on the line.
    pub(super) async fn wait(&self, word: &str) -> Result<String, HarnessError> {
        until("the holder of the lock goes on", PATIENCE, || async {
            let lines = self.lines();
            let said = lines.iter().find_map(|line| line.strip_prefix(word));
            said.map(|rest| rest.trim().to_owned())
                .ok_or_else(|| format!("no `{word}`, only {:?}", lines.last()))
        })
        .await
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Box<dyn std::error::Error>> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
        // Not reaped before it is dropped, so its id still names it.
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Errors: it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
