//! The live registry as the console sees it: who must hear of a change, and who knows what is open right now.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::exit::{Exit, Labels};
use crate::id::{ExitId, KeyId, PlanName, PoolName};
use crate::key::Key;
use crate::plan::Plan;

/// What a running gateway offers to whoever administers it. Calls return at once; their effect is live within a second.
pub trait Live: Send + Sync {
    /// A plan is new or has new limits.
    fn plan_changed(&self, plan: Arc<Plan>);
    /// A plan is gone; no key is on it.
    fn plan_removed(&self, plan: &PlanName);
    /// A key is new or changed; its tunnels end if its state no longer allows them.
    fn key_changed(&self, key: Key);
    /// An exit is new or changed; its links end if it was revoked.
    fn exit_changed(&self, exit: Exit);
    /// The exits that are connected now.
    fn exits_online(&self) -> Vec<ExitStatus>;
    /// What a key uses now; `None` if the gateway doesn't know it.
    fn key_usage(&self, key: &KeyId) -> Option<LiveUsage>;
    /// Delivers what was metered so far to the store; resolves when it is there or could not be delivered now.
    fn flush_usage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

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

/// What a key uses now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveUsage {
    /// Bytes of both directions in the present period, including what isn't delivered yet.
    pub period_bytes: u64,
    /// When the present period began.
    pub period_start: Timestamp,
    /// Tunnels and requests in flight.
    pub open: u64,
}
