//! What operators see of their gateway: `metrics` is the page that Prometheus reads.

mod metrics;
