//! The live registry as the console sees it: who must hear of a change, and who knows what is open right now.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::country::Country;
use crate::exit::{Exit, Labels, PoolKind};
use crate::id::{ExitId, KeyId, PlanName, PoolName};
use crate::key::Key;
use crate::own::{Purpose, Remembers};
use crate::plan::Plan;

/// What a running gateway offers to whoever administers it. Calls return at once; their effect is live within a second.
pub trait Live: Remembers {
    /// A plan is new or has new limits.
    fn plan_changed(&self, plan: Arc<Plan>);
    /// A plan is gone; no key is on it.
    fn plan_removed(&self, plan: &PlanName);
    /// A key is new or changed; its tunnels end if its state no longer allows them.
    fn key_changed(&self, key: Key);
    /// An exit is new or changed; its links end if it was revoked.
    fn exit_changed(&self, exit: Exit);
    /// How it stands with what it depends on.
    fn standing(&self) -> Standing {
        Standing::default()
    }
    /// The exits that are connected now.
    fn exits_online(&self) -> Vec<ExitStatus>;
    /// What a key uses now; `None` if the gateway doesn't know it.
    fn key_usage(&self, key: &KeyId) -> Option<LiveUsage>;
    /// Delivers what was metered so far to the store; resolves when it is there or could not be delivered now.
    fn flush_usage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// What is in flight now, of one key or of all: the newest of it, at most `most`.
    fn requests_in_flight(&self, key: Option<KeyId>, most: usize) -> Pin<Box<dyn Future<Output = Listing> + Send + '_>> {
        let (_, _) = (key, most);
        Box::pin(async { Listing::default() })
    }
    /// Where exits dial in; `None`: nowhere.
    fn exit_door(&self) -> Option<ExitDoor>;
    /// Asks an exit for another address; resolves when it is back with one or can't be, minutes later perhaps.
    fn rotate_exit(&self, exit: ExitId) -> Pin<Box<dyn Future<Output = Result<Rotation, RotateError>> + Send + '_>>;
    /// Every pool, and how many exits are connected where; at most a second old.
    fn locations(&self) -> Arc<Vec<PoolPlaces>>;
    /// The key whose credentials these are: an `Authorization` of HTTP Basic, from this address. Guesses count together with
    /// those at the proxy.
    fn authenticate(&self, authorization: Option<&str>, source: IpAddr, purpose: Purpose) -> Result<KeyId, Denied>;
    /// Slows down guesses at a secret that is no key's, together with those from the same address at the proxy: counts one that
    /// is not `right`. An `Err` says how long nothing from there counts as right.
    fn throttle_guess(&self, source: IpAddr, right: bool) -> Result<(), Duration>;
    /// Ends the time of a session of the key whose credentials these are: its next use gets another exit where there is one.
    fn rotate_session(&self, authorization: Option<&str>, source: IpAddr, session: &SessionAt) -> Result<RotatedSession, Denied>;
}

/// How a gateway stands with what it depends on.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Standing {
    /// Where what it counts is kept.
    pub usage: UsageKept,
    /// With the other gateways.
    pub sharing: SharingState,
    /// Whether memory is short, so that new requests are refused.
    pub memory_short: bool,
    /// With the records of requests.
    pub records: RecordsKept,
}

/// How it goes with the records of requests.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum RecordsKept {
    /// None are written.
    #[default]
    Off,
    /// They are written.
    Written {
        /// So many were lost since the start, all the same.
        lost: u64,
    },
    /// They can't be written, and traffic goes on without them.
    Failing {
        /// Since when.
        since: Timestamp,
        /// What the system says.
        why: String,
        /// So many were lost since the start.
        lost: u64,
    },
}

/// Where usage is kept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum UsageKept {
    /// In the ledger, but for the last tenth of a second.
    #[default]
    Ledger,
    /// Some of it on this machine's disk only, because the ledger doesn't take it.
    Journal,
    /// Some of it in memory only: neither takes it, and new requests are refused.
    Nowhere,
}

/// How a gateway stands with the others that serve the same keys.
#[derive(Clone, PartialEq, Default, Debug)]
pub enum SharingState {
    /// It shares with nobody.
    #[default]
    Off,
    /// Limits hold over all of them.
    Together {
        /// How many there are, this one included.
        gateways: u32,
    },
    /// What is shared can't be had: it enforces its share of every limit by itself.
    Alone {
        /// Since when.
        since: Timestamp,
        /// Why, for the operator.
        why: String,
        /// Its share, from 0 to 1.
        share: f64,
    },
}

/// A pool and the places of its exits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolPlaces {
    /// Its name.
    pub pool: PoolName,
    /// Its kind.
    pub kind: PoolKind,
    /// Whether a user name may ask for country, state and city.
    pub targeting: bool,
    /// In order of country, state, city; what is not known comes first.
    pub places: Vec<Place>,
}

/// How many exits are connected in one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Country.
    pub country: Option<Country>,
    /// State, as a label.
    pub state: Option<String>,
    /// City, as a label.
    pub city: Option<String>,
    /// How many.
    pub exits: u32,
}

/// A session, and the pool and place it was asked in, as a user name would say them; what is unset is not asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SessionAt {
    /// Its name.
    pub session: String,
    /// Pool.
    pub pool: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// State.
    pub state: Option<String>,
    /// City.
    pub city: Option<String>,
}

/// What became of a session that was to be rotated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotatedSession {
    /// Whose it is.
    pub key: KeyId,
    /// Its pool and place in words.
    pub place: String,
    /// Whether there was one whose time had not ended.
    pub found: bool,
}

/// A fault of the catalogue, for somebody who is not at the proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denied {
    /// Its slug.
    pub slug: &'static str,
    /// Its sentence.
    pub sentence: String,
    /// Why, in terms of what the caller may do.
    pub why: DeniedWhy,
}

/// What a [`Denied`] means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeniedWhy {
    /// The credentials are missing or wrong, or the key may not be used (from here).
    Credentials,
    /// Too many wrong ones came from there; try again after this.
    Throttled(Duration),
    /// The key's plan or an administrator forbids it.
    Forbidden,
    /// What was asked for can't be.
    Invalid,
}

/// Where exits dial in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExitDoor {
    /// The listener's address; may be the unspecified one.
    pub address: SocketAddr,
    /// Whether it has a certificate: `wss://`, else `ws://`.
    pub tls: bool,
}

/// An exit asked for another address and is back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// The address it was seen from before.
    pub before: IpAddr,
    /// The address it is seen from now; perhaps the same.
    pub after: IpAddr,
    /// From the question to the sight of the address after.
    pub took: Duration,
}

impl Rotation {
    /// Is it another address?
    pub fn changed(&self) -> bool {
        self.before != self.after
    }
}

/// Why an exit was not rotated, as far as is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RotateError {
    /// It is not connected.
    Offline,
    /// It is linked to this other gateway, which must be asked.
    Elsewhere(String),
    /// It has no hook that could change its address.
    NoHook,
    /// A rotation of it is under way.
    Busy,
    /// Its address before could not be seen, and why; nothing was changed.
    Unseen(String),
    /// Its hook failed, in its own words.
    Failed(String),
    /// It was asked and has not come back.
    Lost {
        /// The address it was seen from before.
        before: IpAddr,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl fmt::Display for RotateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => f.write_str("the exit is not connected"),
            Self::Elsewhere(gateway) => write!(f, "the exit is linked to the gateway {gateway}: ask that one to rotate it"),
            Self::NoHook => {
                f.write_str("the exit has no way to change its address: start it with --rotate-command or --rotate-url")
            }
            Self::Busy => f.write_str("a rotation of this exit is under way; wait for its end"),
            Self::Unseen(why) => write!(f, "the exit's present address could not be seen: {why}"),
            Self::Failed(why) => write!(f, "the exit's hook failed: {why}"),
            Self::Lost { before, waited } => {
                write!(f, "the exit was asked and has not come back within {} s; it left from {before} before", waited.as_secs())
            }
        }
    }
}

impl std::error::Error for RotateError {}

/// A connected exit.
#[derive(Clone, PartialEq, Debug)]
pub struct ExitStatus {
    /// Which.
    pub id: ExitId,
    /// The pool it serves.
    pub pool: PoolName,
    /// Where it is, as agreed when it dialled in.
    pub labels: Labels,
    /// Open tunnels.
    pub tunnels: u64,
    /// Connections it holds.
    pub links: u64,
    /// The link's last measured round trip.
    pub rtt: Option<Duration>,
    /// Connected since.
    pub since: Timestamp,
    /// The agent's name and version as it said.
    pub agent: String,
    /// Whether it is given tunnels.
    pub health: ExitHealth,
    /// The gateway that it is linked to, when that is another one: `tunnels` are then those from here.
    pub gateway: Option<String>,
}

/// How a connected exit is, going by its set-ups and checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitHealth {
    /// It takes its share.
    Healthy,
    /// It was let back and takes less than its share for a while.
    SlowStart {
        /// Until then.
        until: Timestamp,
    },
    /// It is given no new tunnels.
    Ejected {
        /// What it did, in words.
        why: &'static str,
        /// When it is checked for its return.
        until: Timestamp,
    },
}

impl ExitHealth {
    /// `healthy`, `slow_start` or `ejected`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowStart { .. } => "slow_start",
            Self::Ejected { .. } => "ejected",
        }
    }
}

/// What is in flight.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Listing {
    /// How many requests and tunnels there are.
    pub all: usize,
    /// The newest of them, newest first.
    pub requests: Vec<InFlight>,
}

/// A request or tunnel in flight.
#[derive(Clone, PartialEq, Debug)]
pub struct InFlight {
    /// Its id, under which its record will stand.
    pub request_id: String,
    /// When it began.
    pub since: Timestamp,
    /// Whose it is.
    pub key: KeyId,
    /// Where it came from.
    pub client: IpAddr,
    /// What the client speaks: `http`, `https`, `h2`, `socks5`.
    pub protocol: &'static str,
    /// Its method.
    pub method: String,
    /// `host:port`.
    pub target: String,
    /// Its pool.
    pub pool: PoolName,
    /// The exit it leaves through; `None` for the gateway's own addresses, and while it is being set up.
    pub exit: Option<String>,
    /// Whether its far side was reached.
    pub connected: bool,
}

/// What a key uses now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveUsage {
    /// Bytes of both directions in the present period, including what isn't delivered yet.
    pub period_bytes: u64,
    /// When the present period began.
    pub period_start: Timestamp,
    /// Tunnels and requests in flight.
    pub open: u64,
    /// Requests that may come at once now, where the plan has a rate.
    pub rate_left: Option<u64>,
}
