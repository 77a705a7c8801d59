//! What operators see of their gateway: `metrics` is the page that Prometheus reads, `signals` what is raised and told by itself.

mod metrics;
mod signals;
