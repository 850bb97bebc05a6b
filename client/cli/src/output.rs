//! Output: the same report as a table for people or as JSON for programs.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::{Failure, escaped};

/// How results are written to standard output, and errors to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, for people.
    Table,
    /// JSON objects, for programs.
    Json,
}

/// A result that can be shown either way.
pub(crate) trait Report: Serialize {
    /// The report for people, without a line break at the end.
    fn table(&self) -> String;
}

/// Writes `report` to standard output.
///
/// # Errors
///
/// [`Failure::Write`] when standard output cannot be written; a reader that has gone away is no error.
pub(crate) fn print<R: Report>(format: Format, report: &R) -> Result<(), Failure> {
    print_bytes(render(format, report).as_bytes())
}

/// The text that [`print()`] writes.
pub(crate) fn render<R: Report>(format: Format, report: &R) -> String {
    let mut text = match format {
        Format::Table => report.table(),
        // Reports are plain structs with string keys: serializing them to memory has no way to fail.
        Format::Json => serde_json::to_string_pretty(report).expect("a report is always valid JSON"),
    };
    text.push('\n');
    text
}

/// Writes bytes to standard output as they are.
///
/// # Errors
///
/// As [`print()`].
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(Failure::Write { what: "standard output".to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

/// Writes to standard output at once; `false` when its reader has gone away, so that nothing more need be written.
///
/// # Errors
///
/// As [`print()`].
pub(crate) fn stream(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(source) => Err(Failure::Write { what: "standard output".to_owned(), source }),
        Ok(()) => Ok(true),
    }
}

/// Tells something besides the result, on standard error. A closed one leaves nobody to tell.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// `row` as one line of JSON.
pub(crate) fn json_line(row: &impl Serialize) -> String {
    let mut line = serde_json::to_string(row).expect("a report is always valid JSON");
    line.push('\n');
    line
}

/// A table of `rows` under `header`; the columns listed in `right` are numbers. Control characters are escaped.
pub(crate) fn columns(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = bare();
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| escaped(cell)));
    }
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

/// Rows that are written as they come, each column as wide as it was said to be: what is longer pushes the rest.
pub(crate) struct Rows {
    widths: Vec<usize>,
}

impl Rows {
    /// Columns as wide as the header and what is known of their cells need.
    pub(crate) fn new(header: &[&str], widths: &[usize]) -> Rows {
        let widths = header.iter().zip(widths).map(|(name, width)| name.chars().count().max(*width));
        Rows { widths: widths.collect() }
    }

    /// One line, with its end. Control characters are escaped.
    pub(crate) fn line<C: AsRef<str>>(&self, cells: &[C]) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            let cell = escaped(cell.as_ref());
            let pad = width.saturating_sub(cell.chars().count());
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', pad + 2));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Names and values, one pair per line. Control characters are escaped.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let mut table = bare();
    for (name, value) in rows {
        table.add_row([(*name).to_owned(), escaped(value)]);
    }
    trimmed(&table)
}

/// A table without lines, which never wraps: what is printed is the same on a terminal and in a pipe.
fn bare() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        if !text.is_empty() {
            text.push('\n');
        }
        // comfy-table pads each cell with a space on either side.
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
    }
    text
}

/// A duration in whole milliseconds, saturating.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration for people: `20m`, `1h 3s`; "none" when there is none.
pub(crate) fn duration(milliseconds: Option<u64>) -> String {
    match milliseconds {
        None => "none".to_owned(),
        Some(milliseconds) => {
            // From a minute on, nobody reads milliseconds.
            let shown = if milliseconds < 60_000 { milliseconds } else { milliseconds / 1000 * 1000 };
            humantime::format_duration(Duration::from_millis(shown)).to_string()
        }
    }
}

/// A time of day for people, in UTC, from milliseconds since the Unix epoch.
pub(crate) fn time(milliseconds: u64) -> String {
    // humantime panics beyond the year 9999; no clock is there yet, but a number from the network may be.
    const YEAR_9999_MS: u64 = 253_370_764_800_000;
    if milliseconds >= YEAR_9999_MS {
        return format!("{milliseconds} ms after 1970");
    }
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(milliseconds);
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_carry_no_trailing_space() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "1000".to_owned()]];
        assert_eq!(columns(&["NAME", "BYTES"], &[1], rows), "NAME  BYTES\na         1\nlong   1000");
    }

    #[test]
    fn rows_that_come_one_by_one_line_up() {
        let rows = Rows::new(&["NAME", "KIND"], &[6, 2]);
        assert_eq!(rows.line(&["NAME", "KIND"]), "NAME    KIND\n");
        assert_eq!(rows.line(&["a\nb", ""]), "a\\nb\n");
        assert_eq!(rows.line(&["longer than that", "x"]), "longer than that  x\n");
    }

    #[test]
    fn pairs_line_up() {
        let rows = [("handle", "ab".to_owned()), ("id", "c".to_owned())];
        assert_eq!(pairs(&rows), "handle  ab\nid      c");
    }

    #[test]
    fn times_are_utc_and_a_wild_number_does_not_panic() {
        assert_eq!(time(1_795_489_323_120), "2026-11-24T03:02:03.120Z");
        assert_eq!(time(u64::MAX), format!("{} ms after 1970", u64::MAX));
        assert_eq!(duration(Some(1_200_000)), "20m");
        assert_eq!(duration(Some(90_250)), "1m 30s");
        assert_eq!(duration(None), "none");
    }
}
