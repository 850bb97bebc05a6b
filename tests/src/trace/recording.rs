//! A file of strace's output.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::line::{Begin, End, Line, parse};
use crate::error::HarnessError;

/// Everything that names a file, reads, writes, resizes or syncs one, and everything that writes to sockets.
const CALLS: &str = "%file,read,pread64,readv,preadv,preadv2,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,\
    sendmmsg,ftruncate,fallocate,fdatasync,fsync,sync_file_range,sync,syncfs,msync";
/// More than one reply, and more than the head of a log write in which the mark stands.
const STRING_BYTES_MAX: &str = "4096";

/// strace and its arguments, to be put in front of a program. strace runs beside it (`-D`): the started process is the
/// program itself.
#[must_use]
pub fn strace_arguments(output: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-ttt",
        "-T",
        "-Y",
        "-yy",
        "-xx",
        "-e",
        "signal=none",
        "-s",
        STRING_BYTES_MAX,
    ]
    .map(Into::into)
    .into();
    arguments.extend(["-e".into(), format!("trace={CALLS}").into(), "-o".into(), output.into()]);
    arguments.push("--".into());
    arguments
}

/// One call, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub thread: String,
    /// The system call.
    pub name: String,
    /// When it began, microseconds since 1970.
    pub start_us: u64,
    /// When it ended.
    pub end_us: u64,
    /// What it is about: a path, or `TCP:[from->to]`.
    pub target: String,
    /// What it wrote or read, as far as recorded.
    pub data: Vec<u8>,
    /// Whether some of that was not recorded.
    pub cut: bool,
    /// What it returned.
    pub result: i64,
}

impl Call {
    fn new(begin: Begin, end: &End) -> Call {
        let Begin { tid, thread, start_us, name, target, data, cut } = begin;
        // How long it lasted is exact; the stamp of a line that tells an end may be late.
        let end_us = end.lasted_us.map_or(end.end_us, |lasted| start_us + lasted);
        Call { tid, thread, name, start_us, end_us, target, data, cut, result: end.result }
    }

    /// Whether it made the content of what it names durable: an `fdatasync` that succeeded, and nothing else.
    #[must_use]
    pub fn is_fdatasync(&self) -> bool {
        self.name == "fdatasync" && self.result == 0
    }

    /// Whether it writes what it names.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self.name.as_str(),
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendto" | "sendmsg" | "sendmmsg"
        )
    }

    /// Whether `mark` stands in what it wrote.
    #[must_use]
    pub fn holds(&self, mark: &[u8]) -> bool {
        !mark.is_empty() && self.data.windows(mark.len()).any(|window| window == mark)
    }
}

/// All calls of one process, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// See [`Call`].
    pub calls: Vec<Call>,
}

impl Recording {
    /// Reads what strace wrote.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Recording, HarnessError> {
        let file = File::open(path).map_err(HarnessError::io("open", path))?;
        let mut recording = Recording::default();
        let mut open: HashMap<u32, Begin> = HashMap::new();
        for line in BufReader::new(file).lines() {
            match parse(&line.map_err(HarnessError::io("read", path))?) {
                Some(Line::Whole(begin, end)) => recording.calls.push(Call::new(begin, &end)),
                Some(Line::Begin(begin)) => {
                    open.insert(begin.tid, begin);
                }
                Some(Line::End(end)) => {
                    recording.calls.extend(open.remove(&end.tid).map(|begin| Call::new(begin, &end)));
                }
                None => {}
            }
        }
        recording.calls.sort_by_key(|call| call.start_us);
        Ok(recording)
    }
}
