//! The console: the admin API over HTTP and the desk behind it.
//!
//! - [`desk`]: what an administrator can do, each operation whole: check, store with its audit entry, tell the running gateway
//! - `keys`, `plans`, `exits`: the desk's operations by subject
//! - `resync`: catches up with a ledger that somebody else changed
//! - `follow`: what was changed through other gateways
//! - [`api`]: the routes under `/v1`, which read a request, call the desk and show the result
//! - `fields`, `problem`, `view`: a request's JSON with every mistake named; errors as RFC 9457; results as JSON
//! - [`search`]: the gateway's records, looked into behind everything else that runs
//! - `metrics`: the page that Prometheus reads
//! - [`server`]: the listener with its deadlines
//! - [`console_file`]: how a command on the same machine finds the running gateway
//!
//! To add a new operation: 1. a method on [`desk::Desk`] that ends in `commit`; 2. a route in [`api`] that reads its fields and
//! calls it, and its description in `api/openapi.json`; 3. a row in the tables of `tests/console`; 4. the command in the binary.

pub mod api;
pub mod console_file;
pub mod desk;
mod exits;
mod fields;
mod follow;
mod keys;
mod metrics;
pub mod pages;
mod plans;
mod problem;
mod resync;
pub mod search;
pub mod server;
mod sight;
mod view;

/// Routes that [`router`] serves beside its own.
pub use axum::Router as ExtraRoutes;

pub use api::router;
pub use console_file::ConsoleFile;
pub use desk::{Desk, DeskError};
pub use exits::{ExitPatch, NewExit};
pub use follow::Followed;
pub use keys::{KeyPatch, NewKey};
pub use metrics::Metrics;
pub use plans::{Patch, PlanPatch};
pub use problem::Problem;
pub use resync::Resynced;
pub use search::Search;
pub use server::Server;
pub use sight::Sight;
