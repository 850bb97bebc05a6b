//! Under a lock: a command that runs while the lock is held.

use std::ffi::OsString;
use std::process::ExitStatus;

use quorate_client::{Error, ErrorKind, LockGuard};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::output::{Format, note};
use crate::signals::{Ended, Signals, ask_to_end};

/// What a shell makes of a command that a signal ended.
const SIGNALLED: i32 = 128;

/// Runs `command` while `guard` holds the lock, then gives that back.
///
/// # Errors
///
/// [`Failure::Program`] when it cannot be started, [`Failure::Command`] when it fails, [`Failure::LostLock`] when the lock
/// was lost before it ended.
pub(crate) async fn run(format: Format, guard: LockGuard, command: &[OsString]) -> Result<(), Failure> {
    // Before the command can be told to end by whoever means us both.
    let mut signals = Signals::listen();
    let spawned = spawn(command, guard.fence());
    let mut child = match spawned {
        Ok(child) => child,
        Err(failure) => {
            // The lease ends by itself if this fails.
            let _ = guard.unlock().await;
            return Err(failure);
        }
    };
    let lost = guard.lost();
    tokio::pin!(lost);
    let mut why: Option<Error> = None;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            error = &mut lost, if why.is_none() => {
                stop(&child);
                why = Some(error);
            }
            // A terminal tells the command too; what only we are told is passed on.
            ended = signals.next() => if ended == Ended::Terminated { stop(&child) },
        }
    };
    if why.is_none() {
        why = give_back(format, guard).await;
    } else {
        // There is nothing to give back, and perhaps nobody who would take it.
        guard.into_fence();
    }
    if let Some(error) = why {
        return Err(Failure::LostLock { error: Box::new(error) });
    }
    match status.map(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Command(code)),
        Err(source) => Err(Failure::Read { what: "how the command ended".to_owned(), source }),
    }
}

/// Gives the lock back; or says why it was lost.
async fn give_back(format: Format, guard: LockGuard) -> Option<Error> {
    let error = guard.unlock().await.err()?;
    match error.kind() {
        ErrorKind::LockLost => return Some(error),
        // A session that has ended has no lock.
        ErrorKind::NotFound => {}
        _ if format == Format::Table => {
            note(&format!("the lock was not given back, it ends with its lease: {error}"));
        }
        _ => {}
    }
    None
}

fn spawn(command: &[OsString], fence: u64) -> Result<Child, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Usage("no command after --".to_owned()));
    };
    let spawned = Command::new(program).args(arguments).env("QUORATE_FENCE", fence.to_string()).spawn();
    spawned.map_err(|source| Failure::Program { program: program.to_string_lossy().into_owned(), source })
}

fn stop(child: &Child) {
    if let Some(process) = child.id() {
        ask_to_end(process);
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| SIGNALLED + signal(status));
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal().unwrap_or_default()
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> i32 {
    0
}
