//! The period a plan's bytes are counted over, in UTC.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::usage::Hour;

/// How long a plan's bytes last before they begin again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Period {
    /// The calendar month in UTC, whenever the key was created.
    Month,
    /// This many days of 24 hours, counted from the key's anchor. 1 to [`Period::MAX_DAYS`].
    Days(u16),
}

/// The text isn't a period.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeriodError(String);

impl fmt::Display for PeriodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a period: write month, or a number of days from 1d to {}d", self.0, Period::MAX_DAYS)
    }
}

impl std::error::Error for PeriodError {}

const DAY: i64 = 86_400;

impl Period {
    /// Ten years; a longer period is a plan without one.
    pub const MAX_DAYS: u16 = 3_660;

    /// When the period that contains `now` began. Always a whole hour, at or before `now`.
    ///
    /// Usage is kept per hour, so a period can only begin with one: `anchor` is cut down to its hour.
    pub fn start(self, anchor: Timestamp, now: Timestamp) -> Timestamp {
        match self {
            Self::Month => month_start(now),
            Self::Days(days) => {
                let length = DAY * i64::from(days.max(1));
                let anchor = Hour::of(anchor).start().as_second();
                let whole = (now.as_second() - anchor).div_euclid(length);
                seconds(anchor + whole * length, now)
            }
        }
    }

    /// When the period that contains `now` ends and the next begins.
    pub fn end(self, anchor: Timestamp, now: Timestamp) -> Timestamp {
        match self {
            Self::Month => {
                // 32 days after the first of any month lie in the next one.
                let next = seconds(month_start(now).as_second() + 32 * DAY, Timestamp::MAX);
                month_start(next)
            }
            Self::Days(days) => seconds(self.start(anchor, now).as_second() + DAY * i64::from(days.max(1)), Timestamp::MAX),
        }
    }
}

fn month_start(now: Timestamp) -> Timestamp {
    let zoned = now.to_zoned(TimeZone::UTC);
    let into_month = i64::from(zoned.day() - 1) * DAY
        + i64::from(zoned.hour()) * 3_600
        + i64::from(zoned.minute()) * 60
        + i64::from(zoned.second());
    // Whole seconds below `now` can't leave the calendar unless `now` is its first instant.
    seconds(now.as_second() - into_month, now)
}

fn seconds(second: i64, otherwise: Timestamp) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(otherwise)
}

/// `now` moved by `duration` into the future; the end of time when it lies beyond.
pub fn later(now: Timestamp, duration: std::time::Duration) -> Timestamp {
    let milliseconds = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Span::new().try_milliseconds(milliseconds).ok().and_then(|span| now.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// `now` moved by `duration` into the past.
pub fn earlier(now: Timestamp, duration: std::time::Duration) -> Timestamp {
    let milliseconds = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Span::new().try_milliseconds(milliseconds).ok().and_then(|span| now.checked_sub(span).ok()).unwrap_or(Timestamp::MIN)
}

impl FromStr for Period {
    type Err = PeriodError;
    fn from_str(text: &str) -> Result<Self, PeriodError> {
        if text == "month" {
            return Ok(Self::Month);
        }
        let days = text.strip_suffix('d').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        match days.and_then(|number| number.parse().ok()) {
            Some(days @ 1..=Self::MAX_DAYS) => Ok(Self::Days(days)),
            _ => Err(PeriodError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Month => f.pad("month"),
            Self::Days(days) => f.pad(&format!("{days}d")),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp of the table")
    }

    #[test]
    fn periods_begin_and_end() {
        let anchor = "2026-01-31T10:37:12Z";
        let cases = [
            (Period::Month, "2026-11-21T07:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (Period::Month, "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
            (Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Days(30), "2026-01-31T10:37:12Z", "2026-01-31T10:00:00Z", "2026-03-02T10:00:00Z"),
            (Period::Days(30), "2026-03-02T09:59:59Z", "2026-01-31T10:00:00Z", "2026-03-02T10:00:00Z"),
            (Period::Days(30), "2026-03-02T10:00:00Z", "2026-03-02T10:00:00Z", "2026-04-01T10:00:00Z"),
            (Period::Days(1), "2026-02-03T10:30:00Z", "2026-02-03T10:00:00Z", "2026-02-04T10:00:00Z"),
            // A clock that was set back must not lie outside its own period.
            (Period::Days(7), "2026-01-30T00:00:00Z", "2026-01-24T10:00:00Z", "2026-01-31T10:00:00Z"),
        ];
        for (period, now, start, end) in cases {
            assert_eq!(period.start(at(anchor), at(now)), at(start), "start of {period} at {now}");
            assert_eq!(period.end(at(anchor), at(now)), at(end), "end of {period} at {now}");
        }
    }

    #[test]
    fn periods_read_and_print() {
        let cases = [
            ("month", Some(Period::Month)),
            ("30d", Some(Period::Days(30))),
            ("1d", Some(Period::Days(1))),
            ("0d", None),
            ("3661d", None),
            ("+3d", None),
            ("30", None),
            ("Month", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
            if let Some(period) = expected {
                assert_eq!(period.to_string(), text);
            }
        }
    }
}
