//! What must not delay an append: noting the synced log id in the floor file, reclaiming space.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::shared::Shared;
use crate::error::StorageError;

/// The floor's synced log id is at most twice this behind.
const FLOOR_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// The threads that do the chores.
pub(super) struct Chores {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Chores {
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Chores> {
        let mut chores = Chores { stop: Arc::default(), threads: Vec::new() };
        let reclaim_interval = shared.options.reclaim_interval;
        let started = chores
            .spawn("quorate-floor", FLOOR_INTERVAL, shared, Shared::note_synced)
            .and_then(|()| chores.spawn("quorate-reclaim", reclaim_interval, shared, Shared::reclaim));
        match started {
            Ok(()) => Ok(chores),
            Err(error) => {
                chores.stop();
                Err(error)
            }
        }
    }

    fn spawn(
        &mut self,
        name: &str,
        interval: Duration,
        shared: &Arc<Shared>,
        chore: impl Fn(&Shared) -> Result<(), StorageError> + Send + 'static,
    ) -> std::io::Result<()> {
        let (stop, shared) = (Arc::clone(&self.stop), Arc::clone(shared));
        let run = move || {
            while !stop.wait(interval) {
                if let Err(error) = chore(&shared) {
                    return shared.fail(&error);
                }
            }
        };
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(run)?);
        Ok(())
    }

    /// Ends the threads, once what they are doing is done.
    pub(super) fn stop(self) {
        *self.stop.stopped.lock() = true;
        self.stop.changed.notify_all();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Stop {
    /// Waits; true once stopped.
    fn wait(&self, interval: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, interval);
        }
        *stopped
    }
}
