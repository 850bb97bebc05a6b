//! Flags and help: made from the table of settings, so neither can be forgotten.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{KEYS, Key};

const ABOUT: &str = "A node of Quorate, the replicated session store";

const AFTER_HELP: &str = "\
Sources of a setting, the strongest first: its flag, its QUORATED_* environment variable, the TOML file named by
--config or QUORATED_CONFIG, its default. Sizes take KiB, MiB and GiB. In the file a key is written with underscores,
and members may be a table: [members] with lines such as 1 = \"node-1:7201\".

Examples:
  A node on its own, for development:
      quorated --data-dir /tmp/quorate
  The first of three nodes on one machine:
      quorated --node-id 1 --data-dir data/1 \\
          --client-listen 127.0.0.1:7101 --peer-listen 127.0.0.1:7201 --admin-listen 127.0.0.1:7301 \\
          --members 1=127.0.0.1:7201,2=127.0.0.1:7202,3=127.0.0.1:7203
  The second of three nodes on a private network, from its environment:
      QUORATED_NODE_ID=2 QUORATED_MEMBERS=1=node-1:7201,2=node-2:7201,3=node-3:7201 QUORATED_INSECURE=true \\
      QUORATED_CLIENT_LISTEN=0.0.0.0:7101 QUORATED_PEER_LISTEN=0.0.0.0:7201 QUORATED_DATA_DIR=/var/lib/quorate quorated
  What a node would run with:
      quorated --config /etc/quorated.toml config
  Whether a node takes requests:
      quorated health --admin 127.0.0.1:7301

Exit codes: 0 stopped in order, or healthy; 1 failed, or unhealthy; 2 refused to start.";

/// The command line.
pub(super) fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .global(true)
        .help("The TOML file to read settings from [env: QUORATED_CONFIG]");
    let admin = Arg::new("admin")
        .long("admin")
        .value_name("HOST:PORT")
        .help("The node's admin address [default: the admin-listen setting, on loopback if that is every interface]");
    Command::new("quorated")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(AFTER_HELP)
        .arg(config)
        .args(KEYS.iter().map(flag))
        .subcommand(Command::new("config").about("Prints the settings a node would run with, as a TOML file"))
        .subcommand(
            Command::new("health")
                .about("Asks a node whether it takes requests: exits 0 if so, else 1")
                .arg(admin),
        )
}

fn flag(key: &'static Key) -> Arg {
    let help = format!(
        "{} [env: {}] [default: {}] [example: {}]",
        key.help,
        key.environment(),
        key.default,
        key.example
    );
    let flag = Arg::new(key.name)
        .long(key.name)
        .value_name(key.value_name)
        .help(help)
        .global(true)
        .allow_hyphen_values(true)
        .action(ArgAction::Set);
    if key.name == "insecure" {
        // A bare --insecure is enough; a value must be joined with `=`.
        return flag.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    flag
}

/// The settings given as flags, by key.
pub(super) fn settings(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let given = |key: &'static Key| Some((key.name, matches.get_one::<String>(key.name)?.clone()));
    KEYS.iter().filter_map(given).collect()
}

/// The file named by `--config`.
pub(super) fn config(matches: &ArgMatches) -> Option<PathBuf> {
    matches.get_one::<String>("config").map(PathBuf::from)
}

/// `--admin` of `quorated health`.
pub(super) fn admin(matches: &ArgMatches) -> Option<String> {
    matches.get_one::<String>("admin").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> ArgMatches {
        command().try_get_matches_from([&["quorated"], args].concat()).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_tells_every_key_with_environment_default_and_example() {
        let help = command().term_width(10_000).render_help().to_string();
        for key in KEYS {
            assert!(help.contains(&format!("--{}", key.name)), "{}", key.name);
            for text in [key.help, &key.environment(), key.default, key.example, key.value_name] {
                assert!(help.contains(text), "{}: {text}", key.name);
            }
        }
        assert!(help.contains("QUORATED_CONFIG") && help.contains("Examples:"));
    }

    #[test]
    fn flags_become_settings() {
        let matches =
            parse(&["--node-id", "2", "--insecure", "--clock-offset-ms", "-5", "--config", "q.toml"]);
        assert_eq!(
            settings(&matches),
            [
                ("node-id", "2".to_owned()),
                ("insecure", "true".to_owned()),
                ("clock-offset-ms", "-5".to_owned())
            ]
        );
        assert_eq!(config(&matches), Some(PathBuf::from("q.toml")));
        assert_eq!(settings(&parse(&["--insecure=false"])), [("insecure", "false".to_owned())]);
    }

    #[test]
    fn settings_may_stand_on_either_side_of_a_subcommand() {
        for args in [["--node-id", "2", "config"], ["config", "--node-id", "2"]] {
            assert_eq!(settings(&parse(&args)), [("node-id", "2".to_owned())], "{args:?}");
        }
        let matches = parse(&["health", "--admin", "127.0.0.1:1"]);
        let (_, sub) = matches.subcommand().unwrap();
        assert_eq!(admin(sub).as_deref(), Some("127.0.0.1:1"));
    }

    #[test]
    fn unknown_and_repeated_flags_are_refused() {
        for args in
            [&["--node-ip", "2"][..], &["--node-id", "1", "--node-id", "2"], &["--node-id"], &["serve"]]
        {
            let error = command().try_get_matches_from([&["quorated"], args].concat()).unwrap_err();
            assert!(error.use_stderr(), "{args:?}");
        }
    }
}
