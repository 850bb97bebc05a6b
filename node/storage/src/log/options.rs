//! Sizes of the log, and how it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::error::fatal;
use crate::sessions::OnFatal;

/// Who does the log's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Threads of its own: `quorate-log` writes; `quorate-floor` and `quorate-reclaim` do what can wait.
    Dedicated,
    /// Whoever calls, before the call returns: for simulation. Nothing happens between calls.
    Inline,
}

/// Sizes of the log, and how it runs.
#[derive(Clone)]
pub struct LogOptions {
    /// A file is closed and the next begun at this size; that rotation syncs inline.
    pub file_bytes: u64,
    /// Space is reclaimed only beyond this.
    pub purge_threshold_bytes: u64,
    /// Files made ready at the first start, so that appends need no allocation; at most this much, 0: none.
    pub prefill_bytes: u64,
    /// Recent entries kept in memory for replication; what is not yet synced comes on top.
    pub cache_bytes: usize,
    /// After a purge, space is reclaimed at most this often.
    pub reclaim_interval: Duration,
    /// Who does the work.
    pub threads: Threads,
    /// What a failed write or sync does; by default it ends the process. When it returns, the log refuses all.
    pub on_fatal: OnFatal,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            file_bytes: 32 << 20,
            purge_threshold_bytes: 1 << 30,
            prefill_bytes: 256 << 20,
            cache_bytes: 64 << 20,
            reclaim_interval: Duration::from_secs(5),
            threads: Threads::Dedicated,
            on_fatal: Arc::new(|error| fatal(error)),
        }
    }
}

impl std::fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogOptions")
            .field("file_bytes", &self.file_bytes)
            .field("purge_threshold_bytes", &self.purge_threshold_bytes)
            .field("prefill_bytes", &self.prefill_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .field("reclaim_interval", &self.reclaim_interval)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
