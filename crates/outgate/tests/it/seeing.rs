//! What operators see of their gateway: `metrics` is the page that Prometheus reads, `records` what is
//! written of each request and how it is read.

mod metrics;
mod records;
