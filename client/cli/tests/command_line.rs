//! The binary from the outside: arguments, standard streams, exit codes. Against a fake node in this process; real
//! nodes are met in `quorate-tests`.

mod fake;

use std::io::Write;
use std::process::{Command, Stdio};

use fake::FakeNode;

/// How a run of the binary ended.
struct Ran {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_slice(&self.stdout).expect("JSON on standard output")
    }

    fn error(&self) -> serde_json::Value {
        assert_eq!(self.stderr.lines().count(), 1, "more than one line: {}", self.stderr);
        let object: serde_json::Value = serde_json::from_str(&self.stderr).expect("JSON on standard error");
        object.get("error").expect("the documented shape").clone()
    }
}

/// Runs `quorate` with these arguments and this standard input, against `endpoint`.
async fn run(endpoint: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(arguments).env_clear().env("QUORATE_ENDPOINTS", endpoint);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let stdin = stdin.to_vec();
    let finished = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("the binary starts");
        // Who is not interested in standard input may be gone before it is written.
        let _ = child.stdin.take().expect("piped").write_all(&stdin);
        child.wait_with_output().expect("the binary ends")
    });
    let output = finished.await.expect("no panic");
    let stderr = String::from_utf8(output.stderr).expect("text");
    Ran { code: output.status.code().expect("no signal"), stdout: output.stdout, stderr }
}

/// An endpoint where nobody listens: the port was free a moment ago and is not handed out again at once.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_and_dies() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("id").display().to_string();
    let cart = folder.path().join("cart").display().to_string();
    std::fs::write(&cart, [0xff, 0x00]).expect("written");

    let created =
        run(at, &["session", "create", "user=alice", &format!("cart=@{cart}"), "--save-id", &file], b"")
            .await;
    assert_eq!(created.code, 0, "{}", created.stderr);
    let id = std::fs::read_to_string(&file).expect("saved").trim().to_owned();
    assert!(!created.text().contains(&id), "a saved id is not printed");

    let got = run(at, &["session", "get", "--id-file", &file, "--output", "json"], b"").await.json();
    assert_eq!(got["attributes"]["user"]["text"], "alice");
    assert_eq!(got["attributes"]["cart"]["hex"], "ff00");
    assert_eq!(got["version"], 1);
    let raw = run(at, &["session", "get", "-", "--raw", "cart"], id.as_bytes()).await;
    assert_eq!((raw.code, raw.stdout), (0, vec![0xff, 0x00]));

    let patch =
        ["session", "patch", "--id-file", &file, "seen=@-", "--remove", "cart", "--principal", "alice"];
    assert_eq!(run(at, &patch, b"today").await.code, 0);
    let session = node.session(&id).expect("there");
    let names: Vec<&String> = session.attributes.keys().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!((session.principal.as_str(), session.version), ("alice", 2));

    let set = run(at, &["session", "set", "--id-file", &file, "only=this", "--if-version", "2"], b"").await;
    assert_eq!(set.code, 0, "{}", set.stderr);
    assert_eq!(node.session(&id).expect("there").attributes.len(), 1);

    let touched = run(at, &["session", "touch", "--id-file", &file, "--output", "json"], b"").await.json();
    assert_eq!(touched["remaining_ms"], 1_200_000);

    let new = run(at, &["session", "regenerate", "--id-file", &file, "--quiet"], b"").await;
    let new = new.text().trim().to_owned();
    assert!(node.session(&id).is_none() && node.session(&new).is_some());
    assert_eq!(run(at, &["session", "rm", "-"], new.as_bytes()).await.code, 0);
    assert!(node.session(&new).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_what_happened() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let id = "a".repeat(43);
    let json = ["--output", "json"];

    let missing = run(at, &[&["session", "get", &id], &json[..]].concat(), b"").await;
    assert_eq!((missing.code, missing.error()["kind"].as_str()), (3, Some("not_found")));
    assert_eq!(missing.error()["maybe_applied"], false);
    assert!(!missing.stderr.contains(&id), "an id is in an error");

    assert_eq!(run(at, &["session", "create", "--id", &id, "user=a"], b"").await.code, 0);
    let twice = run(at, &["session", "create", "--id", &id, "user=b"], b"").await;
    assert_eq!(twice.code, 4, "{}", twice.stderr);
    let stale =
        run(at, &[&["session", "set", &id, "a=1", "--if-version", "9"], &json[..]].concat(), b"").await;
    assert_eq!((stale.code, stale.error()["reason"].as_str()), (4, Some("VERSION_CONFLICT")));
    assert_eq!(run(at, &["session", "get", &id, "--raw", "nothing"], b"").await.code, 3);

    assert_eq!(run(at, &["session", "set", &id], b"").await.code, 2, "set of nothing");
    assert_eq!(run(at, &["session", "patch", &id], b"").await.code, 2, "patch of nothing");
    assert_eq!(run(at, &["session", "frobnicate"], b"").await.code, 2);
    let usage = run(at, &[&["session", "rm"], &json[..]].concat(), b"").await;
    assert_eq!((usage.code, usage.error()["kind"].as_str()), (2, Some("usage")));
    assert_eq!(node.session(&id).expect("there").version, 1, "a refused command changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_id_is_told_when_the_outcome_is_unknown() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("id").display().to_string();
    let read = |path: &str| std::fs::read_to_string(path).expect("saved").trim().to_owned();

    node.lose_answer();
    let created = run(at, &["session", "create", "user=alice", "--quiet"], b"").await;
    assert_eq!(created.code, 6, "{}", created.stderr);
    let first = created.text().trim().to_owned();
    assert!(node.session(&first).is_some() && !created.stderr.contains(&first), "{}", created.stderr);
    node.lose_answer();
    let created = run(at, &["session", "create", "user=alice", "--save-id", &file], b"").await;
    assert_eq!((created.code, created.text()), (6, ""), "{}", created.stderr);
    let old = read(&file);
    assert!(node.session(&old).is_some() && created.stderr.contains(&file), "{}", created.stderr);

    node.lose_answer();
    let regenerate = ["session", "regenerate", "--id-file", &file, "--save-id", &file, "--output", "json"];
    let renewed = run(at, &regenerate, b"").await;
    assert_eq!((renewed.code, renewed.text()), (6, ""), "{}", renewed.stderr);
    let error = renewed.error();
    assert_eq!((&error["kind"], &error["maybe_applied"]), (&"outcome_unknown".into(), &true.into()));
    assert!(error["message"].as_str().is_some_and(|told| told.contains("either id may be the live one")));
    assert_eq!(read(&file), old, "the old id may be the live one");
    let new = read(&format!("{file}.new"));
    assert!(node.session(&new).is_some() && !renewed.stderr.contains(&new), "{}", renewed.stderr);

    node.lose_answer();
    let renewed = run(at, &["session", "regenerate", "-", "--output", "json"], new.as_bytes()).await;
    assert_eq!(renewed.code, 6, "{}", renewed.stderr);
    let told: serde_json::Value = serde_json::from_slice(&renewed.stdout).expect("JSON on standard output");
    assert!(node.session(told["id"].as_str().expect("the new id")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unavailable_and_nothing_happened() {
    let nobody = nobody();
    let create = ["session", "create", "user=alice", "--deadline", "300ms", "--output", "json"];
    let created = run(&nobody, &create, b"").await;
    assert_eq!(created.code, 5, "{}", created.stderr);
    assert_eq!(created.error()["retryable"], true);
    assert_eq!(created.error()["maybe_applied"], false);
    let status = run(&nobody, &["cluster", "status", "--deadline", "300ms"], b"").await;
    assert_eq!(status.code, 5);
    assert!(status.text().contains(&nobody) && status.text().contains("unreachable"), "{}", status.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_node_and_needs_a_leader() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let status = run(at, &["cluster", "status", "--digest", "--output", "json"], b"").await.json();
    assert_eq!((&status["leader"], &status["quorum"]), (&1.into(), &true.into()));
    assert_eq!(status["nodes"][0]["role"], "leader");
    assert_eq!(status["digest"]["result"], "equal");
    node.abdicate();
    let status = run(at, &["cluster", "status"], b"").await;
    assert_eq!(status.code, 5);
    assert!(status.stderr.starts_with("error: no leader"), "{}", status.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_measures_each_workload() {
    let node = FakeNode::start().await;
    let at = &node.address();
    for workload in ["create", "write", "read"] {
        let bench = ["bench", "--workload", workload, "--callers", "4", "--seconds", "1", "--sessions", "50"];
        let bench = [&bench[..], &["--warmup", "50ms", "--connections", "2", "--output", "json"]].concat();
        let report = run(at, &bench, b"").await.json();
        assert!(report["operations"].as_u64().is_some_and(|operations| operations > 10), "{report}");
        assert_eq!(report["errors"], 0);
        assert!(report["latency_ms"]["p99"].as_f64().is_some_and(|p99| p99 > 0.0), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_with_errors_fails_and_counts_them() {
    let node = FakeNode::start().await;
    let at = &node.address();
    node.forget();
    let bench = ["bench", "--workload", "read", "--callers", "2", "--seconds", "1", "--sessions", "1"];
    let ran = run(at, &[&bench[..], &["--warmup", "0s", "--output", "json"]].concat(), b"").await;
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert!(report["errors_by_kind"]["not_found"].as_u64().is_some_and(|errors| errors > 0), "{report}");
    assert_eq!(ran.error()["kind"], "bench_errors");
}
