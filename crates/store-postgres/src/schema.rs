//! The tables, as steps from an empty database to the present shape; `schema_version` has a row for each step made.

use std::fmt;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::Failure;
use crate::pool::{Lease, Locked};

/// Step n takes a database from version n to n + 1. Times are milliseconds since the epoch, hours are hours since the epoch,
/// lists are separated by one space (no element can contain one). Texts are ordered by their bytes, as everywhere else here.
const STEPS: &[&str] = &["
CREATE TABLE plans (
    name text COLLATE \"C\" PRIMARY KEY,
    bytes bigint, period text NOT NULL,
    rate bigint, burst bigint, threads bigint, speed bigint,
    pools text NOT NULL, ports text NOT NULL, countries text NOT NULL
);

CREATE TABLE keys (
    id text COLLATE \"C\" PRIMARY KEY,
    plan text COLLATE \"C\" NOT NULL REFERENCES plans (name),
    secret bytea NOT NULL CHECK (length(secret) = 32),
    old_secret bytea CHECK (length(old_secret) = 32), old_until bigint,
    state text NOT NULL, blocked_why text,
    allow_ips text NOT NULL, proof text NOT NULL,
    expires bigint, created bigint NOT NULL, period_anchor bigint NOT NULL
);
CREATE INDEX keys_by_plan ON keys (plan);

CREATE TABLE exits (
    id text COLLATE \"C\" PRIMARY KEY,
    name text, pool text,
    country text, state_label text, city text, asn bigint, carrier text,
    weight bigint NOT NULL, max_tunnels bigint,
    token bytea NOT NULL CHECK (length(token) = 32),
    state text NOT NULL, created bigint NOT NULL
);

CREATE TABLE usage (
    key text COLLATE \"C\" NOT NULL, hour bigint NOT NULL, pool text COLLATE \"C\" NOT NULL,
    up bigint NOT NULL, down bigint NOT NULL, requests bigint NOT NULL, tunnels bigint NOT NULL,
    PRIMARY KEY (key, hour, pool)
);
CREATE INDEX usage_by_hour ON usage (hour);

-- What each key used in the period that was last written to: one row per key, so that a start reads a million rows and not
-- every hour of every key. A sum over usage, kept in the same transaction; whoever adds usage of a key holds its row.
CREATE TABLE periods (
    key text COLLATE \"C\" PRIMARY KEY, start_hour bigint NOT NULL, last_hour bigint NOT NULL, bytes bigint NOT NULL
);

CREATE TABLE deliveries (gateway text COLLATE \"C\" PRIMARY KEY, sequence bigint NOT NULL);

CREATE TABLE audit (
    number bigint PRIMARY KEY,
    id text NOT NULL UNIQUE,
    at bigint NOT NULL, who text NOT NULL, what text NOT NULL, subject text NOT NULL, detail text NOT NULL
);
CREATE INDEX audit_by_subject ON audit (subject, number);

-- The last change of each plan, key and exit, removed ones included, by the number of its audit entry.
CREATE TABLE changes (
    kind text COLLATE \"C\" NOT NULL, name text COLLATE \"C\" NOT NULL, number bigint NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX changes_by_number ON changes (number);
"];

/// The last version known here.
pub(crate) const KNOWN: i64 = STEPS.len() as i64;

/// Why a database can't be brought to the present shape.
pub(crate) enum MigrateError {
    /// A later Outgate wrote it.
    Newer {
        /// Its version.
        found: i64,
    },
    /// PostgreSQL said no.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for MigrateError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What was made of a database's shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migrated {
    /// The version before; 0 for an empty database.
    pub from: i64,
    /// The version now.
    pub to: i64,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            from if from == self.to => write!(f, "schema version {from}, as it should be"),
            0 => write!(f, "made, with schema version {}", self.to),
            from => write!(f, "brought from schema version {from} to {}", self.to),
        }
    }
}

/// Makes the steps that are missing, all of them or none. Two gateways that start at once do it one after the other. One that
/// finds everything made needs no right to make tables.
pub(crate) async fn migrate(lease: Lease<'_>) -> Result<Migrated, MigrateError> {
    let mut from = version_made(lease.client()).await?;
    if from < KNOWN {
        lease.begin(Locked::Schema).await?;
        from = make_steps(lease.client()).await?;
        // Unclear or not: the next one to look sees what became of it.
        lease.client().batch_execute("COMMIT").await?;
    }
    lease.keep();
    match from {
        found if found > KNOWN => Err(MigrateError::Newer { found }),
        from => Ok(Migrated { from, to: KNOWN }),
    }
}

/// The version as of now; 0 for a database without tables.
async fn version_made(client: &Client) -> Result<i64, Failure> {
    let made = client.query_typed_one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await?;
    if made.try_get(0)? { version(client).await } else { Ok(0) }
}

async fn version(client: &Client) -> Result<i64, Failure> {
    Ok(client.query_typed_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?.try_get(0)?)
}

/// Makes the steps that are missing now that nobody else can. Returns the version before them.
async fn make_steps(client: &Client) -> Result<i64, Failure> {
    // Not `to_regclass` again: a session may remember that there was no such table.
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY, made timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let from = version(client).await?;
    for (done, step) in STEPS.iter().enumerate().skip(usize::try_from(from).unwrap_or(0)) {
        client.batch_execute(step).await?;
        let version = i64::try_from(done + 1).unwrap_or(i64::MAX);
        client.execute_typed("INSERT INTO schema_version (version) VALUES ($1)", &[(&version, Type::INT8)]).await?;
    }
    Ok(from)
}
