//! A plan: what the keys on it may use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::country::Country;
use crate::id::{PlanName, PoolName};
use crate::period::Period;

/// Limits shared by every key on the plan (each key has them for itself). `None` and empty lists mean no limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// Payload bytes of both directions per period.
    pub bytes: Option<u64>,
    /// The period of `bytes`.
    pub period: Period,
    /// Requests per second.
    pub rate: Option<u32>,
    /// How many requests may come at once before `rate` holds; as many as `rate` when unset.
    pub burst: Option<u32>,
    /// Concurrent tunnels.
    pub threads: Option<u32>,
    /// Bytes per second, both directions together.
    pub speed: Option<u64>,
    /// Allowed pools; empty: every pool.
    pub pools: Vec<PoolName>,
    /// Allowed target ports; empty: the gateway's own list.
    pub ports: Vec<PortRange>,
    /// Countries its keys may ask for; empty: every country.
    pub countries: Vec<Country>,
}

impl Plan {
    /// A plan without limits.
    pub fn unlimited(name: PlanName) -> Self {
        Self {
            name,
            bytes: None,
            period: Period::Month,
            rate: None,
            burst: None,
            threads: None,
            speed: None,
            pools: Vec::new(),
            ports: Vec::new(),
            countries: Vec::new(),
        }
    }
}

/// Ports from one to another, both included; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last, not below `from`.
    pub to: u16,
}

impl PortRange {
    /// Whether `port` lies in it.
    pub fn contains(self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }
}

/// The text isn't a port or a range of ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortRangeError(String);

impl fmt::Display for PortRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a port: write one from 1 to 65535, or a range such as 8000-8999", self.0)
    }
}

impl std::error::Error for PortRangeError {}

impl FromStr for PortRange {
    type Err = PortRangeError;
    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let port = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse::<u16>().ok().filter(|port| *port > 0) } else { None }
        };
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        match (port(from), port(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self { from, to }),
            _ => Err(PortRangeError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { write!(f, "{}", self.from) } else { write!(f, "{}-{}", self.from, self.to) }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        let cases = [
            ("80", Some((80, 80))),
            ("8000-8999", Some((8_000, 8_999))),
            ("1-65535", Some((1, 65_535))),
            ("0", None),
            ("65536", None),
            ("90-80", None),
            ("80-", None),
            ("-80", None),
            ("+80", None),
            ("80,443", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let range = text.parse::<PortRange>().ok();
            assert_eq!(range.map(|range| (range.from, range.to)), expected, "{text:?}");
            if let Some(range) = range {
                assert_eq!(range.to_string(), text);
                assert!(range.contains(range.from) && range.contains(range.to));
            }
        }
    }
}
