//! What was used: counters per key, pool and hour, and questions about them.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::contract::StoreError;
use crate::id::{KeyId, NameError, PoolName};

/// An hour in UTC, counted from the epoch: the grain usage is kept in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour that contains `at`.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(3_600))
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        let clamped = (self.0.saturating_mul(3_600)).clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        Timestamp::from_second(clamped).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The four counters. Bytes are payload; `up` is from the client to the target.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Payload bytes from the client to the target.
    pub up: u64,
    /// Payload bytes from the target to the client.
    pub down: u64,
    /// Forwarded requests.
    pub requests: u64,
    /// Tunnels.
    pub tunnels: u64,
}

impl Counters {
    /// Both directions: what a plan's bytes are compared with.
    pub fn bytes(&self) -> u64 {
        self.up.saturating_add(self.down)
    }

    /// Adds another reading.
    pub fn add(&mut self, other: &Self) {
        self.up = self.up.saturating_add(other.up);
        self.down = self.down.saturating_add(other.down);
        self.requests = self.requests.saturating_add(other.requests);
        self.tunnels = self.tunnels.saturating_add(other.tunnels);
    }

    /// Nothing was used.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// What one key used in one pool within one hour since the last batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageDelta {
    /// Whose.
    pub key: KeyId,
    /// Through which pool.
    pub pool: PoolName,
    /// When it was metered.
    pub hour: Hour,
    /// When the key's period that contains `hour` began: [`Period::start`](crate::Period::start) of the hour's first instant.
    pub period_start: Timestamp,
    /// How much.
    pub counters: Counters,
}

/// One delivery of usage. The pair of gateway and sequence is its idempotency key: deliver the same batch again whenever
/// the answer was not a clear yes, never a different one under the same number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageBatch {
    /// The gateway's own lasting name.
    pub gateway: String,
    /// One more than the gateway's last; the first is 1.
    pub sequence: u64,
    /// What was used. May be empty.
    pub rows: Vec<UsageDelta>,
}

impl UsageBatch {
    /// Refuses what a signed 64-bit column can't hold: every backend keeps the same range.
    pub fn check_range(&self) -> Result<(), StoreError> {
        let numbers = self.rows.iter().flat_map(|row| [row.counters.bytes(), row.counters.requests, row.counters.tunnels]);
        match numbers.chain([self.sequence]).any(|number| i64::try_from(number).is_err()) {
            true => Err(StoreError::number_too_large(&format!("batch {} of {}", self.sequence, self.gateway))),
            false => Ok(()),
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It was added now.
    Added,
    /// It had been added before; nothing changed.
    Repeated,
}

/// What a key used in its period so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeriodUsage {
    /// When the period began.
    pub start: Timestamp,
    /// Both directions since then.
    pub bytes: u64,
}

/// How a usage question groups its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grouping {
    /// A line per key.
    Key,
    /// A line per day, UTC.
    Day,
    /// A line per hour, UTC.
    Hour,
    /// A line per pool.
    Pool,
}

impl Grouping {
    /// Every grouping, by name.
    pub const ALL: [(&'static str, Self); 4] =
        [("key", Self::Key), ("day", Self::Day), ("hour", Self::Hour), ("pool", Self::Pool)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Pool => "pool",
        }
    }

    /// The label of the group that a row belongs to: the key's id, `2026-11-21`, `2026-11-21T07:00Z` or the pool's name.
    pub fn label(self, key: &str, pool: &str, hour: Hour) -> String {
        match self {
            Self::Key => key.to_owned(),
            Self::Pool => pool.to_owned(),
            Self::Day => hour.start().to_string().chars().take(10).collect(),
            Self::Hour => hour.start().to_string().chars().take(16).chain(['Z']).collect(),
        }
    }
}

impl FromStr for Grouping {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, grouping)| *grouping);
        found.ok_or_else(|| NameError::new("grouping", text, "key, day, hour, pool"))
    }
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A question about usage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageQuery {
    /// Only this key.
    pub key: Option<KeyId>,
    /// From the hour that contains this on.
    pub since: Timestamp,
    /// How to group.
    pub by: Grouping,
    /// Only groups whose label sorts after this one (the last of the page before).
    pub after: Option<String>,
    /// At most this many groups.
    pub limit: usize,
}

/// One line of the answer, ascending by label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRow {
    /// See [`Grouping::label`].
    pub group: String,
    /// The sums.
    pub counters: Counters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_sort_as_they_happened() {
        let hour = Hour::of("2026-11-21T07:45:12.5Z".parse().expect("a timestamp"));
        assert_eq!(hour.start().to_string(), "2026-11-21T07:00:00Z");
        let cases = [
            (Grouping::Key, "abcd"),
            (Grouping::Pool, "direct"),
            (Grouping::Day, "2026-11-21"),
            (Grouping::Hour, "2026-11-21T07:00Z"),
        ];
        for (grouping, expected) in cases {
            assert_eq!(grouping.label("abcd", "direct", hour), expected);
            assert_eq!(grouping.name().parse(), Ok(grouping));
        }
        assert!("week".parse::<Grouping>().is_err());
        assert_eq!(Hour::of("1969-12-31T23:30:00Z".parse().expect("a timestamp")), Hour(-1));
    }
}
