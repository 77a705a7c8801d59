//! The user's end of a proxied request: what a failure means, and what to do about it.

pub mod connect;
