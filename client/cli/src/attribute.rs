//! Attributes: `name=value` arguments on the way in, text or hex on the way out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use serde::Serialize;

use crate::failure::{Failure, escaped};
use crate::input::{Input, read_file};

/// How attribute arguments are written, for the help of each command that takes them.
pub(crate) const SYNTAX_HELP: &str = "\
Attributes:
  name=value   the value as text
  name=@file   the value from a file, byte for byte
  name=@-      the value from standard input (at most one)
  name=@@text  the value is \"@text\"
  Values on a command line are visible to other users of this machine (ps); values from files and
  standard input are not.";

/// A `name=value` argument, its value not read yet.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AttributeArgument {
    name: String,
    source: Source,
}

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Inline(String),
    File(PathBuf),
    Stdin,
}

impl fmt::Debug for AttributeArgument {
    /// Leaves the value out: it may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttributeArgument").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for AttributeArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<AttributeArgument, String> {
        let Some((name, value)) = text.split_once('=') else {
            return Err("expected name=value, name=@file or name=@- (standard input)".to_owned());
        };
        if name.is_empty() {
            return Err("the attribute's name, before the =, is empty".to_owned());
        }
        let source = match value.strip_prefix('@') {
            None => Source::Inline(value.to_owned()),
            Some("") => return Err("no file after @; write @@ for a value that starts with @".to_owned()),
            Some("-") => Source::Stdin,
            Some(literal) if literal.starts_with('@') => Source::Inline(literal.to_owned()),
            Some(path) => Source::File(PathBuf::from(path)),
        };
        Ok(AttributeArgument { name: name.to_owned(), source })
    }
}

/// Reads the values of all `arguments`.
///
/// # Errors
///
/// [`Failure::Usage`] for a name given twice or a second use of standard input, [`Failure::Read`] for a file.
pub(crate) fn resolve(
    arguments: &[AttributeArgument],
    input: &mut Input,
) -> Result<BTreeMap<String, Bytes>, Failure> {
    let mut attributes = BTreeMap::new();
    for argument in arguments {
        let value = match &argument.source {
            Source::Inline(text) => Bytes::from(text.clone()),
            Source::File(path) => Bytes::from(read_file(path)?),
            Source::Stdin => Bytes::from(input.read_stdin()?),
        };
        if attributes.insert(argument.name.clone(), value).is_some() {
            return Err(Failure::Usage(format!("attribute {:?} is given twice", argument.name)));
        }
    }
    Ok(attributes)
}

/// An attribute's value as JSON: `{"text": "..."}` or `{"hex": "..."}`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shown {
    /// UTF-8 without control characters other than tab, line feed and carriage return.
    Text(String),
    /// Anything else, in hexadecimal.
    Hex(String),
}

impl Shown {
    /// How `value` is shown.
    pub(crate) fn of(value: &[u8]) -> Shown {
        match std::str::from_utf8(value) {
            Ok(text) if text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r')) => {
                Shown::Text(text.to_owned())
            }
            _ => Shown::Hex(hex::encode(value)),
        }
    }

    /// The value in a table cell: one line, cut when long. `hex:` marks a value that is not text, or that itself
    /// starts with `hex:`; line ends and tabs are written `\n`, `\r` and `\t`.
    pub(crate) fn cell(value: &[u8]) -> String {
        const WIDTH: usize = 72;
        let whole = match Shown::of(value) {
            Shown::Text(text) if !text.starts_with("hex:") => escaped(&text),
            _ => format!("hex:{}", hex::encode(value)),
        };
        match whole.char_indices().nth(WIDTH) {
            None => whole,
            Some((end, _)) => format!("{}...", whole.get(..end).unwrap_or(&whole)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> AttributeArgument {
        text.parse().expect("valid")
    }

    #[test]
    fn values_come_inline_from_files_or_standard_input() {
        assert!(parse("a=b=c").source == Source::Inline("b=c".to_owned()));
        assert!(parse("a=").source == Source::Inline(String::new()));
        assert!(parse("a=@f.bin").source == Source::File(PathBuf::from("f.bin")));
        assert!(parse("a=@-").source == Source::Stdin);
        assert!(parse("a=@@b").source == Source::Inline("@b".to_owned()));
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for text in ["", "name", "=value", "name=@"] {
            assert!(text.parse::<AttributeArgument>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_name_given_twice_and_a_second_standard_input_are_refused() {
        let twice = [parse("a=1"), parse("a=2")];
        assert!(matches!(resolve(&twice, &mut Input::stdin()), Err(Failure::Usage(_))));
        let missing = resolve(&[parse("a=@/nonexistent/value")], &mut Input::stdin());
        assert!(matches!(missing, Err(Failure::Read { .. })));
    }

    #[test]
    fn debug_leaves_the_value_out() {
        assert!(!format!("{:?}", parse("a=sesame")).contains("sesame"));
    }

    #[test]
    fn text_is_shown_as_text_and_the_rest_in_hex() {
        assert_eq!(Shown::of(b"{\"a\":1}\n"), Shown::Text("{\"a\":1}\n".to_owned()));
        assert_eq!(Shown::of(&[0xff, 0]), Shown::Hex("ff00".to_owned()));
        assert_eq!(Shown::of(b"\x1b[2J"), Shown::Hex("1b5b324a".to_owned()), "no escape sequences");
        assert_eq!(serde_json::to_string(&Shown::of(b"a")).expect("json"), r#"{"text":"a"}"#);
        assert_eq!(serde_json::to_string(&Shown::of(&[0xff])).expect("json"), r#"{"hex":"ff"}"#);
    }

    #[test]
    fn a_cell_is_one_short_line() {
        assert_eq!(Shown::cell("grün".as_bytes()), "grün");
        assert_eq!(Shown::cell(b"{\"a\":\t1}\n"), "{\"a\":\\t1}\\n");
        assert_eq!(Shown::cell(b"\0"), "hex:00");
        assert_eq!(Shown::cell(b"hex:00"), "hex:6865783a3030", "a marker is never ambiguous");
        assert_eq!(Shown::cell("ü".repeat(100).as_bytes()), format!("{}...", "ü".repeat(72)));
    }
}
