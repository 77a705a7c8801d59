//! The user's end of a proxied request: what a failure means, and what to do about it.
//!
//! - [`classify`]: evidence of an attempt in, a verdict out: which fault of the catalogue, who told it, how sure that is;
//! - [`client`]: all of it together, as an HTTP client: start there;
//! - [`connect`]: a connection through any proxy, with everything that it said on the way;
//! - [`engine`]: whether a failed request is tried again, when, and through what;
//! - [`providers`]: what the makers of other proxies say their answers mean, as data;
//! - [`sessions`]: how each provider is asked for a session.

pub mod classify;
pub mod client;
pub mod connect;
pub mod engine;
pub mod providers;
pub mod sessions;

pub use client::Client;
