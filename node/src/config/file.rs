//! The TOML file: its values as texts, each with its line.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::key::{KEYS, Key};
use super::source::{Source, Values};

/// Reads the file and offers its values.
///
/// # Errors
/// [`ConfigError`]: unreadable, not TOML, an unknown key, or a value that no key can have.
pub(super) fn read(path: &Path, values: &mut Values) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    offer(path, &text, values)
}

/// [`read`] after the reading.
pub(super) fn offer(path: &Path, text: &str, values: &mut Values) -> Result<(), ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_at(text, span.start)),
        message: error.message().to_owned(),
    })?;
    for (name, value) in table.get_ref() {
        let origin = Source::File { path: path.to_owned(), line: line_at(text, name.span().start) };
        let name: &str = name.get_ref();
        let Some(key) = KEYS.iter().find(|key| key.toml() == name) else {
            return Err(ConfigError::UnknownKey { key: name.to_owned(), origin, known: known() });
        };
        let Some(text) = text_of(key, value.get_ref()) else {
            let value = text.get(value.span()).unwrap_or_default().to_owned();
            return Err(ConfigError::BadValue {
                key: key.name,
                value,
                origin,
                allowed: key.allowed.to_owned(),
            });
        };
        values.offer(key.name, text, origin);
    }
    Ok(())
}

fn known() -> String {
    KEYS.iter().map(Key::toml).collect::<Vec<_>>().join(", ")
}

/// A value as a flag would be written. `members` may also be a table of its own.
fn text_of(key: &Key, value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Table(table) if key.name == "members" => {
            let entries = table.iter().map(|(id, address)| match address.get_ref() {
                DeValue::String(address) => Some(format!("{}={address}", id.get_ref())),
                _ => None,
            });
            Some(entries.collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

/// The line, from 1, of a byte offset.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(text: &str) -> Result<Values, ConfigError> {
        let mut values = Values::default();
        offer(Path::new("q.toml"), text, &mut values).map(|()| values)
    }

    #[test]
    fn values_come_with_their_lines() {
        let values = offered("# a node\nnode_id = 2\n\ninsecure = true\ntiming = \"wan\"\n").unwrap();
        let given = values.get("insecure").unwrap();
        assert_eq!(given.value, "true");
        assert_eq!(given.source.to_string(), "q.toml:4");
        assert_eq!(values.get("node-id").unwrap().value, "2");
        assert_eq!(values.get("timing").unwrap().value, "wan");
    }

    #[test]
    fn members_may_be_a_table() {
        let values = offered("[members]\n1 = \"a:1\"\n2 = \"b:2\"\n").unwrap();
        assert_eq!(values.get("members").unwrap().value, "1=a:1,2=b:2");
    }

    #[test]
    fn refusals_name_file_and_line() {
        let unknown = offered("node_id = 1\nnode_ip = 2\n").unwrap_err().to_string();
        assert!(
            unknown.contains("\"node_ip\"") && unknown.contains("q.toml:2") && unknown.contains("node_id")
        );
        let syntax = offered("node_id = 1\ntiming = = 2\n").unwrap_err().to_string();
        assert!(syntax.contains("q.toml") && syntax.contains("line 2"), "{syntax}");
        let kind = offered("timing = [1]\n").unwrap_err().to_string();
        assert!(kind.contains("timing = \"[1]\"") && kind.contains("lan or wan"), "{kind}");
        let missing = read(Path::new("/nonexistent/q.toml"), &mut Values::default()).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/q.toml"), "{missing}");
    }
}
