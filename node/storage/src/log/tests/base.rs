//! A log on a simulated disk, records to put into it, and what was promised about them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::disk::{Disk, SimulatedDisk};
use crate::error::StorageError;
use crate::log::planted::Bug;
use crate::{DataDir, Done, Floor, Identity, LogId, LogOptions, LogRecord, RaftLog, Threads, Vote};

pub(super) const IDENTITY: Identity = Identity { cluster_id: 5, node_id: 1 };
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Small files, so that rotation and recycling happen; failures are noted, the process goes on.
pub(super) fn options(threads: Threads) -> (LogOptions, Arc<Mutex<Vec<String>>>) {
    let failures = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&failures);
    let options = LogOptions {
        file_bytes: 4 << 10,
        purge_threshold_bytes: 8 << 10,
        prefill_bytes: 0,
        cache_bytes: 2 << 10,
        reclaim_interval: Duration::from_millis(20),
        threads,
        on_fatal: Arc::new(move |error| noted.lock().push(error.to_string())),
    };
    (options, failures)
}

pub(super) fn open_on(
    disk: Disk,
    path: &Path,
    options: LogOptions,
    bug: Bug,
) -> Result<(RaftLog, Floor), StorageError> {
    let dir = DataDir::open_on(disk, path, IDENTITY, 7)?;
    let floor = Floor::open(&dir)?;
    Ok((RaftLog::open_with(&dir, &floor, options, bug)?, floor))
}

/// A directory on a simulated disk.
pub(super) struct Node {
    pub(super) dir: TempDir,
    pub(super) disk: SimulatedDisk,
    pub(super) threads: Threads,
    pub(super) failures: Arc<Mutex<Vec<String>>>,
}

impl Node {
    pub(super) fn new(threads: Threads) -> Node {
        Node { dir: TempDir::new().unwrap(), disk: SimulatedDisk::new(), threads, failures: Arc::default() }
    }

    pub(super) fn open(&mut self) -> RaftLog {
        self.open_with(Bug::None).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn open_with(&mut self, bug: Bug) -> Result<RaftLog, StorageError> {
        let (options, failures) = options(self.threads);
        self.failures = failures;
        open_on(self.disk.disk(), self.dir.path(), options, bug).map(|(log, _)| log)
    }
}

/// The record at `index` of `term`; what it holds follows from both and from `salt`.
pub(super) fn record(term: u64, index: u64, bytes: usize, salt: u8) -> LogRecord {
    let seed = term.wrapping_mul(31).wrapping_add(index).to_le_bytes();
    let content: Vec<u8> =
        (0..bytes).map(|at| seed[at % 8] ^ salt ^ u8::try_from(at % 256).unwrap()).collect();
    LogRecord { id: LogId { term, node: term % 3, index }, bytes: Bytes::from(content) }
}

pub(super) fn records(term: u64, indexes: std::ops::Range<u64>) -> Vec<LogRecord> {
    indexes.map(|index| record(term, index, 20 + usize::try_from(index % 50).unwrap() * 4, 0)).collect()
}

/// A callback, and where its result arrives.
pub(super) fn done() -> (Done, Receiver<io::Result<()>>) {
    let (send, result) = channel();
    (Box::new(move |outcome| send.send(outcome).unwrap()), result)
}

pub(super) fn append(log: &RaftLog, records: Vec<LogRecord>) {
    let (done, result) = done();
    log.append(records, done);
    result.recv_timeout(PATIENCE).unwrap().unwrap();
}

pub(super) fn purge(log: &RaftLog, upto: LogId) {
    let (done, result) = done();
    log.purge(upto, done);
    result.recv_timeout(PATIENCE).unwrap().unwrap();
}

pub(super) fn save_vote(log: &RaftLog, term: u64) {
    let (done, result) = done();
    log.save_vote(Vote { term, node: 2, committed: false }, done);
    result.recv_timeout(PATIENCE).unwrap().unwrap();
}

pub(super) fn all(log: &RaftLog) -> Vec<LogRecord> {
    log.read(0, u64::MAX, u64::MAX).unwrap_or_else(|error| panic!("{error}"))
}

/// What must be found after a crash, and what may be.
#[derive(Clone, Default)]
pub(super) struct Promise {
    /// Handed over, and neither truncated nor purged since.
    pub(super) live: HashSet<LogId>,
    /// Those of them that are acknowledged.
    pub(super) entries: BTreeMap<u64, LogRecord>,
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    /// Ever handed over.
    pub(super) written: HashMap<LogId, Bytes>,
    pub(super) votes: Vec<Vote>,
    pub(super) purges: HashSet<LogId>,
}

impl Promise {
    /// Whether the log in `path` keeps it; or what it breaks.
    pub(super) fn check(&self, path: &Path) -> Result<(), String> {
        let (options, _) = options(Threads::Inline);
        let opened = open_on(SimulatedDisk::new().disk(), path, options, Bug::None);
        let (log, _) = opened.map_err(|error| format!("it does not open: {error}"))?;
        self.check_vote(log.vote())?;
        let purged = log.last_purged();
        if purged < self.purged || purged.is_some_and(|purged| !self.purges.contains(&purged)) {
            return Err(format!("purged up to {purged:?}, not {:?}", self.purged));
        }
        let found = log.read(0, u64::MAX, u64::MAX).map_err(|error| error.to_string())?;
        let first = purged.map(|purged| purged.index + 1).or(log.first_index()).unwrap_or(0);
        for (record, index) in found.iter().zip(first..) {
            if record.id.index != index {
                return Err(format!("{} stands where {index} should", record.id.index));
            }
            if self.written.get(&record.id) != Some(&record.bytes) {
                return Err(format!("{:?} was never written like this", record.id));
            }
        }
        let by_index: BTreeMap<u64, &LogRecord> =
            found.iter().map(|record| (record.id.index, record)).collect();
        for (index, record) in self.entries.range(purged.map_or(0, |purged| purged.index + 1)..) {
            match by_index.get(index) {
                Some(found) if *found == record => {}
                Some(found) => return Err(format!("{:?} instead of {:?}", found.id, record.id)),
                None => return Err(format!("{:?} was acknowledged and is lost", record.id)),
            }
        }
        // And it can go on, and be opened again.
        let next = log.last().map_or(0, |last| last.index + 1);
        let more = record(1 << 40, next, 100, 3);
        append(&log, vec![more.clone()]);
        log.close();
        let (options, _) = crate::log::tests::base::options(Threads::Inline);
        let (log, _) = open_on(SimulatedDisk::new().disk(), path, options, Bug::None)
            .map_err(|error| format!("it does not open again: {error}"))?;
        if log.read(next, next + 1, 0).ok() == Some(vec![more]) {
            Ok(())
        } else {
            Err("an append after the crash is lost".into())
        }
    }

    fn check_vote(&self, found: Option<Vote>) -> Result<(), String> {
        let term = |vote: Option<Vote>| vote.map(|vote| vote.term);
        let known = found.is_none_or(|vote| self.votes.contains(&vote));
        if term(found) < term(self.vote) || !known {
            return Err(format!("the vote is {found:?}, not {:?}", self.vote));
        }
        Ok(())
    }
}
