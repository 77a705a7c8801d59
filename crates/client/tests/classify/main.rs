//! The classifier against what proxies really and by their documentation send.
//!
//! `vectors` are single cases, which the Python package reads too; `dialects` is every fault of the catalogue in every dialect,
//! as much of it as clients of each kind show; `foreign` is other makers' answers, and the confusion table; `hostile` is input meant to harm; `docs` holds the
//! generated parts of `docs/classify.md`.

mod dialects;
mod docs;
mod foreign;
mod hostile;
mod vector;
mod vectors;
