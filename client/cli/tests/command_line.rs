//! The binary from the outside: arguments, standard streams, exit codes. Against a fake node in this process; real
//! nodes are met in `quorate-tests`.

mod fake;
mod ran;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use fake::FakeNode;
use ran::run;

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

/// A session of `principal`; its id.
async fn created(at: &str, principal: &str) -> String {
    let created = run(at, &["session", "create", "--quiet", "cart=1", "--principal", principal], b"").await;
    assert_eq!(created.code, 0, "{}", created.stderr);
    created.text().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_touched_and_revoked() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let mut alices = Vec::new();
    for _ in 0..3 {
        alices.push(created(at, "alice").await);
    }
    let bob = created(at, "bob").await;

    let table = run(at, &["session", "ls"], b"").await;
    assert_eq!((table.code, table.text().lines().count()), (0, 5), "{}{}", table.text(), table.stderr);
    assert!(!alices.iter().any(|id| table.text().contains(id)), "an id is listed");
    let lines = run(at, &["session", "ls", "--principal", "alice", "--output", "json"], b"").await;
    let listed: Vec<serde_json::Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!((listed.len(), &listed[2]["principal"], &listed[2]["lock"]), (3, &"alice".into(), &().into()));
    let cut = run(at, &["session", "ls", "--limit", "1"], b"").await;
    assert_eq!((cut.text().lines().count(), cut.stderr.contains("more")), (2, true));

    let handle = listed[0]["handle"].as_str().expect("a handle");
    assert_eq!(run(at, &["session", "rm", "--handle", handle], b"").await.code, 0);
    assert_eq!(run(at, &["session", "rm", "--handle", handle], b"").await.code, 3);
    let ids = format!("{}\n{}\n", alices.join("\n"), bob);
    let touched = run(at, &["session", "touch", "-", "--output", "json"], ids.as_bytes()).await;
    assert_eq!(touched.code, 3, "one is not there");
    let report: serde_json::Value = serde_json::from_slice(&touched.stdout).expect("JSON");
    assert_eq!((&report["touched"], &report["missing"]), (&3.into(), &serde_json::json!([1])));
    assert_eq!(run(at, &["session", "touch", &alices[1], &alices[2]], b"").await.code, 0);

    let asked = run(at, &["session", "revoke", "alice"], b"").await;
    assert_eq!((asked.code, asked.stderr.contains("--yes")), (2, true), "nobody is there to be asked");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("id").display().to_string();
    std::fs::write(&file, &alices[2]).expect("written");
    let revoke = ["session", "revoke", "alice", "--except-id-file", &file, "--yes", "--output", "json"];
    assert_eq!(run(at, &revoke, b"").await.json()["sessions"], 1);
    assert!(node.session(&alices[2]).is_some() && node.session(&bob).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_taken_seen_renewed_given_back_and_broken() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let id = created(at, "alice").await;
    let lock = ["session", "lock", &id, "--owner", "host-7", "--lease", "5m", "--output", "json"];
    let locked = run(at, &lock, b"").await.json();
    let fence = locked["fence"].to_string();
    assert_eq!(locked["lease_ms"], 300_000);
    assert!(node.is_locked(&id), "it outlives the command");

    let again = run(at, &lock, b"").await;
    assert_eq!((again.code, again.error()["kind"].as_str()), (7, Some("locked")));
    assert!(again.error()["message"].as_str().is_some_and(|told| told.contains("held by host-7")));
    assert_eq!(run(at, &["session", "set", &id, "a=1"], b"").await.code, 7);
    let set = ["session", "set", &id, "a=1", "--fence", &fence];
    assert_eq!(run(at, &set, b"").await.code, 0);
    let got = run(at, &["session", "get", &id, "--output", "json"], b"").await.json();
    assert_eq!((&got["lock"]["owner"], &got["lock"]["waiting"]), (&"host-7".into(), &0.into()));
    assert!(run(at, &["session", "ls"], b"").await.text().contains("host-7"));
    assert_eq!(run(at, &["session", "lock", &id, "--renew", &fence], b"").await.code, 0);

    assert_eq!(run(at, &["session", "unlock", &id, "--fence", &fence], b"").await.code, 0);
    let late = run(at, &["session", "unlock", &id, "--fence", &fence, "--output", "json"], b"").await;
    assert_eq!((late.code, late.error()["kind"].as_str()), (8, Some("lock_lost")));
    let quiet = run(at, &["session", "lock", &id, "--quiet"], b"").await;
    assert!(quiet.text().trim().parse::<u64>().is_ok_and(|next| next.to_string() != fence));
    let handle = node.session(&id).expect("there").handle;
    assert_eq!(run(at, &["session", "unlock", "--break", "--handle", &handle], b"").await.code, 0);
    assert!(!node.is_locked(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_under_the_lock_and_ends_as_it_ends() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let id = created(at, "alice").await;
    let ran = run(at, &["session", "lock", &id, "--", "sh", "-c", "echo $QUORATE_FENCE; exit 42"], b"").await;
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (42, "1\n", ""));
    assert!(!node.is_locked(&id));
    // Longer than its lease.
    let ran = run(at, &["session", "lock", &id, "--lease", "1s", "--", "sleep", "2.5"], b"").await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let missing = run(at, &["session", "lock", &id, "--", "/nonexistent/program"], b"").await;
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("/nonexistent/program") && !node.is_locked(&id), "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lock_stops_the_command_and_is_told() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let id = created(at, "alice").await;
    let lock = ["session", "lock", &id, "--lease", "1s", "--output", "json", "--", "sleep", "60"];
    let taken = async {
        while !node.is_locked(&id) {
            tokio::task::yield_now().await;
        }
        node.free(&id);
    };
    let (ran, ()) = tokio::join!(run(at, &lock, b""), taken);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    assert_eq!(ran.error()["kind"], "lock_lost");
}

/// Nobody would answer that it was given back, or need to.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_known_to_be_lost_is_not_given_back() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let id = created(at, "alice").await;
    let lock = ["session", "lock", &id, "--lease", "1s", "--output", "json", "--", "sleep", "60"];
    let taken = async {
        while !node.is_locked(&id) {
            tokio::task::yield_now().await;
        }
        node.lose_leader();
    };
    let (ran, ()) = tokio::join!(run(at, &lock, b""), taken);
    assert_eq!((ran.code, ran.error()["kind"].as_str()), (8, Some("lock_lost")), "{}", ran.stderr);
    assert_eq!(node.unlocks(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_events_and_the_cursor_to_go_on_from() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let watch = ["session", "watch", "--limit", "3", "--with-attributes", "--output", "json"];
    let watched = run(at, &watch, b"").await;
    assert_eq!(watched.code, 0, "{}", watched.stderr);
    let events: Vec<serde_json::Value> =
        watched.text().lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!((events.len(), &events[0]["kind"], &events[0]["reason"]), (3, &"updated".into(), &().into()));
    assert_eq!((&events[2]["kind"], &events[2]["reason"]), (&"expired".into(), &"idle_timeout".into()));
    assert_eq!(events[2]["attributes"]["cart"]["text"], "3 apples");
    let told: serde_json::Value = serde_json::from_str(&watched.stderr).expect("the cursor");
    assert_eq!(told["cursor"], events[2]["cursor"]);

    let after = events[1]["cursor"].as_str().expect("a cursor");
    let table = run(at, &["session", "watch", "--limit", "1", "--after", after], b"").await;
    let lines: Vec<&str> = table.text().lines().collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("TIME") && lines[1].contains("idle timeout"),
        "{lines:?}"
    );
    assert!(!table.text().contains("apples") && table.stderr.starts_with("cursor: "), "{}", table.stderr);
    let gone = run(at, &["session", "watch", "--after", "00000000000000c1-7", "--output", "json"], b"").await;
    assert_eq!((gone.code, gone.error()["kind"].as_str()), (9, Some("out_of_range")));
    assert_eq!(gone.error()["oldest_index"], 100);
    assert!(gone.error()["message"].as_str().is_some_and(|told| told.contains("index 100")));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_watch_ends_cleanly_with_its_cursor() {
    let node = FakeNode::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(["session", "watch"]).env_clear().env("QUORATE_ENDPOINTS", node.address());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        // The header and three events.
        for _ in 0..4 {
            lines.read_line(&mut String::new()).expect("a line");
        }
        let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(interrupt.expect("kill is there").success());
        child.wait_with_output().expect("the binary ends")
    });
    let output = ended.await.expect("no panic");
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), told.as_str()), (Some(0), "cursor: 00000000000000c1-103.0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_created_shown_changed_and_deleted() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let create = ["ns", "create", "shop", "--default-idle", "30m", "--bytes-max", "4GiB", "--output", "json"];
    assert_eq!(run(at, &create, b"").await.json()["created"], true);
    assert_eq!(run(at, &create, b"").await.code, 4);
    let shown = run(at, &["ns", "show", "shop", "--output", "json"], b"").await.json();
    assert_eq!(shown["policy"]["default_idle_ms"], 1_800_000);
    assert_eq!((&shown["policy"]["sessions_max"], &shown["counters"]["live"]), (&().into(), &0.into()));
    let table = run(at, &["ns", "show", "shop"], b"").await;
    assert!(table.text().contains("4 GiB") && table.text().contains("30m"), "{}", table.text());
    assert_eq!(run(at, &["ns", "set", "shop"], b"").await.code, 2, "nothing to change");
    assert_eq!(run(at, &["ns", "set", "none", "--events-max", "0"], b"").await.code, 3);
    assert_eq!(run(at, &["ns", "set", "shop", "--sessions-max", "9"], b"").await.code, 0);
    let all = run(at, &["ns", "ls", "--output", "json"], b"").await.json();
    assert_eq!(all["namespaces"][0]["policy"]["sessions_max"], 9);
    assert_eq!(run(at, &["ns", "ls"], b"").await.text().lines().count(), 2);
    assert_eq!(run(at, &["ns", "rm", "shop"], b"").await.code, 2, "nobody is there to be asked");
    assert_eq!(run(at, &["ns", "rm", "shop", "--yes"], b"").await.code, 0);
    assert_eq!(run(at, &["ns", "rm", "shop", "--yes"], b"").await.code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unavailable_and_nothing_happened() {
    let nobody = nobody();
    let create = ["session", "create", "user=alice", "--deadline", "300ms", "--output", "json"];
    let created = run(&nobody, &create, b"").await;
    assert_eq!(created.code, 5, "{}", created.stderr);
    assert_eq!(created.error()["retryable"], true);
    assert_eq!(created.error()["maybe_applied"], false);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("id");
    let save = ["session", "create", "user=alice", "--deadline", "300ms", "--save-id"];
    let saved = run(&nobody, &[&save[..], &[&file.display().to_string()]].concat(), b"").await;
    assert_eq!((saved.code, file.exists()), (5, false), "an empty file is left");
    let asked = run(&nobody, &["session", "revoke", "alice", "--deadline", "300ms"], b"").await;
    assert_eq!(asked.code, 5, "it asks about a number that nobody knows: {}", asked.stderr);
    let status = run(&nobody, &["cluster", "status", "--deadline", "300ms"], b"").await;
    assert_eq!(status.code, 5);
    assert!(status.text().contains(&nobody) && status.text().contains("unreachable"), "{}", status.text());
}

/// Of a change it is told that it may have been made.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_cannot_be_shown_has_changed_nothing() {
    let node = FakeNode::start().await;
    let id = created(&node.address(), "alice").await;
    for (arguments, changed) in [
        (["session", "get", &id], false),
        (["cluster", "status", "--digest"], false),
        (["session", "touch", &id], true),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(arguments).args(["--output", "json"]).env_clear();
        command.env("QUORATE_ENDPOINTS", node.address()).stdin(Stdio::null());
        // Nothing can be written to it.
        command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there"));
        let ended = tokio::task::spawn_blocking(move || command.stderr(Stdio::piped()).output());
        let output = ended.await.expect("no panic").expect("the binary runs");
        let told: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
        let error = &told["error"];
        assert_eq!(
            (&error["kind"], &error["maybe_applied"]),
            (&"write".into(), &changed.into()),
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_anything_is_sent() {
    let node = FakeNode::start().await;
    let at = &node.address();
    let secure = format!("https://{at}");
    for (endpoint, arguments, told) in [
        (&secure, &["session", "ls"][..], "TLS is not supported yet"),
        (&"127.0.0.1".to_owned(), &["session", "ls"], "host:port"),
        (at, &["session", "create", "--save-id", "-"], "--save-id takes a file"),
    ] {
        let refused = run(endpoint, arguments, b"").await;
        assert!(refused.code == 2 && refused.stderr.contains(told), "{}: {}", refused.code, refused.stderr);
    }
    let missing = "a".repeat(43);
    let touched = run(at, &["session", "touch", &missing, &"b".repeat(43), "--output", "json"], b"").await;
    assert_eq!((touched.code, &touched.error()["maybe_applied"]), (3, &false.into()));
    let folder =
        run(at, &["session", "create", "--save-id", "/nonexistent/id", "--output", "json"], b"").await;
    assert_eq!((folder.code, &folder.error()["maybe_applied"]), (1, &false.into()), "{}", folder.stderr);
    let long = run(at, &["cluster", "status", "--digest", "--deadline", "500000000000y"], b"").await;
    assert_eq!(long.code, 0, "{}", long.stderr);
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

const BENCH_OF_LOCKS: [&str; 7] = ["bench", "--workload", "lock", "--callers", "4", "--output", "json"];

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_of_locks_notices_two_holders() {
    let node = FakeNode::start().await;
    node.give_locks_to_all();
    let ran = run(&node.address(), &BENCH_OF_LOCKS, b"").await;
    assert_eq!((ran.code, ran.stdout.len()), (1, 0), "{}", ran.stderr);
    let error = ran.error();
    assert_eq!(error["kind"], "lock_disorder");
    assert!(
        error["message"].as_str().is_some_and(|told| told.contains("while token 1 held the lock")),
        "{error}"
    );
    assert_eq!(node.sessions(), 0, "its session is left behind");
}

/// The fake has no line to stand in.
#[tokio::test(flavor = "multi_thread")]
async fn a_bench_of_locks_ends_with_the_first_call_that_fails() {
    let node = FakeNode::start().await;
    let ran = run(&node.address(), &BENCH_OF_LOCKS, b"").await;
    assert_eq!((ran.code, ran.stdout.len()), (7, 0), "{}", ran.stderr);
    assert_eq!(ran.error()["kind"], "locked");
    assert_eq!(node.sessions(), 0, "its session is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_of_locks_takes_as_many_callers_as_there_are_places() {
    for callers in ["1", "1026"] {
        let ran = run(&nobody(), &["bench", "--workload", "lock", "--callers", callers], b"").await;
        assert_eq!(ran.code, 2, "{}", ran.stderr);
    }
}
