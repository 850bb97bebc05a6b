//! From the raw values of all sources to [`Settings`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use quorate_state::NodeId;

use super::address::port_of;
use super::error::ConfigError;
use super::file;
use super::key::{KEYS, Key};
use super::settings::{LogFormat, ReadMode, Settings, Timing};
use super::source::{Source, Values};

/// The variable that names the TOML file when no flag does.
const CONFIG_VARIABLE: &str = "QUORATED_CONFIG";

/// Settings with what is worth saying about them.
#[derive(Debug)]
pub struct Loaded {
    /// Checked.
    pub settings: Settings,
    /// Where each key that was set came from.
    pub sources: BTreeMap<&'static str, Source>,
    /// To be logged at start: likely mistakes that are no errors.
    pub warnings: Vec<String>,
}

/// Merges flags (by key name), environment and the file that `config` (or `QUORATED_CONFIG`) names, and checks them.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn load(
    flags: impl IntoIterator<Item = (&'static str, String)>,
    environment: impl IntoIterator<Item = (String, String)>,
    config: Option<PathBuf>,
) -> Result<Loaded, ConfigError> {
    let mut values = Values::default();
    let mut warnings = Vec::new();
    let mut config = config;
    for (name, value) in flags {
        values.offer(name, value, Source::Flag(name.to_owned()));
    }
    // An empty variable counts as unset: compose files and unit files pass those on.
    for (name, value) in environment.into_iter().filter(|(_, value)| !value.is_empty()) {
        if let Some(key) = KEYS.iter().find(|key| key.environment() == name) {
            values.offer(key.name, value, Source::Environment(name));
        } else if name == CONFIG_VARIABLE {
            config = config.or_else(|| Some(PathBuf::from(value)));
        } else if name.starts_with("QUORATED_") {
            warnings
                .push(format!("the environment variable {name} is no setting of quorated and is ignored"));
        }
    }
    if let Some(path) = config {
        file::read(&path, &mut values)?;
    }
    let settings = settings(&values)?;
    if settings.insecure {
        for (key, address) in settings.exposed_listeners() {
            warnings.push(format!(
                "{key} {address} is reachable from other machines without TLS (insecure is set): whoever reaches it can read and change every session"
            ));
        }
    }
    Ok(Loaded { settings, sources: values.into_sources(), warnings })
}

fn settings(values: &Values) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    let settings = Settings {
        node_id: value(values, "node-id", |text| number(text).filter(|id| *id != 0))?
            .unwrap_or(default.node_id),
        cluster_name: value(values, "cluster-name", name)?.unwrap_or(default.cluster_name),
        data_dir: value(values, "data-dir", path)?.unwrap_or(default.data_dir),
        client_listen: value(values, "client-listen", number)?.unwrap_or(default.client_listen),
        peer_listen: value(values, "peer-listen", number)?.unwrap_or(default.peer_listen),
        admin_listen: value(values, "admin-listen", number)?.unwrap_or(default.admin_listen),
        advertise_client: value(values, "advertise-client", address)?,
        advertise_peer: value(values, "advertise-peer", address)?,
        advertise_admin: value(values, "advertise-admin", address)?,
        members: value(values, "members", members)?.unwrap_or_default(),
        timing: value(values, "timing", timing)?.unwrap_or(default.timing),
        read_mode: value(values, "read-mode", read_mode)?.unwrap_or(default.read_mode),
        insecure: value(values, "insecure", number)?.unwrap_or(default.insecure),
        log_format: value(values, "log-format", log_format)?.unwrap_or(default.log_format),
        log_level: value(values, "log-level", directives)?.unwrap_or(default.log_level),
        log_budget_bytes: value(values, "log-budget-bytes", |text| bytes(text, 64 << 20, 1 << 40))?
            .unwrap_or(default.log_budget_bytes),
        in_flight_bytes: value(values, "in-flight-bytes", |text| bytes(text, 8 << 20, 64 << 30))?
            .unwrap_or(default.in_flight_bytes),
        session_cache_bytes: value(values, "session-cache-bytes", |text| bytes(text, 1 << 20, 1 << 40))?
            .unwrap_or(default.session_cache_bytes),
        clock_offset_ms: value(values, "clock-offset-ms", number)?.unwrap_or(default.clock_offset_ms),
        log_prefill_bytes: value(values, "log-prefill-bytes", |text| bytes(text, 0, 1 << 30))?
            .unwrap_or(default.log_prefill_bytes),
        log_entries_kept: value(values, "log-entries-kept", number)?.unwrap_or(default.log_entries_kept),
    };
    check(&settings, values)?;
    Ok(settings)
}

/// What no key can tell by itself.
fn check(settings: &Settings, values: &Values) -> Result<(), ConfigError> {
    if !settings.members.is_empty() && !settings.members.contains_key(&settings.node_id) {
        return Err(bad(
            values,
            "members",
            &format!("this node's node-id, {}, must be in the list", settings.node_id),
        ));
    }
    if !settings.insecure
        && let Some((key, _)) = settings.exposed_listeners().first()
    {
        let allowed = "it is reachable from other machines and there is no TLS yet; a loopback address such as 127.0.0.1 is allowed, or say --insecure (QUORATED_INSECURE=true) on a private network";
        return Err(bad(values, key, allowed));
    }
    if settings
        .advertised_peer(settings.peer_listen)
        .parse::<SocketAddr>()
        .is_ok_and(|a| a.ip().is_unspecified())
    {
        let allowed = "it listens on every interface, so advertise-peer (or this node in members) must say what the others dial";
        return Err(bad(values, "peer-listen", allowed));
    }
    let listeners = [
        ("client-listen", settings.client_listen),
        ("peer-listen", settings.peer_listen),
        ("admin-listen", settings.admin_listen),
    ];
    for (at, (key, address)) in listeners.iter().enumerate() {
        let earlier = listeners.iter().take(at).find(|(_, other)| other == address && address.port() != 0);
        if let Some((other, _)) = earlier {
            return Err(bad(
                values,
                key,
                &format!("{other} has the same address; each listener needs its own"),
            ));
        }
    }
    Ok(())
}

fn bad(values: &Values, name: &str, allowed: &str) -> ConfigError {
    // Every name passed here is a literal of this file that stands in KEYS; the test of all keys proves it.
    let key = KEYS.iter().find(|key| key.name == name);
    let (value, origin) = match values.get(name) {
        Some(given) => (given.value.clone(), given.source.clone()),
        None => (key.map_or_else(String::new, |key| key.default.to_owned()), Source::Default),
    };
    ConfigError::BadValue { key: key.map_or("", |key| key.name), value, origin, allowed: allowed.to_owned() }
}

/// A key's value, parsed; `None` when nobody set it.
fn value<T>(
    values: &Values,
    name: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    let Some(given) = values.get(name) else { return Ok(None) };
    match parse(given.value.trim()) {
        Some(parsed) => Ok(Some(parsed)),
        None => {
            let allowed = KEYS.iter().find(|key: &&Key| key.name == name).map_or("", |key| key.allowed);
            Err(bad(values, name, allowed))
        }
    }
}

/// Anything with a plain text form: numbers, truths, socket addresses.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn name(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| Path::new(text).to_owned())
}

fn address(text: &str) -> Option<String> {
    port_of(text).map(|_| text.to_owned())
}

fn members(text: &str) -> Option<BTreeMap<NodeId, String>> {
    let mut members = BTreeMap::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (id, peer) = entry.split_once('=')?;
        let id = number(id.trim()).filter(|id| *id != 0)?;
        let peer = address(peer.trim())?;
        if members.values().any(|known| *known == peer) || members.insert(id, peer).is_some() {
            return None;
        }
    }
    (!members.is_empty()).then_some(members)
}

fn timing(text: &str) -> Option<Timing> {
    [Timing::Lan, Timing::Wan].into_iter().find(|timing| timing.to_string() == text)
}

fn read_mode(text: &str) -> Option<ReadMode> {
    [ReadMode::Lease, ReadMode::ReadIndex].into_iter().find(|mode| mode.to_string() == text)
}

fn log_format(text: &str) -> Option<LogFormat> {
    [LogFormat::Text, LogFormat::Json].into_iter().find(|format| format.to_string() == text)
}

fn directives(text: &str) -> Option<String> {
    // A bare word that is no level would be taken for a target and switch all else off: a typing mistake.
    let bare = !text.contains(['=', '[', ',']);
    let level = ["error", "warn", "info", "debug", "trace", "off"]
        .iter()
        .any(|level| text.eq_ignore_ascii_case(level));
    let valid = tracing_subscriber::EnvFilter::try_new(text).is_ok() && !text.is_empty() && (!bare || level);
    valid.then(|| text.to_owned())
}

/// Bytes: a number, or one with KiB, MiB or GiB, within the bounds.
fn bytes(text: &str, min: u64, max: u64) -> Option<u64> {
    let units = [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (digits, unit) = units
        .into_iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, unit)))
        .unwrap_or((text, 1));
    let bytes = digits.trim().parse::<u64>().ok()?.checked_mul(unit)?;
    (min..=max).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
