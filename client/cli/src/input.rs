//! Input: session ids and attribute values from arguments, files or standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use quorate_client::SessionId;

use crate::failure::Failure;

/// The longest file or standard input that is read, bytes: above what any node accepts for one session.
const LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Standard input, which can be given away once only.
pub(crate) struct Input {
    stdin: Option<Box<dyn Read + Send>>,
}

impl Input {
    /// The process's standard input.
    pub(crate) fn stdin() -> Input {
        Input { stdin: Some(Box::new(io::stdin())) }
    }

    /// All of standard input.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] when it has been read already, [`Failure::Read`] when it cannot be read or is too long.
    pub(crate) fn read_stdin(&mut self) -> Result<Vec<u8>, Failure> {
        let stdin = self.stdin.take().ok_or_else(|| {
            Failure::Usage(
                "standard input can stand for one thing only: the session id or one value".to_owned(),
            )
        })?;
        read_bounded(stdin, "standard input")
    }

    /// The session id from the file, else from the argument, where `-` means standard input.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] when there is no id or it is malformed; the id itself is never repeated.
    pub(crate) fn session_id(&mut self, id: Option<&str>, file: Option<&Path>) -> Result<SessionId, Failure> {
        let (text, from) = match (id, file) {
            (_, Some(file)) => (into_text(read_file(file)?)?, "the id file"),
            (Some("-"), None) => (into_text(self.read_stdin()?)?, "standard input"),
            (Some(id), None) => (id.to_owned(), "the command line"),
            (None, None) => {
                return Err(Failure::Usage(
                    "no session id: give ID, - (standard input) or --id-file".to_owned(),
                ));
            }
        };
        parse(&text, from)
    }

    /// As [`Self::session_id`] for several: all arguments, or the lines of the file or of standard input.
    ///
    /// # Errors
    ///
    /// As [`Self::session_id`].
    pub(crate) fn session_ids(
        &mut self,
        ids: &[&str],
        file: Option<&Path>,
    ) -> Result<Vec<SessionId>, Failure> {
        let (text, from) = match (ids, file) {
            (_, Some(file)) => (into_text(read_file(file)?)?, "the id file"),
            (["-"], None) => (into_text(self.read_stdin()?)?, "standard input"),
            _ => return ids.iter().map(|id| self.session_id(Some(id), None)).collect(),
        };
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let ids: Vec<SessionId> = lines.map(|line| parse(line, from)).collect::<Result<_, _>>()?;
        // Nothing at all is the one id that is empty.
        if ids.is_empty() { parse("", from).map(|id| vec![id]) } else { Ok(ids) }
    }
}

fn parse(text: &str, from: &str) -> Result<SessionId, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::Usage(format!("the session id from {from} is empty")));
    }
    text.parse::<SessionId>().map_err(|error| {
        let option = if text.starts_with('-') { " (or an unknown option)" } else { "" };
        Failure::Usage(format!("{error}; given by {from}{option}"))
    })
}

/// All of a file.
///
/// # Errors
///
/// [`Failure::Read`] when it cannot be read or is too long.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let what = path.display().to_string();
    let file = File::open(path).map_err(|source| Failure::Read { what: what.clone(), source })?;
    read_bounded(file, &what)
}

fn read_bounded(reader: impl Read, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = reader.take(LIMIT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| Failure::Read { what: what.to_owned(), source })?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= LIMIT_BYTES) {
        return Ok(bytes);
    }
    let source = io::Error::other(format!("it is longer than {LIMIT_BYTES} bytes, the most that is read"));
    Err(Failure::Read { what: what.to_owned(), source })
}

fn into_text(bytes: Vec<u8>) -> Result<String, Failure> {
    // The bytes may be a secret: they are not part of the message.
    String::from_utf8(bytes).map_err(|_| Failure::Usage("the session id is not text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn input(stdin: &str) -> Input {
        Input { stdin: Some(Box::new(io::Cursor::new(stdin.to_owned().into_bytes()))) }
    }

    #[test]
    fn an_id_comes_from_the_argument_or_standard_input() {
        assert_eq!(input("").session_id(Some(ID), None).expect("valid").reveal(), ID);
        assert_eq!(input(&format!("{ID}\n")).session_id(Some("-"), None).expect("valid").reveal(), ID);
        assert!(matches!(input("\n").session_id(Some("-"), None), Err(Failure::Usage(_))));
        assert!(matches!(input("").session_id(None, None), Err(Failure::Usage(_))));
    }

    #[test]
    fn several_ids_come_as_arguments_or_lines() {
        let other = ID.replace('A', "B");
        assert_eq!(input("").session_ids(&[ID, &other], None).expect("valid").len(), 2);
        let lines = format!("{ID}\n\n{other}\n");
        let ids = input(&lines).session_ids(&["-"], None).expect("valid");
        assert_eq!(ids.iter().map(SessionId::reveal).collect::<Vec<_>>(), [ID, &other]);
        assert!(matches!(input("\n").session_ids(&["-"], None), Err(Failure::Usage(_))));
        assert!(matches!(input("").session_ids(&["short"], None), Err(Failure::Usage(_))));
    }

    #[test]
    fn an_id_file_wins_and_a_missing_one_is_named() {
        let failure =
            input("").session_id(Some("x"), Some(Path::new("/nonexistent/id"))).expect_err("missing");
        assert!(failure.to_string().contains("/nonexistent/id"), "{failure}");
    }

    #[test]
    fn a_malformed_id_is_not_repeated_in_the_error() {
        let failure = input("").session_id(Some("secret with spaces"), None).expect_err("malformed");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }

    #[test]
    fn standard_input_is_given_away_once() {
        let mut input = input("value");
        assert_eq!(input.read_stdin().expect("first"), b"value");
        assert!(matches!(input.read_stdin(), Err(Failure::Usage(_))));
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let failure = read_bounded(io::repeat(0), "zeros").expect_err("endless");
        assert!(failure.to_string().contains("longer than"), "{failure}");
    }
}
