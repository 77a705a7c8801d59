//! What is counted while requests go by: outcomes, bytes, durations.
//!
//! Each event loop has a [`Meter`] and counts every request on it once, when it ended ([`Ended`]). Whoever wants to know takes a
//! [`Snapshot`] of all [`Meters`]: outcomes by way and pool, by pool and country, and a [`Histogram`] per [`Step`]. Snapshots
//! only grow, so the difference of two is what happened between them: rates, windows and percentiles of any span are made from
//! that. How things stand right now, which no count tells, are the [`Gauges`].
//!
//! Nothing here grows with keys, targets, exits or clients: what tells requests apart is the protocol, the pool, the country and
//! the slug, and pools and places are bounded ([`MOST_POOLS`], [`MOST_PLACES`]); the rest is counted as [`OTHER`].
//!
//! To count something new of a request: 1. a field of [`Ended`]; 2. where it is summed up, in `tally` or `meter`; 3. how it
//! is shown, in `exposition`, and a row in docs/metrics.md, which a test holds against it.

mod ended;
mod exposition;
pub mod families;
mod gauges;
mod histogram;
mod meter;
mod page;
mod sheet;
mod snapshot;
mod tally;

pub use ended::{Ended, Kind, Step, Times};
pub use exposition::{Countries, Exposition, Format, Role};
pub use gauges::{Exits, Gauges, Process, Records, Room, Sharing, Usage};
pub use histogram::Histogram;
pub use meter::{Meter, Meters};
pub use sheet::{Row, Sheet, Sink};
pub use snapshot::{Country, MOST_PLACES, MOST_POOLS, Moved, OTHER, Place, Placed, Snapshot, Way};
pub use tally::Tally;
