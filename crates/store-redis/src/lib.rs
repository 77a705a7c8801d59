//! What gateways share while they run, on Redis.
//!
//! One call is one pipeline of small scripts, each atomic, on one connection. The scripts go by the server's clock, so that
//! those of the gateways don't matter, and every key they write expires. The rules are those of
//! [`outgate_store::shared`]; its suite runs against a real server in this crate's tests.
//!
//! - `redis`: the connection, and how a call goes over it
//! - `words`: asks as arguments, answers out of replies; `script`: which script is which
//!
//! One server (or one with replicas that take over), not a Redis Cluster: a script's keys may lie on different nodes there.
//!
//! To add a new kind of ask: 1. its types and its rule in `outgate_store::shared`, memory and suite first; 2. its script in
//! `scripts/`, named in `script`; 3. its arguments and its reply in `words`.

mod redis;
mod script;
mod words;

pub use crate::redis::{BadAddress, Redis};
