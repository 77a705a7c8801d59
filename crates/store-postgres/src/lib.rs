//! The ledger on PostgreSQL: one that several gateways share.
//!
//! [`Postgres`] is the handle. Behind it stands one thread with an event loop of its own (`worker`), so that connections
//! outlive whichever loop asked first; `pool` keeps them and says what became of a transaction, `server` reads the URL, `tls` speaks TLS.
//! `schema` holds the tables and how they grew, `ledger` the statements that write, `questions` the ones that read, `feed`
//! what other gateways changed, `name` what keeps two of them apart, `rows` how our types become columns, `archive` the whole of it, in and out.
//!
//! What a failure says: nothing is told as unclear but a COMMIT whose answer didn't come. Before it was sent, the server
//! rolls back whatever it began, at the latest when it notices that the connection is gone.
//!
//! Orders that keep several gateways apart: a change holds one lock until it is committed, so numbers of changes are in the
//! order of commits; a batch of usage holds its gateway's row and then those of its keys' periods, in the order of ids.
//!
//! To change the schema: 1. append a step to `schema::STEPS`, never edit an old one, and mind that gateways of the version
//! before may still run; 2. adapt `rows`; 3. extend the conformance suite of `outgate-store` by what must come back.

mod archive;
mod error;
mod feed;
mod ledger;
mod name;
mod pool;
mod postgres;
mod questions;
mod rows;
mod schema;
mod server;
mod tls;
mod worker;

pub use postgres::{OpenError, Postgres};
pub use schema::Migrated;
pub use server::{ServerUrl, UrlError};
