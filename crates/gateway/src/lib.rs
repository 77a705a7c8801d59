//! The data plane: everything between a client's connection and a target's.
//!
//! One event loop per core, each with its own listeners (`doors`, `listen`), its own resolver and scratch buffer
//! (`core`); between accepting and dialling a request never changes its loop. A request goes through
//! `session` from top to bottom: read → identify → admit → choose → dial → accept → relay → settle.
//!
//! | verb | modules |
//! |---|---|
//! | read | `client_door` (PROXY protocol, TLS), `h2_door`, `socks`, `stream`, `client` (bytes to a head), `head` (a head to what was asked), `foreign` (other protocols), `page` (for a web browser that opens the proxy's address), `framing` (bodies) |
//! | identify | `identify`, `credentials`, `accounts`, `sources`, `throttle` |
//! | admit | `admit`, `policy`, `limits`, `shares` (with other gateways), `load` (what the gateway carries at once; `memory`) |
//! | choose | `choose`, `offers` (the cities there are), `fleet` (over the crate `outgate_fleet`) |
//! | dial | `dial`, `failover`, `upstream`, `echo` |
//! | accept, relay | `tunnel`, `relay`, `forward`, `response`, `pump`, `splice` |
//! | settle | `settle` (usage), `journal` (usage that the ledger does not take now), `record` (the request's line), `counting` (what the meter is told; `gauges` beside it) |
//!
//! Beside it: `exit_door` lets exits in, `whereabouts` and [`geo`] say where they are, `keeper` checks on them and on the `ends`
//! of keys, `rotate` has an exit change its address; `places` and `load` bound what is carried at once, `sessions` finds what is
//! in flight when a key is suspended, `recount` what it used when its periods run otherwise, `own` and `remembered` are what a
//! key's owner may ask, `peers` shares exits with other gateways; [`gateway`] starts it all, `shutdown` ends it, `reconfigure`
//! puts changed settings in force, `activity` knows when ending cuts nobody short.
//!
//! To add a new check to admission: 1. find its stage in `admit` (the order is SPEC's and binds); 2. return the
//! catalogue's fault; 3. add its provocation to the end-to-end tests.

mod accounts;
mod activity;
mod admit;
mod choose;
mod client;
mod client_door;
mod core;
mod counting;
mod credentials;
mod dial;
mod doors;
mod echo;
mod ends;
mod exit_door;
mod failover;
mod fleet;
mod foreign;
mod forward;
mod framing;
pub mod gateway;
mod gauges;
pub mod geo;
mod h2_door;
mod head;
mod identify;
mod journal;
mod keeper;
mod limits;
mod listen;
mod load;
mod memory;
mod offers;
mod own;
mod page;
mod peers;
mod places;
pub mod policy;
mod pump;
mod recent;
mod reconfigure;
mod record;
mod recount;
mod relay;
mod remembered;
mod response;
mod rotate;
mod session;
mod sessions;
pub mod settings;
mod settle;
mod shares;
mod shutdown;
mod socks;
mod sources;
mod splice;
mod stream;
mod throttle;
mod trace;
mod tunnel;
mod upstream;
mod visit;
mod whereabouts;

pub use choose::ECHO_HOST;
pub use doors::Bound;
pub use gateway::{Gateway, Running};
pub use reconfigure::Reconfigured;
pub use trace::Tracer;
