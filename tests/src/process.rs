//! One `quorated` process.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};

use crate::error::HarnessError;

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// gRPC for clients.
    pub client: SocketAddrV4,
    /// gRPC for the other nodes.
    pub peer: SocketAddrV4,
    /// HTTP for health.
    pub admin: SocketAddrV4,
}

impl Ports {
    /// The ports of node `id` on `host`, numbered as `scripts/cluster.sh` does: 7101, 7201 and 7301 for node 1.
    #[must_use]
    pub fn of(host: Ipv4Addr, id: u64) -> Ports {
        let offset = u16::try_from(id).unwrap_or(0);
        let at = |base: u16| SocketAddrV4::new(host, base.saturating_add(offset));
        Ports { client: at(7100), peer: at(7200), admin: at(7300) }
    }
}

/// How to start a node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its node id.
    pub id: u64,
    /// Where it listens.
    pub ports: Ports,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Where its standard output and error go; appended to.
    pub log: PathBuf,
    /// The program and its arguments before quorated's own: quorated itself, or strace and then quorated.
    pub program: Vec<OsString>,
    /// quorated's own arguments.
    pub arguments: Vec<OsString>,
}

/// A node's process, running or not. Killed when dropped, and when the harness itself is killed.
#[derive(Debug)]
pub struct NodeProcess {
    spec: NodeSpec,
    child: Option<Child>,
    ended: Option<ExitStatus>,
    should_run: bool,
}

impl NodeProcess {
    /// A process that was not started yet.
    #[must_use]
    pub fn new(spec: NodeSpec) -> NodeProcess {
        NodeProcess { spec, child: None, ended: None, should_run: false }
    }

    /// How it is started.
    #[must_use]
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// To change how it is started next.
    pub fn spec_mut(&mut self) -> &mut NodeSpec {
        &mut self.spec
    }

    /// Starts it; returns at once. Call it from a thread that lives as long as the node should (see `end_with_parent`).
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&mut self) -> Result<(), HarnessError> {
        let log = OpenOptions::new().create(true).append(true).open(&self.spec.log);
        let log = log.map_err(HarnessError::io("open", &self.spec.log))?;
        let errors = log.try_clone().map_err(HarnessError::io("open", &self.spec.log))?;
        let mut words = self.spec.program.iter();
        let program = words.next().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        command
            .args(words)
            .args(&self.spec.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C is for the harness, which then ends its nodes itself.
            .process_group(0);
        // The harness decides alone how nodes are configured.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QUORATED_") {
                command.env_remove(name);
            }
        }
        end_with_parent(&mut command);
        let child = command.spawn().map_err(HarnessError::io("start", PathBuf::from(program)))?;
        self.child = Some(child);
        self.ended = None;
        self.should_run = true;
        Ok(())
    }

    /// The process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends a signal; nothing when it does not run.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn signal(&self, signal: Signal) -> Result<(), HarnessError> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        // The child is not reaped before `try_wait`, so its id still names it.
        rustix::process::kill_process(pid, signal)
            .map_err(|errno| HarnessError::io("signal", &self.spec.data_dir)(errno.into()))
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// The operating system refused, or it had ended by itself before: a kill must not hide that.
    pub fn kill(&mut self) -> Result<(), HarnessError> {
        self.check_alive()?;
        self.should_run = false;
        self.end()
    }

    fn end(&mut self) -> Result<(), HarnessError> {
        if let Some(mut child) = self.child.take() {
            child.kill().map_err(HarnessError::io("kill", &self.spec.data_dir))?;
            self.ended = Some(child.wait().map_err(HarnessError::io("wait for", &self.spec.data_dir))?);
        }
        Ok(())
    }

    /// From now on its end is no surprise: it is about to be stopped, or the test wants to see it end.
    pub fn expect_end(&mut self) {
        self.should_run = false;
    }

    /// Whether it was started and nobody wanted it to end since. It may have ended all the same: see
    /// [`Self::check_alive`].
    #[must_use]
    pub fn should_run(&self) -> bool {
        self.should_run
    }

    /// Checks that it has not ended by itself.
    ///
    /// # Errors
    /// [`HarnessError::Ended`]: it should run and does not.
    pub fn check_alive(&mut self) -> Result<(), HarnessError> {
        if self.should_run { self.check_not_ended() } else { Ok(()) }
    }

    /// Checks that it has not ended since it was started last, wanted or not.
    ///
    /// # Errors
    /// [`HarnessError::Ended`]: it has.
    pub fn check_not_ended(&mut self) -> Result<(), HarnessError> {
        let Some(status) = self.try_wait()? else { return Ok(()) };
        Err(HarnessError::Ended { node: self.spec.id, status: status.to_string(), log: self.log_tail(20) })
    }

    /// The exit status once it has ended, however that came.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, HarnessError> {
        if let Some(child) = &mut self.child
            && let Some(status) =
                child.try_wait().map_err(HarnessError::io("wait for", &self.spec.data_dir))?
        {
            self.child = None;
            self.ended = Some(status);
        }
        Ok(self.ended)
    }

    /// Whether it was started and has not ended.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.try_wait().is_ok_and(|_| self.child.is_some())
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = self.log_text();
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read(&self.spec.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.end();
    }
}

/// A harness that is itself killed with SIGKILL cannot clean up: the kernel then ends its nodes.
#[expect(unsafe_code, reason = "pre_exec is the only way to run prctl in the child")]
fn end_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
        });
    }
}
