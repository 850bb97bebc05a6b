use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_flags(flags: &[(&'static str, &str)]) -> Result<Loaded, ConfigError> {
    load(flags.iter().map(|(name, value)| (*name, (*value).to_owned())), [], None)
}

/// A TOML file that lives as long as the test.
fn toml_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn nothing_given_is_the_default() {
    let loaded = load([], [], None).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.warnings.is_empty() && loaded.sources.is_empty());
}

/// The defaults that `--help` prints, parsed, are the ones the code uses.
#[test]
fn the_table_prints_the_real_defaults() {
    let in_words = ["advertise-client", "advertise-peer", "advertise-admin", "members"];
    let printed = KEYS.iter().filter(|key| !in_words.contains(&key.name));
    let loaded = load(printed.map(|key| (key.name, key.default.to_owned())), [], None).unwrap();
    assert_eq!(loaded.settings, Settings::default());
}

#[test]
fn each_example_is_accepted() {
    for key in KEYS {
        let mut flags = vec![(key.name, key.example)];
        if key.name.ends_with("listen") {
            flags.push(("insecure", "true"));
            flags.push(("advertise-peer", "node-1:7201"));
        }
        load_flags(&flags).unwrap_or_else(|error| panic!("{}: {error}", key.name));
    }
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let file = toml_file(
        "node_id = 3\ncluster_name = \"file\"\ntiming = \"wan\"\nmembers = \"1=a:1,2=b:1,3=c:1\"\n",
    );
    let environment =
        env(&[("QUORATED_NODE_ID", "2"), ("QUORATED_CLUSTER_NAME", "environment"), ("PATH", "/bin")]);
    let flags = [("node-id", "1".to_owned())];
    let loaded = load(flags, environment, Some(file.path().to_owned())).unwrap();
    assert_eq!(loaded.settings.node_id, 1);
    assert_eq!(loaded.settings.cluster_name, "environment");
    assert_eq!(loaded.settings.timing, Timing::Wan);
    assert_eq!(loaded.settings.read_mode, ReadMode::Lease);
    assert_eq!(loaded.sources.get("node-id").unwrap().to_string(), "flag --node-id");
    assert_eq!(
        loaded.sources.get("cluster-name").unwrap().to_string(),
        "environment variable QUORATED_CLUSTER_NAME"
    );
    assert!(loaded.sources.get("timing").unwrap().to_string().ends_with(":3"));
}

#[test]
fn the_environment_may_name_the_file() {
    let file = toml_file("cluster_name = \"named\"\n");
    let environment = env(&[("QUORATED_CONFIG", file.path().to_str().unwrap())]);
    assert_eq!(load([], environment, None).unwrap().settings.cluster_name, "named");
}

#[test]
fn empty_variables_are_unset_and_unknown_ones_are_told() {
    let loaded = load([], env(&[("QUORATED_NODE_ID", ""), ("QUORATED_NODEID", "7")]), None).unwrap();
    assert_eq!(loaded.settings.node_id, 1);
    assert!(matches!(loaded.warnings.as_slice(), [warning] if warning.contains("QUORATED_NODEID")));
}

/// Every key refuses a bad value, and says key, value, source and what is allowed.
#[test]
fn bad_values_are_refused_by_key_value_source_and_range() {
    let table: &[(&str, &[&str])] = &[
        ("node-id", &["0", "-1", "one", "1.5", "18446744073709551616"]),
        ("cluster-name", &["", "a b", "ä", "x/y"]),
        ("data-dir", &[""]),
        ("client-listen", &["7101", "localhost:7101", "127.0.0.1", "127.0.0.1:65536"]),
        ("peer-listen", &["nowhere"]),
        ("admin-listen", &["nowhere"]),
        ("advertise-client", &["host", "host:0", "http://host:1", ""]),
        ("advertise-peer", &["host:x"]),
        ("advertise-admin", &["host"]),
        ("members", &["", "1", "1=host", "0=host:1", "1=a:1,1=b:1", "1=a:1,2=a:1", "x=a:1", "1=a:1 2=b:1"]),
        ("timing", &["fast", "LAN"]),
        ("read-mode", &["stale"]),
        ("insecure", &["yes", "1"]),
        ("log-format", &["xml"]),
        ("log-level", &["", "loud", "quorate=loud"]),
        ("log-budget-bytes", &["0", "1MiB", "2000GiB", "1GB", "-1"]),
        ("in-flight-bytes", &["1", "many"]),
        ("session-cache-bytes", &["0", "99999999999999999999GiB"]),
        ("clock-offset-ms", &["soon"]),
        ("log-prefill-bytes", &["2GiB"]),
        ("log-entries-kept", &["-1"]),
    ];
    let covered: Vec<_> = table.iter().map(|(key, _)| *key).collect();
    assert_eq!(covered, KEYS.iter().map(|key| key.name).collect::<Vec<_>>(), "the table covers every key");
    for (name, bad_values) in table {
        let key = KEYS.iter().find(|key| key.name == *name).unwrap();
        for bad in *bad_values {
            let error = load_flags(&[(key.name, bad)]).expect_err(&format!("{name} = {bad:?}")).to_string();
            let expected = format!("{name} = {bad:?} (from flag --{name}) is refused: {}", key.allowed);
            assert_eq!(error, expected);
            if !bad.is_empty() {
                let error = load([], [(key.environment(), (*bad).to_owned())], None).unwrap_err().to_string();
                assert!(error.contains(&format!("environment variable {}", key.environment())), "{error}");
            }
        }
    }
}

#[test]
fn listening_beyond_loopback_needs_insecure() {
    let exposed = [("client-listen", "0.0.0.0:7101"), ("members", "1=10.0.0.1:7201")];
    let error = load_flags(&exposed).unwrap_err().to_string();
    assert!(error.contains("client-listen = \"0.0.0.0:7101\"") && error.contains("--insecure"), "{error}");
    let loaded = load_flags(&[exposed[0], exposed[1], ("insecure", "true")]).unwrap();
    assert!(matches!(loaded.warnings.as_slice(), [warning] if warning.contains("without TLS")));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let not_listed = load_flags(&[("node-id", "4"), ("members", "1=a:1,2=b:1")]).unwrap_err().to_string();
    assert!(not_listed.contains("members") && not_listed.contains('4'), "{not_listed}");
    let shared = load_flags(&[("admin-listen", "127.0.0.1:7101")]).unwrap_err().to_string();
    assert!(shared.contains("admin-listen") && shared.contains("client-listen"), "{shared}");
    let nowhere =
        load_flags(&[("peer-listen", "0.0.0.0:7201"), ("insecure", "true")]).unwrap_err().to_string();
    assert!(nowhere.contains("advertise-peer"), "{nowhere}");
    load_flags(&[("client-listen", "127.0.0.1:0"), ("admin-listen", "127.0.0.1:0")]).unwrap();
}

#[test]
fn sizes_take_binary_units() {
    let loaded = load_flags(&[("in-flight-bytes", "9 MiB"), ("session-cache-bytes", "1048576")]).unwrap();
    assert_eq!(loaded.settings.in_flight_bytes, 9 << 20);
    assert_eq!(loaded.settings.session_cache_bytes, 1 << 20);
}

#[test]
fn printed_settings_load_again() {
    let loaded = load_flags(&[
        ("node-id", "2"),
        ("members", "1=a:7201,2=b:7201"),
        ("client-listen", "0.0.0.0:7101"),
        ("insecure", "true"),
        ("log-level", "info,quorate_node=debug"),
        ("clock-offset-ms", "-5"),
        ("log-prefill-bytes", "0"),
        ("log-entries-kept", "100"),
    ])
    .unwrap();
    let file = toml_file(&loaded.settings.to_toml());
    let again = load([], [], Some(file.path().to_owned())).unwrap().settings;
    assert_eq!(again.to_toml(), loaded.settings.to_toml());
    assert_eq!(again.members, loaded.settings.members);
}
