use std::net::Ipv4Addr;

use quorate_proto::peer::v1::LogId;

use super::*;

fn call(tid: u32, name: &str, start_us: u64, target: &str, data: &[u8]) -> Call {
    let result = if name.contains("sync") { 0 } else { i64::try_from(data.len()).unwrap() };
    let target = target.to_owned();
    let thread = ["quorate-log", "quorated", "quorate-sled"].get(tid as usize - 1).copied().unwrap_or("io");
    Call {
        tid,
        thread: thread.to_owned(),
        name: name.to_owned(),
        start_us,
        end_us: start_us + 5,
        target,
        data: data.to_vec(),
        cut: false,
        result,
    }
}

fn client(node: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7100 + u16::from(node))
}

fn peer(node: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7200 + u16::from(node))
}

/// An append's answer, as it stands on the wire.
fn told(index: u64) -> Vec<u8> {
    let matched = Some(LogId { term: 1, node: 1, index });
    let result = Some(append_response::Result::Success(AppendSuccess { matched }));
    let message = AppendResponse { result }.encode_to_vec();
    let length = u8::try_from(message.len()).unwrap();
    let mut wire = vec![0, 0, length + 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, length];
    wire.extend(message);
    wire
}

/// Entry 9 on three nodes: the log on thread 1, replies on thread 2, the session store on thread 3.
fn sound() -> Vec<NodeTrace> {
    (1..=3)
        .map(|node: u8| {
            let data_dir = PathBuf::from(format!("/n{node}"));
            let log = format!("/n{node}/log/1.raftlog");
            let sessions = format!("/n{node}/sessions/state-1/db");
            let mut calls = vec![
                call(1, "pwrite64", 100, &log, b"...MARK-9..."),
                call(3, "pwrite64", 108, &sessions, b"MARK-9"),
                call(1, "fdatasync", 110, &log, b""),
                call(3, "fdatasync", 160, &sessions, b""),
            ];
            if node == 1 {
                let socket = format!("TCP:[{}->127.0.0.1:5000]", client(1));
                calls.push(call(2, "writev", 200, &socket, b"..ID-9.."));
            } else {
                let socket = format!("TCP:[{}->127.0.0.1:6000]", peer(node));
                calls.push(call(2, "sendto", 120, &socket, &told(9)));
            }
            let recording = Recording { calls };
            NodeTrace { node: node.into(), data_dir, client: client(node), peer: peer(node), recording }
        })
        .collect()
}

fn checked(nodes: &[NodeTrace]) -> Report {
    let write = TracedWrite { mark: b"MARK-9".to_vec(), reply_mark: b"ID-9".to_vec(), index: 9 };
    check(nodes, 1, &[write])
}

fn shift(nodes: &mut [NodeTrace], node: usize, name: &str, start_us: u64) {
    let calls = &mut nodes[node].recording.calls;
    let call = calls.iter_mut().find(|call| call.name == name).unwrap();
    (call.start_us, call.end_us) = (start_us, start_us + 5);
}

#[test]
fn a_sound_trace_is_proven() {
    let report = checked(&sound());
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(
        (report.proven, report.follower_replies, report.session_writes, report.session_syncs),
        (1, 2, 3, 3)
    );
}

#[test]
fn a_reply_before_a_majority_synced_is_found() {
    let mut nodes = sound();
    shift(&mut nodes, 0, "fdatasync", 300);
    assert_eq!(checked(&nodes).faults.len(), 0, "two followers are a majority without the leader");
    nodes[1].recording.calls.retain(|call| call.name != "sendto");
    shift(&mut nodes, 1, "fdatasync", 300);
    let faults = checked(&nodes).faults;
    assert!(faults.len() == 1 && faults[0].contains("when 1 nodes"), "{faults:?}");
}

#[test]
fn a_follower_that_acknowledges_before_its_sync_is_found() {
    let mut nodes = sound();
    shift(&mut nodes, 2, "sendto", 112);
    let faults = checked(&nodes).faults;
    assert!(faults.len() == 1 && faults[0].contains("node 3 acknowledged index 9"), "{faults:?}");
}

#[test]
fn a_sync_of_another_file_or_a_failed_one_does_not_count() {
    for spoil in [
        |call: &mut Call| call.target = "/n2/log/2.raftlog".into(),
        |call: &mut Call| call.result = -1,
        |call: &mut Call| call.name = "fsync".into(),
    ] {
        let mut nodes = sound();
        let calls = &mut nodes[1].recording.calls;
        spoil(calls.iter_mut().find(|call| call.name == "fdatasync").unwrap());
        assert!(checked(&nodes).faults.iter().any(|fault| fault.contains("node 2 acknowledged")));
    }
}

#[test]
fn a_write_that_no_follower_was_seen_to_acknowledge_is_found() {
    let mut nodes = sound();
    for node in &mut nodes {
        node.recording.calls.retain(|call| call.name != "sendto");
    }
    let report = checked(&nodes);
    assert_eq!(report.proven, 0);
    assert!(report.faults.len() == 1 && report.faults[0].contains("no follower"), "{:?}", report.faults);
}

#[test]
fn a_serving_thread_on_the_session_store_is_found() {
    // Within the window of the writes, from the entry's write to the reply.
    for (tid, name, start_us) in [
        (2, "pwrite64", 198),
        (2, "openat", 101),
        (1, "pread64", 150),
        (2, "ftruncate", 150),
        (1, "fallocate", 150),
        (2, "unlink", 150),
    ] {
        let mut nodes = sound();
        nodes[0].recording.calls.push(call(tid, name, start_us, "/n1/sessions/state-1/db", b""));
        let faults = checked(&nodes).faults;
        assert!(faults.len() == 1 && faults[0].contains(&format!("thread {tid}")), "{name}: {faults:?}");
    }
}

#[test]
fn a_thread_of_the_runtime_serves_by_its_name_alone() {
    let mut nodes = sound();
    let mut read = call(9, "pread64", 150, "/n1/sessions/state-1/db", b"");
    nodes[0].recording.calls.push(read.clone());
    assert_eq!(checked(&nodes).faults.len(), 0, "some thread of the session store");
    read.thread = "quorated".to_owned();
    nodes[0].recording.calls.push(read);
    assert!(checked(&nodes).faults.iter().any(|fault| fault.contains("thread 9 (quorated)")));
}

#[test]
fn a_serving_thread_on_the_session_store_before_the_writes_is_no_fault() {
    let mut nodes = sound();
    nodes[0].recording.calls.insert(0, call(2, "openat", 10, "/n1/sessions/state-1/db", b""));
    assert_eq!(checked(&nodes).faults, Vec::<String>::new());
}

#[test]
fn sync_file_range_is_found() {
    let mut nodes = sound();
    nodes[2].recording.calls.push(call(3, "sync_file_range", 10, "/n3/sessions/state-1/db", b""));
    let report = checked(&nodes);
    assert_eq!(report.sync_file_ranges, 1);
    assert!(report.faults.iter().any(|fault| fault.contains("sync_file_range")));
}

#[test]
fn a_missing_reply_is_no_proof() {
    let mut nodes = sound();
    nodes[0].recording.calls.retain(|call| call.name != "writev");
    let report = checked(&nodes);
    assert_eq!((report.proven, report.faults.len()), (0, 1));
}
