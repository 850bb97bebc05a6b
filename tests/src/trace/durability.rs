//! The check: for each write, its entry's bytes, then an `fdatasync` of the same file, then the reply, on a majority,
//! and no serving thread at the session store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use prost::Message as _;
use quorate_proto::peer::v1::{AppendResponse, AppendSuccess, append_response};

use super::http2::Connection;
use super::recording::{Call, Recording};

/// Threads that serve, whatever they were seen to do: tokio's, and the log's.
const SERVING: [&str; 2] = ["quorated", "quorate-log"];

/// A write that was made while nothing else was in flight.
#[derive(Clone, Debug)]
pub struct TracedWrite {
    /// Stands in the entry and nowhere else.
    pub mark: Vec<u8>,
    /// Stands in the reply to the client and in no earlier one.
    pub reply_mark: Vec<u8>,
    /// The entry's log index.
    pub index: u64,
}

/// One node as strace saw it.
#[derive(Clone, Debug)]
pub struct NodeTrace {
    /// Its id.
    pub node: u64,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its client listener.
    pub client: SocketAddrV4,
    /// Its peer listener.
    pub peer: SocketAddrV4,
    /// Its calls.
    pub recording: Recording,
}

/// What the check saw and what was wrong.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Writes for which everything was found in the right order.
    pub proven: usize,
    /// Follower acknowledgements that were seen to follow their sync.
    pub follower_replies: usize,
    /// Writes to session store files, on all nodes.
    pub session_writes: usize,
    /// Syncs of session store files, on all nodes.
    pub session_syncs: usize,
    /// Calls about session store files while the writes were in flight, on all nodes; by other threads than serve.
    pub session_calls_meanwhile: usize,
    /// Calls of `sync_file_range`, on all nodes.
    pub sync_file_ranges: usize,
    /// What was wrong.
    pub faults: Vec<String>,
}

/// When an entry was safe on one node.
struct Safe {
    written_us: u64,
    synced_us: u64,
}

impl NodeTrace {
    fn in_log(&self, call: &Call) -> bool {
        Path::new(&call.target).starts_with(self.data_dir.join("log"))
    }

    fn in_sessions(&self, call: &Call) -> bool {
        Path::new(&call.target).starts_with(self.data_dir.join("sessions"))
    }

    fn sends_from(call: &Call, listener: SocketAddrV4) -> bool {
        call.is_write() && call.target.starts_with(&format!("TCP:[{listener}->"))
    }

    /// The write of the marked entry to the log, then the first sync of the same file that began after it.
    fn safe(&self, mark: &[u8]) -> Option<Safe> {
        let calls = &self.recording.calls;
        let written = calls.iter().find(|call| call.is_write() && self.in_log(call) && call.holds(mark))?;
        let synced = calls.iter().find(|call| {
            call.is_fdatasync() && call.target == written.target && call.start_us >= written.end_us
        })?;
        Some(Safe { written_us: written.start_us, synced_us: synced.end_us })
    }

    /// When this node told the leader for the first time that it has `index`, by log index.
    fn acknowledgements(&self, faults: &mut Vec<String>) -> BTreeMap<u64, u64> {
        let mut connections: BTreeMap<&str, Connection> = BTreeMap::new();
        let mut first = BTreeMap::new();
        for call in self.recording.calls.iter().filter(|call| Self::sends_from(call, self.peer)) {
            let sent = usize::try_from(call.result).unwrap_or(0);
            if sent > call.data.len() {
                faults
                    .push(format!("node {}: a reply was too long to be recorded: {} bytes", self.node, sent));
                continue;
            }
            let connection = connections.entry(&call.target).or_default();
            for message in connection.push(call.data.get(..sent).unwrap_or_default()) {
                if let Ok(AppendResponse { result: Some(append_response::Result::Success(success)) }) =
                    AppendResponse::decode(message.as_slice())
                    && let AppendSuccess { matched: Some(matched) } = success
                {
                    first.entry(matched.index).or_insert(call.start_us);
                }
            }
        }
        first
    }

    /// No thread that serves may have anything to do with the session store while writes are in flight: it may not
    /// even open, read or resize its files.
    fn check_threads(&self, from_us: u64, to_us: u64, report: &mut Report) {
        let serves = |call: &&Call| {
            SERVING.contains(&call.thread.as_str())
                || self.in_log(call)
                || Self::sends_from(call, self.client)
                || Self::sends_from(call, self.peer)
        };
        let serving: BTreeSet<u32> =
            self.recording.calls.iter().filter(serves).map(|call| call.tid).collect();
        let mut wrong = BTreeSet::new();
        for call in &self.recording.calls {
            if call.name == "sync_file_range" {
                report.sync_file_ranges += 1;
                report.faults.push(format!("node {}: sync_file_range on {}", self.node, call.target));
            }
            if !self.in_sessions(call) {
                continue;
            }
            report.session_writes += usize::from(call.is_write());
            report.session_syncs += usize::from(call.is_fdatasync());
            if call.end_us < from_us || call.start_us > to_us {
                continue;
            }
            if serving.contains(&call.tid) {
                wrong.insert((call.tid, &call.thread, &call.name));
            } else {
                report.session_calls_meanwhile += 1;
            }
        }
        for (tid, thread, name) in wrong {
            report.faults.push(format!(
                "node {}: thread {tid} ({thread}) serves, and calls {name} on the session store",
                self.node
            ));
        }
    }
}

/// Checks all `writes`, of which `leader` sent the replies.
#[must_use]
pub fn check(nodes: &[NodeTrace], leader: u64, writes: &[TracedWrite]) -> Report {
    let mut report = Report::default();
    let acknowledgements: Vec<_> =
        nodes.iter().map(|node| (node, node.acknowledgements(&mut report.faults))).collect();
    let (mut from_us, mut to_us) = (u64::MAX, 0);
    for (number, write) in writes.iter().enumerate() {
        let faults_before = report.faults.len();
        let reply = nodes.iter().filter(|node| node.node == leader).find_map(|node| {
            let mut calls = node.recording.calls.iter();
            calls.find(|call| NodeTrace::sends_from(call, node.client) && call.holds(&write.reply_mark))
        });
        let Some(reply) = reply else {
            report.faults.push(format!("write {number}: the leader's reply was not seen"));
            continue;
        };
        let begun = nodes.iter().filter_map(|node| node.safe(&write.mark).map(|safe| safe.written_us));
        from_us = begun.fold(from_us.min(reply.start_us), u64::min);
        to_us = to_us.max(reply.start_us);
        let (mut safe_before_reply, mut told_after_sync) = (0, 0);
        for (node, acknowledged) in &acknowledgements {
            let safe = node.safe(&write.mark);
            safe_before_reply +=
                usize::from(safe.as_ref().is_some_and(|safe| safe.synced_us <= reply.start_us));
            if node.node == leader {
                continue;
            }
            // The first reply that covers this index.
            let told = acknowledged.range(write.index..).map(|(_, at)| *at).min();
            match (safe, told) {
                (Some(safe), Some(told)) if safe.synced_us <= told => told_after_sync += 1,
                (_, Some(_)) => report.faults.push(format!(
                    "write {number}: node {} acknowledged index {} before its entry was synced",
                    node.node, write.index
                )),
                (_, None) => {}
            }
        }
        report.follower_replies += told_after_sync;
        if told_after_sync == 0 {
            report
                .faults
                .push(format!("write {number}: no follower was seen to acknowledge it after its own sync"));
        }
        let majority = nodes.len() / 2 + 1;
        if safe_before_reply < majority {
            report.faults.push(format!(
                "write {number}: replied to when {safe_before_reply} nodes had written and synced its entry, {majority} are needed"
            ));
        }
        report.proven += usize::from(report.faults.len() == faults_before);
    }
    for node in nodes {
        node.check_threads(from_us, to_us, &mut report);
    }
    report
}

#[cfg(test)]
#[path = "durability_tests.rs"]
mod tests;
