//! The fleet of exits without sockets and without a clock: who is there, who is well, who takes the next tunnel.
//!
//! Time comes in as nanoseconds of a monotonic clock, randomness as a closure; what carries the tunnels (`L`) is the
//! caller's and never looked into. So everything here is tested by the turn of a number.
//!
//! | question | module |
//! |---|---|
//! | who is there, and where? | `inventory`: one dense bucket of usable exits per place that can be asked for |
//! | who takes the next tunnel? | `choose`: the least loaded of a few drawn, at a cost that does not grow with the fleet |
//! | what does one exit carry? | `member`: its load, cap, weight and health counters, all atomics; [`Lease`] |
//! | who is well? | `health`: outliers are ejected, checked and let back in slowly; [`HealthSettings`] |
//! | how long does a set-up take here? | `delay`: the pool's 95th percentile, for hedging |
//! | which exit does a session keep to? | `sessions` |
//!
//! [`Fleet`] puts them together. A pick without a session takes the pool's read lock and atomics, nothing exclusive; with one
//! also the lock of its shard of the sessions. Changes (a link comes or goes, an exit is ejected) take the pool's write lock.
//!
//! To add a new place that exits can be asked by: 1. a field of [`Wanted`]; 2. its keys in `inventory`; 3. nothing else: the
//! test of random churn holds every pick against `Wanted::fits`.

mod choose;
mod delay;
mod fleet;
mod health;
mod inventory;
mod member;
mod sessions;
#[cfg(test)]
mod tests;
mod wanted;

pub use fleet::{
    Bound, Census, Fleet, FleetSettings, LinkId, NewLink, NoLease, NoPick, Own, Pick, Says, Standing, Stay, Strength, Terms,
};
pub use health::{Ailment, Check, Condition, Health, HealthSettings, Outcome};
pub use inventory::Offered;
pub use member::Lease;
pub use wanted::Wanted;
