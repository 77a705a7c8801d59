//! The embedded ledger on SQLite: one file in the data folder, no server.
//!
//! [`Sqlite`] is the handle. Behind it stand two threads, each with a connection of its own and a bounded queue: `writer`
//! makes changes and adds usage, `reader` answers questions, so that a long report never delays the delivery of usage
//! (write-ahead logging lets both work at once). `schema` holds the tables and how they grew, `ledger` the statements that
//! write, `questions` the ones that read, `rows` how our types become columns, `hold` keeps a second gateway out.
//!
//! Every commit is synced to disk before it is answered. Only a failure of the commit itself is told as unclear; everything
//! before it is rolled back and certainly didn't happen.
//!
//! To change the schema: 1. append a step to `schema::STEPS`, never edit an old one; 2. adapt `rows`; 3. extend the conformance
//! suite of `outgate-store` by what must come back.

mod archive;
mod hold;
mod ledger;
mod questions;
mod rows;
mod schema;
mod sqlite;
mod worker;

pub use sqlite::{OpenError, Sqlite};
