//! Health signals over sliding windows, and the incidents they open and close. No sockets, no clock.
//!
//! A [`Watch`] is told about once a second what was counted so far ([`outgate_meter::Snapshot`]) and how things stand
//! ([`outgate_meter::Gauges`]), and answers with what [changed](Change). From one to the next:
//!
//! 1. `slice`: the difference of two snapshots, by scope, small enough to keep many of them; `standing` gathers the gauges.
//! 2. `history`: slices make buckets of ten seconds, minutes and hours, which pages draw; `baseline` reads from them what is usual.
//! 3. `window`: the newest slices, as many as it takes to say something; `looks` holds every value of it against its threshold.
//! 4. `gate`: several looks raise a [`Signal`], a while of calm clears it, so that none flaps.
//! 5. `incidents`: what is raised by one cause in one place is one [`Incident`], which says layer, cause and fix.
//!
//! `kept` is what outlives a run, `view` the JSON of signals and incidents. Whoever drives the watch reads the clock, writes the
//! files and tells others.
//!
//! To add a new signal: 1. a [`Kind`] with its name, meaning and unit; 2. its look in `looks`, with the threshold in [`Rules`];
//! 3. a trouble in `tests/replay` that raises it, while clean weeks stay silent; 4. its row in docs/signals.md.

mod baseline;
mod gate;
mod history;
mod incident;
mod incidents;
mod kept;
mod looks;
mod rules;
mod signal;
mod slice;
mod slugs;
mod standing;
mod view;
mod watch;
mod window;

use outgate_faults::{Fixer, Slug};

pub use history::{Bucket, Grain, History, Latency, PoolBucket};
pub use incident::{Cause, Incident, IncidentId, Part};
pub use kept::{KeptHistory, KeptIncidents};
pub use rules::{Raise, Rules};
pub use signal::{Kind, Scope, Severity, Signal, State, Unit};
pub use watch::{Change, Watch};

/// Whether a request that failed with this counts among the errors: a 5xx of the default dialect, whoever spoke which dialect,
/// that is neither its sender's to fix (a name that doesn't exist) nor meant to be (a gateway that is being stopped).
pub fn counts_against_us(slug: Slug) -> bool {
    let row = slug.row();
    row.status >= 500 && row.fixer != Fixer::User && slug != Slug::Draining
}
