//! Health signals over sliding windows, and the incidents they open and close. No sockets, no clock.

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
