//! The console over a real listener: routes, refusals, life.

mod changes;
mod client;
mod description;
mod follow;
mod gateway;
mod pages;
mod refusals;
mod requests;
mod resync;
mod signals;
mod whole_stories;
