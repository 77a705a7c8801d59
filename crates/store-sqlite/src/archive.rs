//! The whole ledger, out, in, and looked over.

use jiff::Timestamp;
use outgate_store::column::{count, integer, parse};
use outgate_store::{CHECKS, Counters, Entry, Hour, Period, StoreError, UsageCell};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc;

use crate::ledger::{self, commit, refused};
use crate::questions::{self, each};
use crate::rows::{self, EXIT_COLUMNS, KEY_COLUMNS, KEY_PLAN, PLAN_COLUMNS, ReadError};

/// Tells everything as of one moment.
pub(crate) fn export(connection: &mut Connection, entries: &mpsc::Sender<Entry>) -> Result<(), StoreError> {
    Ok(tell(connection, entries)?)
}

fn tell(connection: &mut Connection, entries: &mpsc::Sender<Entry>) -> Result<(), ReadError> {
    let moment = connection.transaction()?;
    let send = |entry| {
        let gone = |_| ReadError::Stopped;
        entries.blocking_send(entry).map_err(gone)
    };
    each(&moment, &format!("SELECT {PLAN_COLUMNS} FROM plans ORDER BY name"), |row| send(Entry::Plan(rows::plan(row)?)))?;
    each(&moment, &format!("SELECT {KEY_COLUMNS} FROM keys ORDER BY id"), |row| {
        let plan = rows::text(row, KEY_PLAN)?;
        send(Entry::Key(rows::key(row, parse(plan, plan)?)?))
    })?;
    each(&moment, &format!("SELECT {EXIT_COLUMNS} FROM exits ORDER BY id"), |row| send(Entry::Exit(rows::exit(row)?)))?;
    each(&moment, "SELECT key, hour, pool, up, down, requests, tunnels FROM usage ORDER BY key, hour, pool", |row| {
        let (key, pool) = (rows::text(row, 0)?, rows::text(row, 2)?);
        let number = |column: usize| -> rusqlite::Result<u64> { row.get(column).map(count) };
        let counters = Counters { up: number(3)?, down: number(4)?, requests: number(5)?, tunnels: number(6)? };
        let hour = Hour(row.get(1)?);
        send(Entry::Usage(UsageCell { key: parse(key, key)?, hour, pool: parse(pool, key)?, counters }))
    })?;
    each(&moment, "SELECT gateway, sequence FROM deliveries ORDER BY gateway", |row| {
        send(Entry::Delivery { gateway: row.get(0)?, sequence: count(row.get(1)?) })
    })?;
    each(&moment, "SELECT * FROM audit ORDER BY number", |row| send(Entry::Audit(questions::audit_row(row)?)))?;
    send(Entry::End)
}

/// Takes everything or nothing.
pub(crate) fn import(connection: &mut Connection, mut entries: mpsc::Receiver<Entry>, now: Timestamp) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(refused)?;
    let kept = "SELECT (SELECT count(*) FROM plans) + (SELECT count(*) FROM exits) + (SELECT count(*) FROM usage)
                     + (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM audit)";
    if transaction.query_row(kept, [], |row| row.get::<_, i64>(0)).map_err(refused)? > 0 {
        return Err(StoreError::not_empty());
    }
    loop {
        match entries.blocking_recv() {
            Some(Entry::End) => break,
            Some(entry) => take(&transaction, &entry)?,
            None => return Err(StoreError::import_given_up()),
        }
    }
    let month = Hour::of(Period::Month.start(now, now)).0;
    transaction
        .execute(
            "INSERT INTO periods (key, start_hour, last_hour, bytes)
             SELECT key, ?1, max(hour), coalesce(sum(up + down) FILTER (WHERE hour >= ?1), 0) FROM usage GROUP BY key",
            [month],
        )
        .map_err(refused)?;
    commit(transaction)
}

fn take(transaction: &Transaction<'_>, entry: &Entry) -> Result<(), StoreError> {
    match entry {
        Entry::Plan(plan) => ledger::put_plan(transaction, plan).map_err(refused),
        Entry::Key(key) => ledger::put_key(transaction, key),
        Entry::Exit(exit) => ledger::put_exit(transaction, exit).map_err(refused),
        Entry::Usage(UsageCell { key, hour, pool, counters }) => {
            ledger::add_cell(transaction, key, *hour, pool, counters).map_err(refused)
        }
        Entry::Delivery { gateway, sequence } => ledger::put_sequence(transaction, gateway, *sequence).map_err(refused),
        Entry::Audit(row) => {
            let entry = &row.entry;
            transaction
                .prepare_cached(
                    "INSERT INTO audit (number, id, at, who, what, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )
                .and_then(|mut statement| {
                    let at = entry.at.as_millisecond();
                    statement.execute(params![
                        integer(row.number),
                        entry.id,
                        at,
                        entry.who,
                        entry.what,
                        entry.subject,
                        entry.detail
                    ])
                })
                .map(drop)
                .map_err(refused)
        }
        Entry::End => Ok(()),
    }
}

/// What is wrong, a line each.
pub(crate) fn check(connection: &mut Connection, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    let damage = |connection: &Connection, wrong: &mut Vec<String>| -> Result<(), ReadError> {
        each(connection, "PRAGMA integrity_check", |row| {
            let said = rows::text(row, 0)?;
            if said != "ok" {
                wrong.push(format!("the file is damaged: {said}"));
            }
            Ok(())
        })
    };
    damage(connection, &mut wrong)?;
    for (question, what) in CHECKS {
        let number: i64 = connection.query_row(question, [], |row| row.get(0)).map_err(ReadError::from)?;
        if number > 0 {
            wrong.push(format!("{number} {what}"));
        }
    }
    // Every row is read back as a start does.
    if let Err(error) = questions::load(connection, now) {
        wrong.push(error.to_string());
    }
    Ok(wrong)
}
