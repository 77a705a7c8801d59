//! The tables, as steps from an empty file to the present shape; `user_version` counts the steps made.

use rusqlite::Connection;

/// Step n takes a database from version n to n + 1. Times are milliseconds since the epoch, hours are hours since the epoch,
/// lists are separated by one space (no element can contain one).
const STEPS: &[&str] = &[
    "
CREATE TABLE plans (
    name TEXT PRIMARY KEY,
    bytes INTEGER, period TEXT NOT NULL,
    rate INTEGER, burst INTEGER, threads INTEGER, speed INTEGER,
    pools TEXT NOT NULL, ports TEXT NOT NULL, countries TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    plan TEXT NOT NULL REFERENCES plans (name),
    secret BLOB NOT NULL CHECK (length(secret) = 32),
    old_secret BLOB CHECK (length(old_secret) = 32), old_until INTEGER,
    state TEXT NOT NULL, blocked_why TEXT,
    allow_ips TEXT NOT NULL, proof TEXT NOT NULL,
    expires INTEGER, created INTEGER NOT NULL, period_anchor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_plan ON keys (plan);

CREATE TABLE exits (
    id TEXT PRIMARY KEY,
    name TEXT, pool TEXT,
    country TEXT, state_label TEXT, city TEXT, asn INTEGER, carrier TEXT,
    token BLOB NOT NULL CHECK (length(token) = 32),
    state TEXT NOT NULL, created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    key TEXT NOT NULL, hour INTEGER NOT NULL, pool TEXT NOT NULL,
    up INTEGER NOT NULL, down INTEGER NOT NULL, requests INTEGER NOT NULL, tunnels INTEGER NOT NULL,
    PRIMARY KEY (key, hour, pool)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_hour ON usage (hour);

-- What each key used in the period that was last written to: one row per key, so that a start reads a million rows and not
-- every hour of every key. A sum over usage, kept in the same transaction.
CREATE TABLE periods (
    key TEXT PRIMARY KEY, start_hour INTEGER NOT NULL, last_hour INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (gateway TEXT PRIMARY KEY, sequence INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, number);
",
    "
ALTER TABLE exits ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
ALTER TABLE exits ADD COLUMN max_tunnels INTEGER;
",
    "
-- The last change of each plan, key and exit, removed ones included, by the number of its audit entry.
CREATE TABLE changes (
    kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_by_number ON changes (number);
",
];

/// Why a database can't be brought to the present shape.
pub(crate) enum MigrateError {
    /// A later Outgate wrote it.
    Newer { found: usize, known: usize },
    /// SQLite said no.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Makes the steps that are missing, each in a transaction of its own.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), MigrateError> {
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > STEPS.len() {
        return Err(MigrateError::Newer { found: version, known: STEPS.len() });
    }
    for (done, step) in STEPS.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {}", done + 1))?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing_and_the_future_is_refused() {
        let mut connection = Connection::open_in_memory().expect("a database");
        for _ in 0..2 {
            assert!(migrate(&mut connection).is_ok());
            let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("the version");
            assert_eq!(version, STEPS.len());
        }
        connection.execute_batch("PRAGMA user_version = 999").expect("set");
        assert!(matches!(migrate(&mut connection), Err(MigrateError::Newer { found: 999, .. })));
    }
}
