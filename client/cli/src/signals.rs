//! Signals: how a person or the system ends a command that would go on for ever.

/// How the command was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Ctrl-C, which a terminal tells all that run in it.
    Interrupted,
    /// SIGTERM, for this process alone, or SIGHUP.
    Terminated,
}

#[cfg(unix)]
mod system {
    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    use super::Ended;

    /// These signals, from now on no longer fatal by themselves.
    pub(crate) struct Signals {
        interrupt: Option<Stream>,
        terminate: Option<Stream>,
        hangup: Option<Stream>,
    }

    async fn received(stream: &mut Option<Stream>) {
        let heard = match stream {
            Some(stream) => stream.recv().await.is_some(),
            None => false,
        };
        if !heard {
            std::future::pending().await
        }
    }

    impl Signals {
        pub(crate) fn listen() -> Signals {
            // Where they cannot be heard they end the process as they always did.
            Signals {
                interrupt: signal(SignalKind::interrupt()).ok(),
                terminate: signal(SignalKind::terminate()).ok(),
                hangup: signal(SignalKind::hangup()).ok(),
            }
        }

        pub(crate) async fn next(&mut self) -> Ended {
            tokio::select! {
                () = received(&mut self.interrupt) => Ended::Interrupted,
                () = received(&mut self.terminate) => Ended::Terminated,
                () = received(&mut self.hangup) => Ended::Terminated,
            }
        }
    }

    /// Asks the child `process`, which has not been waited for, to end.
    pub(crate) fn ask_to_end(process: u32) {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
        // One that has ended already need not be asked.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
    }
}

#[cfg(not(unix))]
mod system {
    use super::Ended;

    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn listen() -> Signals {
            Signals
        }

        pub(crate) async fn next(&mut self) -> Ended {
            match tokio::signal::ctrl_c().await {
                Ok(()) => Ended::Interrupted,
                Err(_) => std::future::pending().await,
            }
        }
    }

    pub(crate) fn ask_to_end(_: u32) {}
}

pub(crate) use system::{Signals, ask_to_end};
