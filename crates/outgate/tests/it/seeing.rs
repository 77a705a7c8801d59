//! What operators see of their gateway: `metrics` is the page that Prometheus reads, `records` what is written of each request
//! and how it is read, `signals` what is raised and told by itself.

mod metrics;
mod records;
mod signals;
