//! Accounts and usage: types, the store's contract, its conformance suite.
//!
//! The ledger keeps five things: plans, keys, exits, usage and the audit trail. A gateway loads them once
//! ([`Snapshot`]), serves from memory, and delivers usage in numbered batches; the console makes changes, each with its audit
//! entry in the same transaction. Nothing on the hot path touches a [`Store`].
//!
//! - names and amounts: [`KeyId`], [`PlanName`], [`ExitId`], [`PoolName`], [`Country`], [`amount`], [`Secret`]
//! - what is kept: [`Plan`] with its [`Period`], [`Key`], [`Exit`], [`UsageBatch`], [`Audit`]
//! - the contract: [`Store`], [`Change`], [`Changes`], [`StoreError`]; [`Archive`] for one that lasts
//! - backends here: [`memory`] for tests and throw-away gateways; [`unreliable`] breaks another one on purpose
//! - [`mod@column`]: how values become columns, for the backends that have some
//! - [`shared`]: what several gateways share while they run, with a suite and backends of its own
//! - [`live`]: what a running gateway offers to the console; [`own`]: what of that is for a key's own eyes
//!
//! Money rules: usage is delivered by (gateway, sequence), so that repeating a batch after an unclear answer neither loses nor
//! doubles a byte; a period begins on a whole hour because usage is kept per hour; a secret exists only as a hash.
//!
//! To add a new backend: 1. implement [`Store`] in a crate of its own; 2. call [`conformance::run`] in its tests, and
//! [`conformance::run_shared`] and [`conformance::run_archive`] where they apply; 3. wire it in the binary, the only place that knows every backend.

pub mod amount;
mod archive;
mod audit;
pub mod column;
pub mod conformance;
mod contract;
mod country;
mod exit;
mod id;
mod key;
mod label;
pub mod live;
pub mod memory;
mod moment;
mod near;
pub mod own;
mod period;
mod plan;
mod secret;
pub mod shared;
pub mod unreliable;
mod usage;

pub use archive::{Archive, CHECKS, ENTRIES, Entry, UsageCell};
pub use audit::{Audit, AuditQuery, AuditRow};
pub use contract::{ANYHOW, Change, Changes, Snapshot, Store, StoreError, StoreFuture};
pub use country::{Country, Subdivision};
pub use exit::{Exit, ExitState, Labels, PoolKind};
pub use id::{ExitId, KeyId, NameError, PlanName, PoolName};
pub use key::{Key, KeyState, OldSecret, Proof};
pub use label::{parse_city, parse_label};
pub use moment::{MomentError, parse_since, parse_until};
pub use near::nearest;
pub use period::{Period, PeriodError, earlier, later};
pub use plan::{Plan, PortRange, PortRangeError};
pub use secret::{NoRandomness, Secret, SecretHash};
pub use usage::{Counters, Delivery, Grouping, Hour, PeriodUsage, UsageBatch, UsageDelta, UsageQuery, UsageRow};
