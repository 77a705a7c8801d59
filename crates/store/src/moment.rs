//! Moments as people write them: `2026-12-31`, `2026-12-31T12:00:00Z`, or a distance from now such as `30d`.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::amount::parse_duration;
use crate::period::{earlier, later};

/// The text isn't a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MomentError(String);

impl fmt::Display for MomentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a time: write a date (2026-12-31, its first moment in UTC), a date with time (2026-12-31T18:00:00Z) or a distance from now (24h, 30d)",
            self.0
        )
    }
}

impl std::error::Error for MomentError {}

/// A moment in the past: a distance counts backwards.
pub fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
    parse_fixed(text).or_else(|| parse_duration(text).ok().map(|distance| earlier(now, distance))).ok_or_else(|| wrong(text))
}

/// A moment in the future: a distance counts forwards.
pub fn parse_until(text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
    parse_fixed(text).or_else(|| parse_duration(text).ok().map(|distance| later(now, distance))).ok_or_else(|| wrong(text))
}

fn parse_fixed(text: &str) -> Option<Timestamp> {
    // The calendar also reads 2026-12-31T18:00 as a date; here that would silently drop the time.
    if text.len() == 10
        && let Ok(date) = text.parse::<Date>()
    {
        return date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    }
    text.parse().ok()
}

fn wrong(text: &str) -> MomentError {
    MomentError(text.chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now: Timestamp = "2026-11-21T07:30:00Z".parse().expect("a timestamp");
        let cases = [
            ("2026-12-31", Some("2026-12-31T00:00:00Z"), Some("2026-12-31T00:00:00Z")),
            ("2026-12-31T18:00:00Z", Some("2026-12-31T18:00:00Z"), Some("2026-12-31T18:00:00Z")),
            ("2026-12-31T18:00:00+02:00", Some("2026-12-31T16:00:00Z"), Some("2026-12-31T16:00:00Z")),
            ("24h", Some("2026-11-20T07:30:00Z"), Some("2026-11-22T07:30:00Z")),
            ("30d", Some("2026-10-22T07:30:00Z"), Some("2026-12-21T07:30:00Z")),
            ("2026-12-31T18:00", None, None),
            ("2026-02-30", None, None),
            ("tomorrow", None, None),
            ("", None, None),
        ];
        for (text, since, until) in cases {
            let expect = |expected: Option<&str>| expected.map(|expected| expected.parse::<Timestamp>().expect("a timestamp"));
            assert_eq!(parse_since(text, now).ok(), expect(since), "since {text:?}");
            assert_eq!(parse_until(text, now).ok(), expect(until), "until {text:?}");
        }
    }
}
