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

/// Everything a gateway needs to start. Usage is that of each key's period at the time of asking.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// Every plan.
    pub plans: Vec<Plan>,
    /// Every key.
    pub keys: Vec<Key>,
    /// Every exit, revoked ones included.
    pub exits: Vec<Exit>,
    /// What each key used in its present period; keys that used nothing are absent.
    pub used: HashMap<KeyId, PeriodUsage>,
}

/// Where accounts and usage last. Object-safe; share it as `Arc<dyn Store>`.
///
/// Dropping a returned future may leave its effect unclear, exactly as [`StoreError::Unclear`] does.
pub trait Store: Send + Sync {
    /// Everything, with usage as of `now`.
    fn load(&self, now: Timestamp) -> StoreFuture<'_, Snapshot>;

    /// Makes a change and its audit entry in one transaction. The entry's id is the idempotency key: when it is already
    /// there, the change was made before and nothing happens.
    fn change(&self, change: Change, audit: Audit) -> StoreFuture<'_, ()>;

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
