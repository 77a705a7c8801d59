//! A signal: one thing that is watched, how it stands, and since when.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The share of requests that fail by no fault of their sender's.
    Errors,
    /// That share against what is usual at this hour.
    ErrorsJump,
    /// The mean time until answers: a tunnel's 200, the head of a target's response.
    LatencyMean,
    /// The 99th percentile of that time.
    LatencyP99,
    /// The median of that time against what is usual at this hour.
    LatencyJump,
    /// How much of a bound is taken.
    Queue,
    /// How long names take to resolve.
    Dns,
    /// How long clients' TLS handshakes take.
    Tls,
    /// A pool has no exit left that is connected and well.
    ExitsGone,
    /// The ledger doesn't take what was counted.
    Usage,
    /// What gateways share can't be had.
    Sharing,
    /// Memory is short.
    Memory,
    /// Records are dropped.
    Records,
}

impl Kind {
    /// Every kind, in the order of lists.
    pub const ALL: [Kind; 13] = [
        Kind::Errors,
        Kind::ErrorsJump,
        Kind::LatencyMean,
        Kind::LatencyP99,
        Kind::LatencyJump,
        Kind::Queue,
        Kind::Dns,
        Kind::Tls,
        Kind::ExitsGone,
        Kind::Usage,
        Kind::Sharing,
        Kind::Memory,
        Kind::Records,
    ];

    /// Its name in JSON, lists and messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Errors => "errors",
            Kind::ErrorsJump => "errors_jump",
            Kind::LatencyMean => "latency_mean",
            Kind::LatencyP99 => "latency_p99",
            Kind::LatencyJump => "latency_jump",
            Kind::Queue => "queue",
            Kind::Dns => "dns",
            Kind::Tls => "tls",
            Kind::ExitsGone => "exits_gone",
            Kind::Usage => "usage",
            Kind::Sharing => "sharing",
            Kind::Memory => "memory",
            Kind::Records => "records",
        }
    }

    /// One line that says what it is about.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Errors => "requests that fail, but not by their sender's fault",
            Kind::ErrorsJump => "requests that fail, against the same hour of the days before",
            Kind::LatencyMean => "mean time until an answer",
            Kind::LatencyP99 => "time within which 99 % of answers come",
            Kind::LatencyJump => "median time until an answer, against the same hour of the days before",
            Kind::Queue => "how much of a bound is taken",
            Kind::Dns => "median time to resolve a name",
            Kind::Tls => "median time of clients' TLS handshakes",
            Kind::ExitsGone => "a pool that had exits has none that is connected and well",
            Kind::Usage => "usage that the ledger doesn't take",
            Kind::Sharing => "limits that are not shared with the other gateways",
            Kind::Memory => "memory that is short, so that new requests are refused",
            Kind::Records => "records that were dropped",
        }
    }

    /// Whether requests that fail raise it.
    pub fn is_about_failures(self) -> bool {
        matches!(self, Kind::Errors | Kind::ErrorsJump)
    }

    /// Whether slow answers raise it.
    pub fn is_about_time(self) -> bool {
        matches!(self, Kind::LatencyMean | Kind::LatencyP99 | Kind::LatencyJump)
    }

    /// What its value is measured in.
    pub fn unit(self) -> Unit {
        match self {
            Kind::Errors | Kind::Queue => Unit::Share,
            Kind::ErrorsJump | Kind::LatencyJump => Unit::Times,
            Kind::LatencyMean | Kind::LatencyP99 | Kind::Dns | Kind::Tls => Unit::Seconds,
            Kind::ExitsGone | Kind::Records => Unit::Count,
            Kind::Usage | Kind::Sharing | Kind::Memory => Unit::Flag,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a value is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// 0 to 1.
    Share,
    /// So many times the usual.
    Times,
    /// A number of things.
    Count,
    /// 1: it is so.
    Flag,
}

impl Unit {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Share => "share",
            Unit::Times => "times",
            Unit::Count => "count",
            Unit::Flag => "flag",
        }
    }

    /// A value for people: `12.3 %`, `2.4 s`, `180 ms`, `3.1 times`, `yes`.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value < 1.0 => format!("{:.0} ms", value * 1e3),
            Unit::Seconds => format!("{value:.1} s"),
            Unit::Share => format!("{:.1} %", value * 100.0),
            Unit::Times => format!("{value:.1} times"),
            Unit::Count => format!("{value:.0}"),
            Unit::Flag => if value > 0.0 { "yes" } else { "no" }.into(),
        }
    }
}

/// What of the gateway it is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of it.
    Gateway,
    /// One pool.
    Pool(String),
    /// One pool's exits in one country.
    Country {
        /// The pool.
        pool: String,
        /// ISO 3166-1 alpha-2, lower case.
        country: String,
    },
    /// Something that is bounded: `connections`, `exit_connections`, `in_flight`, `open_files`.
    Bound(String),
}

impl Scope {
    /// The pool, if it is about one.
    pub fn pool(&self) -> Option<&str> {
        match self {
            Scope::Pool(pool) | Scope::Country { pool, .. } => Some(pool),
            Scope::Gateway | Scope::Bound(_) => None,
        }
    }
}

/// `all`, `pool residential`, `pool residential in us`, `connections`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Gateway => f.write_str("all"),
            Scope::Pool(pool) => write!(f, "pool {pool}"),
            Scope::Country { pool, country } => write!(f, "pool {pool} in {country}"),
            Scope::Bound(what) => f.write_str(what),
        }
    }
}

/// How a signal stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// There is too little to tell.
    Unknown,
    /// It is below its threshold.
    Fine,
    /// It is above it, but not for long enough to say so.
    Pending,
    /// It is raised.
    Raised,
    /// It is raised, and was below the lower bound lately.
    Clearing,
}

impl State {
    /// Its name in JSON and lists.
    pub fn name(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Fine => "fine",
            State::Pending => "pending",
            State::Raised => "raised",
            State::Clearing => "clearing",
        }
    }

    /// Raised, clearing or not.
    pub fn is_raised(self) -> bool {
        matches!(self, State::Raised | State::Clearing)
    }
}

/// How bad it is while it is raised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Some are served worse than they should be.
    Degraded,
    /// Most are not served, or what is counted may be lost.
    Down,
}

impl Severity {
    /// Its name in JSON and lists.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Degraded => "degraded",
            Severity::Down => "down",
        }
    }
}

/// How one signal stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Signal {
    /// What is watched.
    pub kind: Kind,
    /// Where.
    pub scope: Scope,
    /// How it stands.
    pub state: State,
    /// How bad it is, when it is raised.
    pub severity: Option<Severity>,
    /// The value at the last look; none without enough samples.
    pub value: Option<f64>,
    /// What it is measured in.
    pub unit: Unit,
    /// Above this it is raised.
    pub threshold: f64,
    /// The last change between raised and not; none if there was none.
    pub since: Option<Timestamp>,
    /// How many requests the value is from; 0 where it isn't from requests.
    pub samples: u64,
    /// What else is known, for the operator.
    pub note: Option<String>,
}

impl Signal {
    /// One line: `errors of pool residential: 12.1 % (threshold 5.0 %)`.
    pub fn line(&self) -> String {
        let value = self.value.map_or_else(|| "no samples".into(), |value| self.unit.show(value));
        format!("{} ({}): {value}, threshold {}", self.kind, self.scope, self.unit.show(self.threshold))
    }
}
