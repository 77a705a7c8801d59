//! The whole of a ledger, told and taken: for moving it to another store, and for looking whether it is sound.

use tokio::sync::mpsc;

use crate::audit::AuditRow;
use crate::contract::{Store, StoreFuture};
use crate::exit::Exit;
use crate::id::{KeyId, PoolName};
use crate::key::Key;
use crate::plan::Plan;
use crate::usage::{Counters, Hour};

/// Entries on their way at once.
pub const ENTRIES: usize = 1_024;

/// One thing that a ledger keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A plan.
    Plan(Plan),
    /// A key.
    Key(Key),
    /// An exit.
    Exit(Exit),
    /// What a key used.
    Usage(UsageCell),
    /// The last batch of a gateway.
    Delivery {
        /// The gateway's name.
        gateway: String,
        /// Its number.
        sequence: u64,
    },
    /// An entry of the audit trail.
    Audit(AuditRow),
    /// That was all of it. Without this, nothing of it counts.
    End,
}

impl Entry {
    /// Where its kind stands among the others: entries are told and taken in this order, so that a key finds its plan.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Plan(_) => 0,
            Self::Key(_) => 1,
            Self::Exit(_) => 2,
            Self::Usage(_) => 3,
            Self::Delivery { .. } => 4,
            Self::Audit(_) => 5,
            Self::End => 6,
        }
    }
}

/// What one key used in one hour through one pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageCell {
    /// Whose.
    pub key: KeyId,
    /// When.
    pub hour: Hour,
    /// Through which pool.
    pub pool: PoolName,
    /// How much.
    pub counters: Counters,
}

/// A store that lasts: one that can be moved and checked.
pub trait Archive: Store {
    /// Tells everything as of one moment, in the order of [`Entry::rank`] and then of names, up to [`Entry::End`].
    fn export(&self, entries: mpsc::Sender<Entry>) -> StoreFuture<'_, ()>;

    /// Takes everything up to [`Entry::End`], all of it or nothing. [`StoreError::Conflict`](crate::StoreError::Conflict) when
    /// there is anything in it already, or the entries contradict each other.
    fn import(&self, entries: mpsc::Receiver<Entry>) -> StoreFuture<'_, ()>;

    /// What is wrong with what is kept, a line each; none if all is well.
    fn check(&self) -> StoreFuture<'_, Vec<String>>;
}

/// For a store that speaks SQL and has the tables that ours have: questions whose answer must be zero, and what so many of are
/// wrong when it isn't.
pub const CHECKS: [(&str, &str); 5] = [
    (
        "SELECT count(*) FROM keys WHERE NOT EXISTS (SELECT 1 FROM plans WHERE plans.name = keys.plan)",
        "keys are on plans that don't exist",
    ),
    (
        "SELECT count(*) FROM usage WHERE up < 0 OR down < 0 OR requests < 0 OR tunnels < 0",
        "hours of usage have a counter below zero",
    ),
    (
        "SELECT count(*) FROM periods WHERE bytes <> (
             SELECT coalesce(sum(up + down), 0) FROM usage WHERE usage.key = periods.key AND usage.hour >= periods.start_hour)",
        "keys have a sum of their period that is not the sum of its hours",
    ),
    (
        "SELECT count(*) FROM (SELECT DISTINCT key FROM usage) AS used
         WHERE NOT EXISTS (SELECT 1 FROM periods WHERE periods.key = used.key)",
        "keys have usage and no sum of a period",
    ),
    (
        "SELECT (SELECT count(*) FROM deliveries WHERE sequence < 1)
              + (SELECT count(*) FROM changes WHERE number > (SELECT coalesce(max(number), 0) FROM audit))",
        "numbers of batches or changes are out of range",
    ),
];
