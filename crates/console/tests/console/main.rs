//! The console over a real listener: routes, refusals, life.

mod client;
mod gateway;
mod refusals;
mod resync;
mod whole_stories;
