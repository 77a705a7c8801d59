//! An exit: an agent that dials in, where it stands and whether it is used; and the kinds of pool.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::country::Country;
use crate::id::{ExitId, NameError, PoolName};
use crate::secret::SecretHash;

/// An exit as the store keeps it. The token is only there as a hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// Its id.
    pub id: ExitId,
    /// What people call it.
    pub name: Option<String>,
    /// The pool it belongs to; `None`: the one it names when it dials in.
    pub pool: Option<PoolName>,
    /// Where it is, as far as the operator said. What is unset here, the exit may say itself when it dials in.
    pub labels: Labels,
    /// Its share of the traffic against that of the other exits: one of weight 4 takes four times the tunnels of one of weight
    /// 1. Within [`Exit::WEIGHTS`].
    pub weight: u16,
    /// Tunnels it carries at once at most; `None`: as many as the gateway lets any exit carry.
    pub max_tunnels: Option<u32>,
    /// What it dials in with.
    pub token: SecretHash,
    /// Whether it is used.
    pub state: ExitState,
    /// When it was enrolled.
    pub created: Timestamp,
}

impl Exit {
    /// The weights there are: three orders of magnitude lie between a modem and a data centre.
    pub const WEIGHTS: RangeInclusive<u16> = 1..=1_000;
    /// The weight of an exit that nobody weighed.
    pub const WEIGHT: u16 = 1;
}

/// Where an exit is.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Country.
    pub country: Option<Country>,
    /// Subdivision of it, without the country's part of the ISO 3166-2 code (`ca`).
    pub state: Option<String>,
    /// City, in lower-case letters and digits (`losangeles`).
    pub city: Option<String>,
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// Carrier or provider.
    pub carrier: Option<String>,
}

/// Whether an exit is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitState {
    /// It is.
    Active,
    /// No new tunnels; the open ones may finish.
    Draining,
    /// Its token opens nothing any more.
    Revoked,
}

impl ExitState {
    /// `active`, `draining` or `revoked`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Revoked => "revoked",
        }
    }

    /// Back from its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Draining, Self::Revoked].into_iter().find(|state| state.name() == name)
    }
}

/// What a pool consists of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PoolKind {
    /// Connections of households.
    Residential,
    /// Mobile networks.
    Mobile,
    /// Addresses of access providers, in a data centre.
    Isp,
    /// Data centres.
    Datacenter,
    /// The gateway's own addresses.
    Direct,
}

impl PoolKind {
    /// Every kind, by name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("residential", Self::Residential),
        ("mobile", Self::Mobile),
        ("isp", Self::Isp),
        ("datacenter", Self::Datacenter),
        ("direct", Self::Direct),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Residential => "residential",
            Self::Mobile => "mobile",
            Self::Isp => "isp",
            Self::Datacenter => "datacenter",
            Self::Direct => "direct",
        }
    }
}

impl FromStr for PoolKind {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        found.ok_or_else(|| NameError::new("pool kind", text, "residential, mobile, isp, datacenter, direct"))
    }
}

impl fmt::Display for PoolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for PoolKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for PoolKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_states_read_back() {
        for (name, kind) in PoolKind::ALL {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(kind.name(), name);
        }
        for state in [ExitState::Active, ExitState::Draining, ExitState::Revoked] {
            assert_eq!(ExitState::from_name(state.name()), Some(state));
        }
    }
}
