//! The store's contract: what every backend does, and what its errors say about what happened.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;

use crate::audit::{Audit, AuditQuery, AuditRow};
use crate::exit::Exit;
use crate::id::{ExitId, KeyId, PlanName};
use crate::key::Key;
use crate::plan::Plan;
use crate::usage::{Delivery, PeriodUsage, UsageBatch, UsageQuery, UsageRow};

/// What a store's method returns.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store didn't do it, by whether it happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// It certainly didn't happen; trying again may help. For the operator.
    Refused(String),
    /// It may have happened: ask, or repeat it under the same idempotency key. For the operator.
    Unclear(String),
    /// It didn't happen, because something else stands against it; trying again won't help. For whoever asked.
    Conflict(String),
    /// It didn't happen, because what it is about isn't there.
    NotFound,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the store refused: {reason}"),
            Self::Unclear(reason) => write!(f, "the store may or may not have done it: {reason}"),
            Self::Conflict(reason) => f.write_str(reason),
            Self::NotFound => f.write_str("there is no such thing in the store"),
        }
    }
}

impl std::error::Error for StoreError {}

/// What every backend tells in the same words.
impl StoreError {
    /// A plan can't be removed while keys are on it.
    pub fn plan_in_use(name: &PlanName, keys: usize) -> Self {
        let keys = if keys == 1 { "1 key is".to_owned() } else { format!("{keys} keys are") };
        Self::Conflict(format!("{keys} on the plan {name}, so it stays"))
    }

    /// A key needs its plan.
    pub fn no_such_plan(name: &PlanName) -> Self {
        Self::Conflict(format!("there is no plan {name}"))
    }

    /// Somebody else changed it after the caller last looked.
    pub fn changed_meanwhile(change: &Change) -> Self {
        let (kind, name) = change.subject();
        Self::Conflict(format!("{kind} {name} was changed through another gateway in the meantime: look at it and repeat"))
    }

    /// A number that no store's column holds.
    pub fn number_too_large(of: &str) -> Self {
        Self::Conflict(format!("{of} has a number above {}", i64::MAX))
    }

    /// Only an empty store is filled.
    pub fn not_empty() -> Self {
        Self::Conflict("the ledger is not empty: import into a new one".into())
    }

    /// Whoever tells the entries stopped before the last.
    pub fn import_given_up() -> Self {
        Self::Conflict("the import ended before its last entry: nothing was taken".into())
    }

    /// A batch was skipped.
    pub fn sequence_gap(batch: &UsageBatch, last: u64) -> Self {
        let UsageBatch { gateway, sequence, .. } = batch;
        Self::Conflict(format!("batch {sequence} of {gateway} can't follow batch {last}: one between them is missing"))
    }
}

/// One change of what lasts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Creates the plan, or replaces it whole.
    PutPlan(Plan),
    /// Removes the plan. [`StoreError::Conflict`] while keys are on it; [`StoreError::NotFound`] if there is none.
    RemovePlan(PlanName),
    /// Creates the key, or replaces it whole. [`StoreError::Conflict`] if there is no such plan.
    PutKey(Key),
    /// Enrols the exit, or replaces it whole.
    PutExit(Exit),
    /// Forgets the exit. [`StoreError::NotFound`] if there is none.
    RemoveExit(ExitId),
}

impl Change {
    /// What it is about: `plan`, `key` or `exit`, and its name.
    pub fn subject(&self) -> (&'static str, &str) {
        match self {
            Self::PutPlan(plan) => (Self::PLAN, plan.name.as_str()),
            Self::RemovePlan(name) => (Self::PLAN, name.as_str()),
            Self::PutKey(key) => (Self::KEY, key.id.as_str()),
            Self::PutExit(exit) => (Self::EXIT, exit.id.as_str()),
            Self::RemoveExit(id) => (Self::EXIT, id.as_str()),
        }
    }

    /// The kinds of [`Self::subject`], for a store's column.
    pub const PLAN: &'static str = "plan";
    /// See [`Self::PLAN`].
    pub const KEY: &'static str = "key";
    /// See [`Self::PLAN`].
    pub const EXIT: &'static str = "exit";

    /// Refuses what a signed 64-bit column can't hold: every backend keeps the same range.
    pub fn check_range(&self) -> Result<(), StoreError> {
        match self {
            Self::PutPlan(plan)
                if [plan.bytes, plan.speed].into_iter().flatten().any(|number| i64::try_from(number).is_err()) =>
            {
                Err(StoreError::number_too_large(&format!("plan {}", plan.name)))
            }
            _ => Ok(()),
        }
    }

    /// Where it stands among others: a key after its plan, and what is removed last, when nothing needs it any more.
    fn rank(&self) -> u8 {
        match self {
            Self::PutPlan(_) => 0,
            Self::PutKey(_) => 1,
            Self::PutExit(_) => 2,
            Self::RemoveExit(_) => 3,
            Self::RemovePlan(_) => 4,
        }
    }
}

/// What changed after some moment, as it is now: each plan, key and exit once.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// The number of the last change they contain.
    pub upto: u64,
    /// In an order in which they can be applied.
    pub changes: Vec<Change>,
}

impl Changes {
    /// Puts `changes` in order.
    pub fn new(upto: u64, mut changes: Vec<Change>) -> Self {
        changes.sort_by_key(Change::rank);
        Self { upto, changes }
    }
}

/// Everything a gateway needs to start. Usage is that of each key's period at the time of asking.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// The number of the last change it contains; 0 before the first.
    pub change: u64,
    /// Every plan.
    pub plans: Vec<Plan>,
    /// Every key.
    pub keys: Vec<Key>,
    /// Every exit, revoked ones included.
    pub exits: Vec<Exit>,
    /// What each key used in its present period; keys that used nothing are absent.
    pub used: HashMap<KeyId, PeriodUsage>,
}

/// For [`Store::change`]: whatever is there now is overwritten.
pub const ANYHOW: u64 = u64::MAX;

/// Where accounts and usage last. Object-safe; share it as `Arc<dyn Store>`.
///
/// Dropping a returned future may leave its effect unclear, exactly as [`StoreError::Unclear`] does.
pub trait Store: Send + Sync {
    /// Everything, with usage as of `now`.
    fn load(&self, now: Timestamp) -> StoreFuture<'_, Snapshot>;

    /// Makes a change and its audit entry in one transaction, and numbers it: one more than the change before. The entry's id
    /// is the idempotency key: when it is already there, the change was made before and nothing happens.
    ///
    /// `seen` is the last change that the caller knew of when it decided. What was changed after that is not overwritten: that
    /// is a [`StoreError::Conflict`]. [`ANYHOW`] overwrites.
    fn change(&self, change: Change, seen: u64, audit: Audit) -> StoreFuture<'_, ()>;

    /// What was changed after the change numbered `seen`, by whomever; `None` if that is more than `limit` things or can't be
    /// told: then [`Store::load`] says it all.
    fn changes_after(&self, seen: u64, limit: usize) -> StoreFuture<'_, Option<Changes>>;

    /// Resolves when something may have been changed since this was last called, within a second of it. For one caller at a
    /// time. A store that no other process can have open may stay silent.
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// The audit trail, newest first.
    fn audit(&self, query: AuditQuery) -> StoreFuture<'_, Vec<AuditRow>>;

    /// Adds a batch exactly once. A sequence that was added before changes nothing and says so; one that skips a number is
    /// a [`StoreError::Conflict`], because the batch between would be lost.
    fn add_usage(&self, batch: UsageBatch) -> StoreFuture<'_, Delivery>;

    /// The last sequence added for `gateway`; 0 before the first.
    fn last_sequence(&self, gateway: &str) -> StoreFuture<'_, u64>;

    /// Sums of usage, ascending by group.
    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>>;

    /// Bytes of both directions of one key since the hour that contains `since`: for a key whose period changed.
    fn used_since(&self, key: &KeyId, since: Timestamp) -> StoreFuture<'_, u64>;
}
