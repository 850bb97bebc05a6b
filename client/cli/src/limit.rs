//! Limits as people write them: durations, sizes, numbers, or none.

use std::time::Duration;

use crate::arguments::positive_duration;

/// A limit, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);

fn or_none<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Limit<T>, String> {
    match text {
        "none" => Ok(Limit(None)),
        _ => parse(text).map(|value| Limit(Some(value))).map_err(|error| format!("{error}, or none")),
    }
}

/// A duration above zero, or `none`.
///
/// # Errors
///
/// What is wrong with `text`, for clap; so with all of these.
pub(crate) fn duration_or_none(text: &str) -> Result<Limit<Duration>, String> {
    or_none(text, positive_duration)
}

/// A size in bytes above zero, or `none`.
pub(crate) fn size_or_none(text: &str) -> Result<Limit<u64>, String> {
    or_none(text, |text| size(text).and_then(above_zero))
}

/// A number above zero, or `none`.
pub(crate) fn number_or_none<T: std::str::FromStr + Default + PartialEq>(
    text: &str,
) -> Result<Limit<T>, String> {
    or_none(text, |text| match text.parse() {
        Ok(number) => above_zero(number),
        Err(_) => Err("not a number".to_owned()),
    })
}

fn above_zero<T: Default + PartialEq>(number: T) -> Result<T, String> {
    if number == T::default() { Err("must be above zero".to_owned()) } else { Ok(number) }
}

/// A size in bytes: `4096`, `64KiB`, `64MiB`, `1GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "not a size; write 4096, 64KiB, 64MiB or 1GiB".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "K" | "k" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

/// A size for people, exact: `64 MiB`, `1000 bytes`.
pub(crate) fn shown_size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    whole.map_or_else(|| format!("{bytes} bytes"), |(size, unit)| format!("{} {unit}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64KiB", 65_536), ("64MiB", 64 << 20), ("1G", 1 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "64MB", "99999999999GiB", "ü"] {
            assert!(size(text).is_err(), "{text} was taken");
        }
        assert_eq!((shown_size(64 << 20), shown_size(1_000)), ("64 MiB".to_owned(), "1000 bytes".to_owned()));
    }

    #[test]
    fn none_is_no_limit_and_zero_is_none() {
        assert_eq!(duration_or_none("none"), Ok(Limit(None)));
        assert_eq!(duration_or_none("20m"), Ok(Limit(Some(Duration::from_secs(1_200)))));
        assert_eq!(number_or_none::<u32>("7"), Ok(Limit(Some(7))));
        assert_eq!(size_or_none("1KiB"), Ok(Limit(Some(1_024))));
        for wrong in
            [number_or_none::<u64>("0").is_ok(), size_or_none("0").is_ok(), duration_or_none("0s").is_ok()]
        {
            assert!(!wrong, "zero looks like `none` and might mean `nothing`");
        }
    }
}
