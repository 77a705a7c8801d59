//! What was counted up to one moment, over all event loops.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Sub;
use std::sync::Arc;

use crate::ended::{Kind, Step};
use crate::histogram::Histogram;
use crate::tally::Tally;

/// What was counted since the start. It only ever grows: `later - earlier` is what happened in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests by how they came in and which pool they were for.
    pub ways: BTreeMap<Way, Tally>,
    /// Requests that were admitted to a pool, by where they went out.
    pub places: BTreeMap<Place, Placed>,
    /// How long each step took, over all requests; `steps[Step::Dns as usize]`, or [`Snapshot::step`].
    pub steps: [Histogram; Step::COUNT],
    /// Payload by pool, counted while it moves: that of open tunnels too.
    pub moved: BTreeMap<Arc<str>, Moved>,
}

/// Payload in bytes, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// From clients.
    pub up: u64,
    /// To clients.
    pub down: u64,
}

/// How requests came in, and the pool they were for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// What the client spoke.
    pub protocol: &'static str,
    /// What it wanted.
    pub kind: Kind,
    /// Empty where a request ended before it was admitted to one; [`OTHER`] beyond the first [`MOST_POOLS`].
    pub pool: Arc<str>,
}

/// Where requests went out, or were to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The pool; [`OTHER`] beyond the first [`MOST_POOLS`].
    pub pool: Arc<str>,
    /// The country.
    pub country: Country,
}

/// What was counted in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// How its requests ended.
    pub tally: Tally,
    /// From complete heads to answers, faults among them, of whatever was dialled.
    pub setup: Histogram,
    /// The same of what went well, so far: see [`Meter::answered`](crate::Meter::answered).
    pub answer: Histogram,
}

/// The name that stands for every pool beyond the first [`MOST_POOLS`].
pub const OTHER: &str = "other";
/// Pools that are counted apart. They are the operator's to name, so there are few; a configuration by a program may have more.
pub const MOST_POOLS: usize = 32;
/// Places that are counted apart; in further ones the country is [`Country::Other`].
pub const MOST_PLACES: usize = 1024;

/// A country as a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Country {
    /// Not known, or none: the gateway's own addresses.
    #[default]
    Unknown,
    /// Two letters of ISO 3166-1.
    Code([u8; 2]),
    /// One of those that are not counted apart.
    Other,
}

impl Country {
    /// The country with this code; unknown if it is none.
    pub fn of(code: Option<&str>) -> Country {
        match code.map(str::as_bytes) {
            Some(&[a, b]) if a.is_ascii_lowercase() && b.is_ascii_lowercase() => Country::Code([a, b]),
            _ => Country::Unknown,
        }
    }

    /// The code; empty if it is not known, [`OTHER`] for the rest.
    pub fn as_str(&self) -> &str {
        match self {
            Country::Unknown => "",
            Country::Code(letters) => std::str::from_utf8(letters).unwrap_or_default(),
            Country::Other => OTHER,
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Snapshot {
    /// The histogram of a step.
    pub fn step(&self, step: Step) -> &Histogram {
        &self.steps[step as usize]
    }

    /// All requests together.
    pub fn total(&self) -> Tally {
        sum(self.ways.values())
    }

    /// The requests of one pool; those with an empty name ended before they had one.
    pub fn pool(&self, pool: &str) -> Tally {
        sum(self.ways.iter().filter(|(way, _)| &*way.pool == pool).map(|(_, tally)| tally))
    }

    /// What one pool counted in all its places.
    pub fn places_of(&self, pool: &str) -> Placed {
        let mut all = Placed::default();
        self.places.iter().filter(|(place, _)| &*place.pool == pool).for_each(|(_, placed)| all.merge(placed));
        all
    }

    /// Payload of all pools.
    pub fn moved(&self) -> Moved {
        self.moved.values().fold(Moved::default(), |all, moved| Moved { up: all.up + moved.up, down: all.down + moved.down })
    }

    /// Adds what another one counted, on another event loop or at another time.
    pub fn merge(&mut self, other: &Snapshot) {
        other.ways.iter().for_each(|(way, tally)| self.ways.entry(way.clone()).or_default().merge(tally));
        other.places.iter().for_each(|(place, placed)| self.places.entry(place.clone()).or_default().merge(placed));
        self.steps.iter_mut().zip(&other.steps).for_each(|(here, there)| here.merge(there));
        other.moved.iter().for_each(|(pool, moved)| self.moved.entry(pool.clone()).or_default().add(*moved));
    }

    /// What was counted since `earlier`, an older snapshot of the same meters.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let (no_tally, no_place) = (Tally::default(), Placed::default());
        let ways = self.ways.iter().map(|(way, now)| (way.clone(), now.since(earlier.ways.get(way).unwrap_or(&no_tally))));
        let places = self.places.iter().map(|(place, now)| {
            let before = earlier.places.get(place).unwrap_or(&no_place);
            let (setup, answer) = (now.setup.since(&before.setup), now.answer.since(&before.answer));
            (place.clone(), Placed { tally: now.tally.since(&before.tally), setup, answer })
        });
        let moved = self.moved.iter().map(|(pool, now)| {
            let before = earlier.moved.get(pool).copied().unwrap_or_default();
            (pool.clone(), Moved { up: now.up.saturating_sub(before.up), down: now.down.saturating_sub(before.down) })
        });
        Snapshot {
            ways: ways.filter(|(_, tally)| tally.requests() > 0).collect(),
            places: places.filter(|(_, placed)| placed.tally.requests() + placed.setup.count() > 0).collect(),
            steps: std::array::from_fn(|at| self.steps[at].since(&earlier.steps[at])),
            moved: moved.filter(|(_, moved)| *moved != Moved::default()).collect(),
        }
    }
}

impl Moved {
    pub(crate) fn add(&mut self, more: Moved) {
        self.up += more.up;
        self.down += more.down;
    }
}

impl Placed {
    fn merge(&mut self, other: &Placed) {
        self.tally.merge(&other.tally);
        self.setup.merge(&other.setup);
        self.answer.merge(&other.answer);
    }
}

fn sum<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Tally {
    let mut all = Tally::default();
    tallies.for_each(|tally| all.merge(tally));
    all
}

impl Sub for &Snapshot {
    type Output = Snapshot;

    fn sub(self, earlier: &Snapshot) -> Snapshot {
        self.since(earlier)
    }
}
