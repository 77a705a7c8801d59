//! OpenTelemetry export of traces, metrics and logs, by the standard environment variables.
//!
//! `environment` reads what is wanted; without a word about a collector nothing is exported. [`Telemetry`] is the whole:
//! a thread with its own event loop, a bounded queue (`export`) for traces and one for the log, and the way to the collector
//! (`post`: HTTP/1.1 with protobuf or JSON). What finds no room is dropped and counted, so a collector that is down costs the
//! traffic nothing. `spans`, `metrics` and `logs` say what becomes of a request, of what was counted, and of a line of
//! the log; `ids` makes a trace's id from the request id, `sampling` decides which requests are traced.
//!
//! The messages are those of the protocol's own definition, and are filled here directly: a request is told when it is over
//! and all its times are known, and its histograms were counted elsewhere, for neither of which the usual SDK has a way.
//!
//! To tell more of a request: an attribute in `spans::attributes`, by its name in the semantic conventions if it has one,
//! and a row in docs/metrics.md.

mod environment;
mod export;
mod ids;
mod logs;
mod message;
mod metrics;
mod post;
mod sampling;
mod spans;
mod telemetry;

pub use environment::Settings;
pub use telemetry::{Sheets, Telemetry};
