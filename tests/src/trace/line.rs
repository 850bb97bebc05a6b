//! One line of `strace -f -ttt -T -Y -yy -xx -o FILE`.

use std::path::Path;

/// A line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A call that began and ended with nothing else between.
    Whole(Begin, End),
    /// A call that has not ended yet.
    Begin(Begin),
    /// The end of the call that its thread began.
    End(End),
}

/// A call's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) tid: u32,
    /// The thread's name; empty when strace does not know it.
    pub(super) thread: String,
    pub(super) start_us: u64,
    pub(super) name: String,
    /// What the call is about, a descriptor or a path: a path, or `TCP:[from->to]`.
    pub(super) target: String,
    /// What it moves: all strings among the arguments, joined. Empty when they are paths.
    pub(super) data: Vec<u8>,
    /// Whether strace left out some of them.
    pub(super) cut: bool,
}

/// A call's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) tid: u32,
    pub(super) end_us: u64,
    pub(super) result: i64,
    pub(super) lasted_us: Option<u64>,
}

/// Takes a line apart; `None` for signals, exits and whatever else is no call.
pub(super) fn parse(line: &str) -> Option<Line> {
    let (tid, rest) = line.split_once(' ')?;
    let (stamp, rest) = rest.trim_start().split_once(' ')?;
    let (tid, thread) = tid.split_once('<').unwrap_or((tid, ""));
    let (tid, stamp_us) = (tid.parse().ok()?, micros(stamp)?);
    if rest.starts_with("+++") || rest.starts_with("---") {
        return None;
    }
    if rest.starts_with("<... ") {
        let (result, lasted_us) = result(rest)?;
        return Some(Line::End(End { tid, end_us: stamp_us, result, lasted_us }));
    }
    let (name, arguments) = rest.split_once('(')?;
    let unfinished = arguments.strip_suffix("<unfinished ...>");
    let (mut target, strings) = target(unfinished.unwrap_or(arguments));
    let (mut data, mut cut) = strings_of(strings);
    if !moves_data(name) {
        // A path, from the descriptor of a directory or from the root. Of two, such as rename's, the first.
        let path = strings.split('"').nth(1).map(unescaped).unwrap_or_default();
        if !path.is_empty() {
            let path = String::from_utf8_lossy(&path).into_owned();
            target = Path::new(&target).join(path).to_string_lossy().into_owned();
        }
        (data, cut) = (Vec::new(), false);
    }
    let thread = String::from_utf8_lossy(&unescaped(thread)).into_owned();
    let begin = Begin { tid, thread, start_us: stamp_us, name: name.to_owned(), target, data, cut };
    if unfinished.is_some() {
        return Some(Line::Begin(begin));
    }
    let (result, lasted_us) = result(rest)?;
    let end_us = stamp_us + lasted_us.unwrap_or(0);
    Some(Line::Whole(begin, End { tid, end_us, result, lasted_us }))
}

/// Whether the strings among a call's arguments are what it reads or writes; else they are paths.
fn moves_data(name: &str) -> bool {
    ["read", "readv", "write", "writev", "send", "recv"].iter().any(|kind| {
        let name = name.strip_prefix('p').unwrap_or(name);
        name.strip_prefix(kind)
            .is_some_and(|rest| matches!(rest, "" | "64" | "2" | "to" | "from" | "msg" | "mmsg"))
    })
}

/// `1795493074.694732`, in microseconds.
fn micros(stamp: &str) -> Option<u64> {
    let (seconds, fraction) = stamp.split_once('.')?;
    let (seconds, fraction): (u64, u64) = (seconds.parse().ok()?, format!("{fraction:0<6}").parse().ok()?);
    Some(seconds * 1_000_000 + fraction)
}

/// From `...) = 5 <0.000082>`: the result and how long the call lasted.
fn result(text: &str) -> Option<(i64, Option<u64>)> {
    let (_, after) = text.rsplit_once(") = ")?;
    let mut words = after.split(' ');
    // A descriptor comes with its path behind it. A call that was interrupted to be started again answers "?".
    let result = words.next()?.split('<').next()?.parse().unwrap_or(-1);
    let last = words.next_back();
    let lasted =
        last.and_then(|word| word.strip_prefix('<')).and_then(|word| word.strip_suffix('>')).and_then(micros);
    Some((result, lasted))
}

/// What the descriptor at the beginning of the arguments stands for, or the working directory, and the rest.
fn target(arguments: &str) -> (String, &str) {
    let number = arguments.strip_prefix("AT_FDCWD").unwrap_or(arguments);
    let number = number.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(after) = number.strip_prefix('<') else {
        return (String::new(), arguments);
    };
    // Paths come in hex and addresses have no comma: the first `>` before a comma or parenthesis ends it.
    let end = after.match_indices('>').map(|(at, _)| at).find(|at| {
        let next = after.get(at + 1..).and_then(|rest| rest.chars().next());
        matches!(next, None | Some(',' | ')' | ' '))
    });
    let Some(end) = end else { return (String::new(), arguments) };
    let (name, rest) = (after.get(..end).unwrap_or_default(), after.get(end + 1..).unwrap_or_default());
    let name = if name.starts_with("\\x") {
        String::from_utf8_lossy(&unescaped(name)).into_owned()
    } else {
        name.to_owned()
    };
    (name, rest)
}

/// All quoted strings, joined, and whether one was cut short.
fn strings_of(arguments: &str) -> (Vec<u8>, bool) {
    let (mut data, mut cut) = (Vec::new(), false);
    // With -xx no string holds a quote of its own.
    let mut pieces = arguments.split('"');
    pieces.next();
    while let (Some(string), Some(after)) = (pieces.next(), pieces.next()) {
        data.extend(unescaped(string));
        cut |= after.starts_with("...");
    }
    (data, cut)
}

/// `\x68\x69`, as bytes.
fn unescaped(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).filter_map(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_call_on_a_file() {
        let line =
            r#"4711 1795493074.685255 pwrite64(6<\x2f\x74\x2f\x78>, "\x7a\x7a"..., 300, 0) = 300 <0.000047>"#;
        let Some(Line::Whole(begin, end)) = parse(line) else { panic!("not whole") };
        assert_eq!((begin.tid, begin.name.as_str(), begin.target.as_str()), (4711, "pwrite64", "/t/x"));
        assert_eq!((begin.data.as_slice(), begin.cut), (b"zz".as_slice(), true));
        assert_eq!(begin.start_us, 1_795_493_074_685_255);
        assert_eq!((end.result, end.end_us), (300, 1_795_493_074_685_302));
    }

    #[test]
    fn a_vector_written_to_a_socket() {
        let line = r#"7 1.000001 writev(5<TCP:[127.9.9.9:7101->127.0.0.1:35946]>, [{iov_base="\x61\x62", iov_len=2}, {iov_base="\x63", iov_len=1}], 2) = 3 <0.000023>"#;
        let Some(Line::Whole(begin, _)) = parse(line) else { panic!("not whole") };
        assert_eq!(begin.target, "TCP:[127.9.9.9:7101->127.0.0.1:35946]");
        assert_eq!((begin.data.as_slice(), begin.cut), (b"abc".as_slice(), false));
    }

    #[test]
    fn a_call_in_two_pieces() {
        let begin = parse(r"9   2.5 fdatasync(6<\x2f\x61> <unfinished ...>");
        let Some(Line::Begin(begin)) = begin else { panic!("no beginning") };
        assert_eq!((begin.target.as_str(), begin.start_us), ("/a", 2_500_000));
        let end = parse("9   2.600000 <... fdatasync resumed>) = -1 EIO (Input/output error) <0.100000>");
        assert_eq!(
            end,
            Some(Line::End(End { tid: 9, end_us: 2_600_000, result: -1, lasted_us: Some(100_000) }))
        );
    }

    #[test]
    fn calls_on_paths_name_them() {
        let path = r#""\x2f\x64\x2f\x73", O_RDONLY|O_CLOEXEC) = 5<\x2f\x64\x2f\x73> <0.000017>"#;
        for arguments in ["open(", r"openat(AT_FDCWD<\x2f\x74>, "] {
            let Some(Line::Whole(begin, end)) = parse(&format!("7<\\x71\\x75> 2.5 {arguments}{path}")) else {
                panic!("not whole: {arguments}")
            };
            assert_eq!((begin.tid, begin.thread.as_str(), begin.target.as_str()), (7, "qu", "/d/s"));
            assert_eq!((begin.data.len(), end.result), (0, 5));
        }
        let below = r#"7 2.5 unlinkat(5<\x2f\x64>, "\x73", 0) = 0 <0.000017>"#;
        let Some(Line::Whole(begin, _)) = parse(below) else { panic!("not whole") };
        assert_eq!(begin.target, "/d/s");
        let size = parse(r"7 2.5 ftruncate(5<\x2f\x64>, 0) = 0 <0.000017>");
        let Some(Line::Whole(begin, _)) = size else { panic!("not whole") };
        assert_eq!(begin.target, "/d");
    }

    #[test]
    fn a_read_is_about_its_file() {
        let line = r#"7 2.5 preadv2(5<\x2f\x64>, [{iov_base="\x61", iov_len=1}], 1, 0, 0) = 1 <0.000017>"#;
        let Some(Line::Whole(begin, _)) = parse(line) else { panic!("not whole") };
        assert_eq!((begin.target.as_str(), begin.data.as_slice()), ("/d", b"a".as_slice()));
    }

    #[test]
    fn signals_and_exits_are_no_calls() {
        assert_eq!(parse("9 2.5 +++ exited with 0 +++"), None);
        assert_eq!(parse("9 2.5 --- SIGTERM {si_signo=SIGTERM} ---"), None);
    }
}
