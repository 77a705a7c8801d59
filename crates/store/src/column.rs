//! For stores of columns: how the values of several of our types become texts and numbers, and come back.
//!
//! What comes back is parsed again: a damaged row is an error, never a guess.

use std::fmt::{self, Display};
use std::str::FromStr;

use jiff::Timestamp;

use crate::usage::Grouping;

/// What is kept is not ours: of what, and which part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged(pub String);

impl Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger is damaged: {}", self.0)
    }
}

impl std::error::Error for Damaged {}

/// A list as one text; no element of ours contains a space.
pub fn joined<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// Back from [`joined`]; `of` is whose it is.
pub fn list<T: FromStr<Err: Display>>(text: &str, of: &str) -> Result<Vec<T>, Damaged> {
    text.split_ascii_whitespace().map(|item| parse(item, of)).collect()
}

/// One value from its text.
pub fn parse<T: FromStr<Err: Display>>(text: &str, of: &str) -> Result<T, Damaged> {
    text.parse().map_err(|error: T::Err| Damaged(format!("{of}: {error}")))
}

/// A number that may be missing, within the range of its type.
pub fn optional<T: TryFrom<i64>>(number: Option<i64>, of: &str) -> Result<Option<T>, Damaged> {
    number.map(|number| T::try_from(number).map_err(|_| Damaged(format!("{of}: {number}")))).transpose()
}

/// A moment from its milliseconds since the epoch.
pub fn time(milliseconds: i64, of: &str) -> Result<Timestamp, Damaged> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| Damaged(format!("{of}: a time")))
}

/// What rows of usage, with columns `key`, `pool` and `hour`, are grouped by in SQL.
pub fn group(by: Grouping) -> &'static str {
    match by {
        Grouping::Key => "key",
        Grouping::Pool => "pool",
        Grouping::Hour => "hour",
        // Hours are counted from the epoch's midnight.
        Grouping::Day => "hour / 24",
    }
}

/// A number for a signed column. What is beyond its range was refused before: see [`check_range`](crate::Change::check_range).
pub fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A sum of counters, which is never negative.
pub fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
