//! Access records: their schema, the files they lie in, and how they are read.
//!
//! One request is one line of JSON ([`Entry`] as it is written, [`Record`] as it is read; docs/records.md has every field). Lines
//! are appended to `access.jsonl`, those of failed authentication to `auth.jsonl` ([`Stream`]). At each full hour a file gets its
//! hour's name, and a thread that gives way to all others seals it with zstd.
//!
//! - [`write`](mod@write): event loops hand their lines over in blocks and never wait ([`Recorder`]); one thread writes them
//!   ([`Writer`]).
//! - [`read`]: a folder of records, live and sealed files alike ([`Records`]), sifted by a [`Filter`].
//!
//! To add a field: 1. to [`Entry`] and [`Record`]; 2. to the table in docs/records.md, which a test holds against what is written;
//! 3. where somebody knows its value.

mod entry;
mod files;
mod filter;
pub mod read;
mod record;
pub mod report;
mod stream;
pub mod write;

pub use entry::{Entry, SCHEMA, Stage, Times, Trouble, Try};
pub use filter::{Filter, StatusRange};
pub use read::{Found, Records, find};
pub use record::{Attempt, Milliseconds, Record};
pub use report::{Privacy, Report};
pub use stream::Stream;
pub use write::{Recorder, Writer};
