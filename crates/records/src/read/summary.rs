//! Records counted by what they have in common.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::glance::Glance;
use super::spread::Spread;
use crate::filter::host_of;

/// Groups at most; what belongs to others is counted together. Targets are chosen by whoever asks.
const MOST_GROUPS: usize = 100_000;
/// Where the field is not set.
const NONE: &str = "(none)";
const OTHERS: &str = "(others)";

macro_rules! names {
    ($(#[$about:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$doc])* $variant,)* }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(|| {
                    format!("one of {}", Self::ALL.iter().map(|one| one.name()).collect::<Vec<_>>().join(", "))
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names! {
    /// What records are counted by.
    By {
        /// `ok` or a slug.
        Outcome = "outcome",
        /// The fault's layer.
        Layer = "layer",
        /// The status that the client got.
        Status = "status",
        /// The target's host.
        Target = "target",
        /// The exit.
        Exit = "exit",
        /// The key.
        Key = "key",
        /// The exit's country.
        Country = "country",
        /// The pool.
        Pool = "pool",
        /// The client's address.
        Client = "client",
        /// The hour in which it began.
        Hour = "hour",
    }
}

names! {
    /// Which time's percentiles are shown.
    Step {
        /// Waiting for admission.
        Queue = "queue",
        /// Resolving the name.
        Dns = "dns",
        /// Connecting.
        Connect = "connect",
        /// The client's TLS handshake.
        Tls = "tls",
        /// From the whole head to the answer.
        Setup = "setup",
        /// From the request as sent to the first byte of the answer.
        FirstByte = "first_byte",
        /// From its beginning to its end.
        Total = "total",
    }
}

/// Records counted by what they have in common.
#[derive(Clone, Debug)]
pub struct Summary {
    by: By,
    step: Step,
    /// All of them.
    pub all: Group,
    groups: Groups,
}

/// Groups by their names.
#[derive(Clone, Debug, Default)]
struct Groups {
    places: HashMap<String, usize>,
    groups: Vec<Group>,
}

/// Records that have something in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// How many.
    pub requests: u64,
    /// How many of them did not end well.
    pub failed: u64,
    /// Bytes from clients to targets.
    pub bytes_up: u64,
    /// Bytes from targets to clients.
    pub bytes_down: u64,
    /// The time asked for, in microseconds, of those that have it.
    pub took: Spread,
}

impl Summary {
    pub(crate) fn new(by: By, step: Step) -> Self {
        Self { by, step, all: Group::default(), groups: Groups::default() }
    }

    pub(crate) fn add(&mut self, glance: &Glance<'_>) {
        let group = Group {
            requests: 1,
            failed: u64::from(glance.outcome != "ok"),
            bytes_up: glance.bytes_up,
            bytes_down: glance.bytes_down,
            took: Spread::default(),
        };
        let took = self.step.of(glance);
        let mut status = String::new();
        let name = match self.by {
            By::Outcome => Some(glance.outcome.as_ref()),
            By::Layer => glance.layer.as_deref(),
            By::Status => glance.status.map(|found| {
                status = found.to_string();
                status.as_str()
            }),
            By::Target => Some(host_of(&glance.target)).filter(|host| !host.is_empty()),
            By::Exit => glance.exit.as_deref(),
            By::Key => glance.key.as_deref(),
            By::Country => glance.country.as_deref(),
            By::Pool => glance.pool.as_deref(),
            By::Client => Some(glance.client.as_ref()),
            By::Hour => glance.time.get(..13),
        };
        for one in [&mut self.all, self.groups.of(name.unwrap_or(NONE))] {
            one.count(&group);
            if let Some(took) = took {
                one.took.add(took);
            }
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.all.merge(&other.all);
        for (name, place) in &other.groups.places {
            self.groups.of(name).merge(&other.groups.groups[*place]);
        }
    }

    /// The groups: hours in their order, all others by their size.
    pub fn groups(&self) -> Vec<(&str, &Group)> {
        let Groups { places, groups } = &self.groups;
        let mut groups: Vec<(&str, &Group)> = places.iter().map(|(name, place)| (name.as_str(), &groups[*place])).collect();
        groups.sort_by(|(a, x), (b, y)| {
            let by_size = if self.by == By::Hour { std::cmp::Ordering::Equal } else { y.requests.cmp(&x.requests) };
            by_size.then_with(|| a.cmp(b))
        });
        groups
    }
}

impl Groups {
    /// A name's group, or that of all others when there are many. A name is copied only when it is new.
    fn of(&mut self, name: &str) -> &mut Group {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None if self.groups.len() < MOST_GROUPS => self.make(name),
            None => match self.places.get(OTHERS) {
                Some(place) => *place,
                None => self.make(OTHERS),
            },
        };
        &mut self.groups[place]
    }

    fn make(&mut self, name: &str) -> usize {
        self.places.insert(name.to_owned(), self.groups.len());
        self.groups.push(Group::default());
        self.groups.len() - 1
    }
}

impl Group {
    fn count(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.bytes_up = self.bytes_up.saturating_add(other.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(other.bytes_down);
    }

    fn merge(&mut self, other: &Self) {
        self.count(other);
        self.took.merge(&other.took);
    }
}

impl Step {
    /// In microseconds.
    fn of(self, glance: &Glance<'_>) -> Option<u64> {
        let ms = match self {
            Self::Queue => Some(glance.ms.queue),
            Self::Dns => Some(glance.ms.dns),
            Self::Connect => Some(glance.ms.connect),
            Self::Tls => glance.ms.tls,
            Self::Setup => glance.ms.setup,
            Self::FirstByte => glance.ms.first_byte,
            Self::Total => Some(glance.ms.total),
        };
        ms.map(|ms| (ms * 1000.0).round().max(0.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_without_end_take_no_room_without_end() {
        let mut summary = Summary::new(By::Target, Step::Total);
        let mut other = Summary::new(By::Target, Step::Total);
        for number in 0..MOST_GROUPS + 10 {
            let line = format!(r#"{{"time":"","request_id":"","outcome":"ok","target":"host{number}:1","ms":{{"total":1.5}}}}"#);
            let glance = Glance::parse(line.as_bytes()).unwrap();
            summary.add(&glance);
            if number < 5 {
                other.add(&glance);
            }
        }
        summary.merge(other);
        let groups = summary.groups();
        assert_eq!((groups.len(), groups[0].0, groups[0].1.requests), (MOST_GROUPS + 1, OTHERS, 10));
        assert_eq!((groups[1].1.requests, groups[1].1.took.most()), (2, 1500));
        assert_eq!(summary.all.requests as usize, MOST_GROUPS + 15);
    }
}
