//! A fleet of exits for tests and measurements, over real links to a real gateway process.
//!
//! - [`place`]: where an exit is said to be
//! - [`fleet`]: enrols exits by the hundred and runs them, several to a thread
//! - [`actor`]: an exit that does as it is told, well or badly
//! - [`load`]: set-ups at a steady rate, each tried with one byte there and back
//! - [`verdict`]: what must hold of them whatever happens to the fleet
//! - `crew`: the threads
//!
//! It is a crate of its own because it needs the exit agent, which the test kit's users below it do not.
//!
//! To add a way for an exit to misbehave: 1. an [`actor::Manner`] and what it does; 2. a row in the chaos of `bench` if its
//! cost is worth a number.

pub mod actor;
mod crew;
pub mod fleet;
pub mod load;
pub mod place;
pub mod verdict;
