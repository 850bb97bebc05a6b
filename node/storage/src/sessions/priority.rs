//! Low priority for the threads of the session store: the log's and the heartbeats' go first.

/// The nice value: about a tenth of a normal thread's share when the processors are all busy.
const NICE: i32 = 10;

/// Lowers the calling thread's priority, and that of every thread it starts from here on.
pub(crate) fn lower() {
    // On Linux "this process" means the calling thread. Refused in some sandboxes, and not essential.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the session store's threads keep their normal priority");
    }
}
