//! The console over a real listener: routes, refusals, life.

mod client;
mod gateway;
mod refusals;
mod whole_stories;
