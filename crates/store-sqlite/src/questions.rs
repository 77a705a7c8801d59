//! The statements that read.

use std::collections::HashMap;

use jiff::Timestamp;
use outgate_store::column::{Damaged, count, group, integer, parse, time};
use outgate_store::{
    Audit, AuditQuery, AuditRow, Change, Changes, Counters, Grouping, Hour, KeyId, Period, PeriodUsage, PlanName, Snapshot,
    StoreError, UsageQuery, UsageRow,
};
use rusqlite::{Connection, Row, params};

use crate::rows::{self, EXIT_COLUMNS, KEY_COLUMNS, KEY_PLAN, PLAN_COLUMNS, ReadError};

/// Everything, from one consistent moment.
pub(crate) fn load(connection: &mut Connection, now: Timestamp) -> Result<Snapshot, StoreError> {
    Ok(snapshot(connection, now)?)
}

fn snapshot(connection: &mut Connection, now: Timestamp) -> Result<Snapshot, ReadError> {
    let moment = connection.transaction()?;
    let mut snapshot = Snapshot { change: last_change(&moment)?, ..Snapshot::default() };
    let mut plans: HashMap<String, (PlanName, Period)> = HashMap::new();
    each(&moment, &format!("SELECT {PLAN_COLUMNS} FROM plans ORDER BY name"), |row| {
        let plan = rows::plan(row)?;
        plans.insert(plan.name.as_str().to_owned(), (plan.name.clone(), plan.period));
        snapshot.plans.push(plan);
        Ok(())
    })?;
    // The month is the same for every key; asking the calendar a million times would be felt.
    let month = Period::Month.start(now, now);
    let columns = format!(
        "SELECT {KEY_COLUMNS}, start_hour, last_hour, bytes FROM keys LEFT JOIN periods ON periods.key = keys.id ORDER BY id"
    );
    each(&moment, &columns, |row| {
        let plan = rows::text(row, KEY_PLAN)?;
        let (name, period) = plans.get(plan).ok_or_else(|| Damaged(format!("a key on the missing plan {plan}")))?;
        let key = rows::key(row, name.clone())?;
        let start = match period {
            Period::Month => month,
            Period::Days(_) => period.start(key.period_anchor, now),
        };
        let start_hour = Hour::of(start).0;
        let bytes = match row.get::<_, Option<i64>>("start_hour")? {
            None => 0,
            Some(kept) if kept == start_hour => row.get("bytes")?,
            // Nothing was used since the period began.
            Some(_) if row.get::<_, i64>("last_hour")? < start_hour => 0,
            Some(_) => bytes_since(&moment, key.id.as_str(), start_hour)?,
        };
        if bytes > 0 {
            snapshot.used.insert(key.id.clone(), PeriodUsage { start, bytes: count(bytes) });
        }
        snapshot.keys.push(key);
        Ok(())
    })?;
    each(&moment, &format!("SELECT {EXIT_COLUMNS} FROM exits ORDER BY id"), |row| {
        snapshot.exits.push(rows::exit(row)?);
        Ok(())
    })?;
    Ok(snapshot)
}

/// What was changed after a change.
pub(crate) fn changes_after(connection: &mut Connection, seen: u64, limit: usize) -> Result<Option<Changes>, StoreError> {
    Ok(changes(connection, seen, limit)?)
}

fn changes(connection: &mut Connection, seen: u64, limit: usize) -> Result<Option<Changes>, ReadError> {
    let moment = connection.transaction()?;
    let upto = last_change(&moment)?;
    if seen > upto {
        return Ok(None);
    }
    let mut statement = moment.prepare_cached("SELECT kind, name FROM changes WHERE number > ?1 LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = statement.query(params![integer(seen), limit.saturating_add(1)])?;
    let mut changes = Vec::new();
    while let Some(row) = found.next()? {
        match present(&moment, rows::text(row, 0)?, rows::text(row, 1)?)? {
            Some(change) if (changes.len() as i64) < limit => changes.push(change),
            _ => return Ok(None),
        }
    }
    Ok(Some(Changes::new(upto, changes)))
}

/// The change that makes a thing what it is now; none for a thing of another kind.
fn present(connection: &Connection, kind: &str, name: &str) -> Result<Option<Change>, ReadError> {
    Ok(match kind {
        Change::PLAN => Some(match one(connection, PLAN_COLUMNS, "plans", "name", name, rows::plan)? {
            Some(plan) => Change::PutPlan(plan),
            None => Change::RemovePlan(parse(name, name)?),
        }),
        Change::EXIT => Some(match one(connection, EXIT_COLUMNS, "exits", "id", name, rows::exit)? {
            Some(exit) => Change::PutExit(exit),
            None => Change::RemoveExit(parse(name, name)?),
        }),
        Change::KEY => {
            one(connection, KEY_COLUMNS, "keys", "id", name, |row| rows::key(row, parse(rows::text(row, KEY_PLAN)?, name)?))?
                .map(Change::PutKey)
        }
        _ => None,
    })
}

fn one<T>(
    connection: &Connection,
    columns: &str,
    table: &str,
    id: &str,
    name: &str,
    read: impl FnOnce(&Row<'_>) -> Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {columns} FROM {table} WHERE {id} = ?1"))?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(read).transpose()
}

fn last_change(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(number), 0) FROM audit")?;
    statement.query_row([], |row| row.get(0)).map(count)
}

/// Row by row as they come.
pub(crate) fn each(
    connection: &Connection,
    query: &str,
    mut take: impl FnMut(&Row<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn bytes_since(connection: &Connection, key: &str, hour: i64) -> rusqlite::Result<i64> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(sum(up + down), 0) FROM usage WHERE key = ?1 AND hour >= ?2")?;
    statement.query_row(params![key, hour], |row| row.get(0))
}

/// Bytes of one key since an hour.
pub(crate) fn used_since(connection: &mut Connection, key: &str, since: Timestamp) -> Result<u64, StoreError> {
    Ok(bytes_since(connection, key, Hour::of(since).0).map(count).map_err(ReadError::from)?)
}

/// The audit trail, newest first.
pub(crate) fn audit(connection: &mut Connection, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
    Ok(audit_rows(connection, query)?)
}

fn audit_rows(connection: &Connection, query: &AuditQuery) -> Result<Vec<AuditRow>, ReadError> {
    // Two texts, because one with "?1 IS NULL OR" would never use the index.
    let text = match query.subject {
        None => "SELECT * FROM audit WHERE ?1 IS NULL AND number < ?2 ORDER BY number DESC LIMIT ?3",
        Some(_) => "SELECT * FROM audit WHERE subject = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
    };
    let mut statement = connection.prepare_cached(text)?;
    let before = query.before.map_or(i64::MAX, integer);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut found = statement.query(params![query.subject, before, limit])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(audit_row(row)?);
    }
    Ok(rows)
}

/// A whole row of the table.
pub(crate) fn audit_row(row: &Row<'_>) -> Result<AuditRow, ReadError> {
    let id: String = row.get("id")?;
    let entry = Audit {
        at: time(row.get("at")?, &id)?,
        who: row.get("who")?,
        what: row.get("what")?,
        subject: row.get("subject")?,
        detail: row.get("detail")?,
        id,
    };
    Ok(AuditRow { number: count(row.get("number")?), entry })
}

/// Sums by group.
pub(crate) fn usage(connection: &mut Connection, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
    Ok(usage_rows(connection, query)?)
}

fn usage_rows(connection: &Connection, query: &UsageQuery) -> Result<Vec<UsageRow>, ReadError> {
    let group = group(query.by);
    let of_key = if query.key.is_some() { "key = ?1" } else { "?1 IS NULL" };
    // Only keys are many; hours and days before the page are skipped below.
    let after_key = if query.by == Grouping::Key { "key > ?3" } else { "?3 IS NOT NULL" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT key, pool, min(hour), sum(up), sum(down), sum(requests), sum(tunnels) FROM usage
         WHERE {of_key} AND hour >= ?2 AND {after_key} GROUP BY {group} ORDER BY {group}"
    ))?;
    let after = query.after.as_deref().unwrap_or("");
    let key = query.key.as_ref().map(KeyId::as_str);
    let mut found = statement.query(params![key, Hour::of(query.since).0, after])?;
    let mut rows = Vec::new();
    while rows.len() < query.limit {
        let Some(row) = found.next()? else { break };
        let (key, pool): (String, String) = (row.get(0)?, row.get(1)?);
        let group = query.by.label(&key, &pool, Hour(row.get(2)?));
        if group.as_str() > after {
            let number = |column: usize| -> rusqlite::Result<u64> { Ok(count(row.get(column)?)) };
            let counters = Counters { up: number(3)?, down: number(4)?, requests: number(5)?, tunnels: number(6)? };
            rows.push(UsageRow { group, counters });
        }
    }
    Ok(rows)
}
