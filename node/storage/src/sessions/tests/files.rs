//! What sled does with its files: no blobs, real syncs, bounded growth.

use std::process::Command;

use crate::sessions::StateStore as _;
use crate::sessions::tests::base::{Disk, fresh};

/// Set for a test that runs as a child of another: the directory to work in.
const CHILD_DIR: &str = "QUORATE_TEST_CHILD_DIR";

#[test]
fn no_value_becomes_a_blob() {
    let (dir, mut disk, mut replica) = fresh(41);
    for round in 0..12_u64 {
        for number in 0..40 {
            let length = (number * 7_919 + round * 104_729) % 200_000;
            replica.put(number, &vec![u8::try_from(round).unwrap(); usize::try_from(length).unwrap()]);
        }
        disk.write(replica.cut());
    }
    let blobs = dir.path().join("sessions/state-1/blobs");
    assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 0);
    disk.store.install(replica.position(), replica.state.freeze()).unwrap();
    let blobs = dir.path().join("sessions/state-2/blobs");
    assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 0);
}

#[test]
fn the_file_does_not_grow_without_end() {
    const SESSIONS: u64 = 5_000;
    /// 100,000 updates. (200,000 made the same file, only later.)
    const CUTS: u64 = 20;
    let (dir, mut disk, mut replica) = fresh(42);
    let mut most = 0;
    for cut in 0..CUTS {
        for number in 0..SESSIONS {
            replica.put(number, &[u8::try_from(cut).unwrap(); 500]);
        }
        disk.write(replica.cut());
        most = most.max(std::fs::metadata(dir.path().join("sessions/state-1/db")).unwrap().len());
    }
    let live = SESSIONS * 600;
    println!("{} updates: sled's file took at most {most} bytes for {live} live ones", SESSIONS * CUTS);
    // 60 MB were written for 3 MB that live.
    assert!(most < live * 16 + (32 << 20), "{most}");
}

#[test]
#[ignore = "a child of the tests below"]
fn child_writes() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (mut disk, loaded) = Disk::open(dir.as_ref()).unwrap();
    assert!(loaded.is_none());
    let mut replica = crate::sessions::tests::base::Replica::new(43);
    for _ in 0..10 {
        replica.steps(300, 30);
        disk.write(replica.cut());
    }
}

/// Runs a test of this file in a child process, by way of `program`.
fn child(program: &[&str], test: &str, dir: &std::path::Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(this).args([
        "--ignored",
        "--exact",
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    command.arg(format!("sessions::tests::files::{test}")).env(CHILD_DIR, dir);
    command
}

#[test]
fn sled_syncs_by_fdatasync_alone() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("1 test left out: strace is not installed");
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let trace = dir.path().join("trace");
    let strace =
        ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,sync_file_range", "-o", trace.to_str().unwrap()];
    let output = child(&strace, "child_writes", &dir.path().join("node")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let synced =
        trace.lines().filter(|line| line.contains("fdatasync(") && line.contains("state-1/db>")).count();
    assert!(synced >= 20, "a flush and a sync of our own for each of 10 cuts, but {synced} syncs");
    assert!(!trace.contains("sync_file_range"), "sled still calls the C library's sync_file_range");
}

#[test]
#[ignore = "a child of the test below"]
fn child_runs_out_of_space() {
    use std::sync::Arc;
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (disk, _) = Disk::open(dir.as_ref()).unwrap();
    let on_fatal: crate::OnFatal = Arc::new(|error| {
        println!("fatal: {error}");
        std::process::exit(70);
    });
    let Disk { store, .. } = disk;
    let write_behind = crate::WriteBehind::start_with(store, Box::new(|_| {}), on_fatal);
    let mut replica = crate::sessions::tests::base::Replica::new(44);
    for round in 0..1_000_u64 {
        for number in 0..50 {
            replica.put(round * 50 + number, &[7; 10_000]);
        }
        write_behind.submit(replica.cut());
    }
    write_behind.close();
    println!("nothing failed");
}

#[test]
fn a_failing_write_ends_the_process() {
    let dir = tempfile::TempDir::new().unwrap();
    // A file may have 8 MiB: what comes after fails as on a full disk.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 16384; exec \"$@\"", "sh"];
    let started = std::time::Instant::now();
    let output = child(&limited, "child_runs_out_of_space", &dir.path().join("node")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(70), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("fatal: cannot") && text.contains("File too large"), "{text}");
    println!("the process ended {:?} after it started", started.elapsed());
}
