//! The statements that write, each method in one transaction.

use outgate_store::column::{count, integer, joined};
use outgate_store::{
    Audit, Change, Counters, Delivery, Exit, Hour, Key, KeyId, KeyState, Plan, PlanName, PoolName, StoreError, UsageBatch,
    UsageDelta,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, named_params, params};

/// Makes a change with its audit entry, unless an entry of that id says it was made before.
pub(crate) fn change(connection: &mut Connection, change: &Change, seen: u64, audit: &Audit) -> Result<(), StoreError> {
    change.check_range()?;
    let transaction = begin(connection)?;
    let Some(number) = write_audit(&transaction, audit).map_err(refused)? else {
        return Ok(());
    };
    if write_change(&transaction, change, number).map_err(refused)? > seen {
        return Err(StoreError::changed_meanwhile(change));
    }
    match change {
        Change::PutPlan(plan) => put_plan(&transaction, plan).map_err(refused)?,
        Change::RemovePlan(name) => remove_plan(&transaction, name)?,
        Change::PutKey(key) => put_key(&transaction, key)?,
        Change::PutExit(exit) => put_exit(&transaction, exit).map_err(refused)?,
        Change::RemoveExit(id) => {
            let removed = transaction.execute("DELETE FROM exits WHERE id = ?1", [id.as_str()]).map_err(refused)?;
            if removed == 0 {
                return Err(StoreError::NotFound);
            }
        }
    }
    commit(transaction)
}

/// Adds a batch, if it is the gateway's next.
pub(crate) fn add_usage(connection: &mut Connection, batch: &UsageBatch) -> Result<Delivery, StoreError> {
    batch.check_range()?;
    let transaction = begin(connection)?;
    let last = sequence(&transaction, &batch.gateway).map_err(refused)?;
    if batch.sequence <= last {
        return Ok(Delivery::Repeated);
    }
    if batch.sequence != last + 1 {
        return Err(StoreError::sequence_gap(batch, last));
    }
    for row in &batch.rows {
        add_row(&transaction, row).map_err(refused)?;
    }
    put_sequence(&transaction, &batch.gateway, batch.sequence).map_err(refused)?;
    commit(transaction)?;
    Ok(Delivery::Added)
}

/// The last sequence added for a gateway.
pub(crate) fn last_sequence(connection: &mut Connection, gateway: &str) -> Result<u64, StoreError> {
    sequence(connection, gateway).map_err(refused)
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    // Immediate: it takes the write lock now, and a lock held elsewhere is told before anything was done.
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(refused)
}

pub(crate) fn commit(transaction: Transaction<'_>) -> Result<(), StoreError> {
    match transaction.commit() {
        Ok(()) => Ok(()),
        // After these SQLite documents the transaction as not committed, and the drop rolls it back. After anything else
        // (a failed write or sync of the log) the pages may or may not be there at the next start.
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::ConstraintViolation)
            ) =>
        {
            Err(refused(error))
        }
        Err(error) => Err(StoreError::Unclear(explained(&error))),
    }
}

/// Before the commit nothing lasts: the transaction is rolled back when it is dropped.
pub(crate) fn refused(error: rusqlite::Error) -> StoreError {
    StoreError::Refused(explained(&error))
}

fn explained(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".into(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds the ledger's lock".into(),
        Some(ErrorCode::ReadOnly) => "the ledger is read-only".into(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            format!("the ledger is damaged: {error}")
        }
        _ => error.to_string(),
    }
}

/// The number of the entry; none if it is there already.
fn write_audit(transaction: &Transaction<'_>, audit: &Audit) -> rusqlite::Result<Option<i64>> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO audit (id, at, who, what, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
    )?;
    let written =
        statement.execute(params![audit.id, audit.at.as_millisecond(), audit.who, audit.what, audit.subject, audit.detail])?;
    Ok((written > 0).then(|| transaction.last_insert_rowid()))
}

/// Numbers the change. Returns the number of the one before of the same thing; 0 if there was none.
fn write_change(transaction: &Transaction<'_>, change: &Change, number: i64) -> rusqlite::Result<u64> {
    let (kind, name) = change.subject();
    let before = transaction
        .prepare_cached("SELECT number FROM changes WHERE kind = ?1 AND name = ?2")?
        .query_row(params![kind, name], |row| row.get::<_, i64>(0))
        .optional()?;
    transaction
        .prepare_cached(
            "INSERT INTO changes (kind, name, number) VALUES (?1, ?2, ?3)
             ON CONFLICT (kind, name) DO UPDATE SET number = excluded.number",
        )?
        .execute(params![kind, name, number])?;
    Ok(before.map_or(0, count))
}

pub(crate) fn put_plan(transaction: &Transaction<'_>, plan: &Plan) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO plans (name, bytes, period, rate, burst, threads, speed, pools, ports, countries)
             VALUES (:name, :bytes, :period, :rate, :burst, :threads, :speed, :pools, :ports, :countries)
             ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes, period = excluded.period, rate = excluded.rate,
                 burst = excluded.burst, threads = excluded.threads, speed = excluded.speed, pools = excluded.pools,
                 ports = excluded.ports, countries = excluded.countries",
        )?
        .execute(named_params! {
            ":name": plan.name.as_str(), ":bytes": plan.bytes.map(integer), ":period": plan.period.to_string(),
            ":rate": plan.rate, ":burst": plan.burst, ":threads": plan.threads, ":speed": plan.speed.map(integer),
            ":pools": joined(&plan.pools), ":ports": joined(&plan.ports), ":countries": joined(&plan.countries),
        })
        .map(drop)
}

fn remove_plan(transaction: &Transaction<'_>, name: &PlanName) -> Result<(), StoreError> {
    let keys: i64 =
        transaction.query_row("SELECT count(*) FROM keys WHERE plan = ?1", [name.as_str()], |row| row.get(0)).map_err(refused)?;
    if keys > 0 {
        return Err(StoreError::plan_in_use(name, usize::try_from(keys).unwrap_or(usize::MAX)));
    }
    match transaction.execute("DELETE FROM plans WHERE name = ?1", [name.as_str()]).map_err(refused)? {
        0 => Err(StoreError::NotFound),
        _ => Ok(()),
    }
}

pub(crate) fn put_key(transaction: &Transaction<'_>, key: &Key) -> Result<(), StoreError> {
    let why = match &key.state {
        KeyState::Blocked { why } => Some(why.as_str()),
        KeyState::Active | KeyState::Suspended | KeyState::Revoked => None,
    };
    let put = transaction
        .prepare_cached(
            "INSERT INTO keys (id, plan, secret, old_secret, old_until, state, blocked_why, allow_ips, proof, expires, created, period_anchor)
             VALUES (:id, :plan, :secret, :old_secret, :old_until, :state, :why, :allow_ips, :proof, :expires, :created, :anchor)
             ON CONFLICT (id) DO UPDATE SET plan = excluded.plan, secret = excluded.secret, old_secret = excluded.old_secret,
                 old_until = excluded.old_until, state = excluded.state, blocked_why = excluded.blocked_why,
                 allow_ips = excluded.allow_ips, proof = excluded.proof, expires = excluded.expires, created = excluded.created,
                 period_anchor = excluded.period_anchor",
        )
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":id": key.id.as_str(), ":plan": key.plan.as_str(), ":secret": key.secret.to_bytes(),
                ":old_secret": key.old_secret.map(|old| old.hash.to_bytes()),
                ":old_until": key.old_secret.map(|old| old.until.as_millisecond()),
                ":state": key.state.name(), ":why": why, ":allow_ips": joined(&key.allow_ips), ":proof": key.proof.name(),
                ":expires": key.expires.map(|at| at.as_millisecond()), ":created": key.created.as_millisecond(),
                ":anchor": key.period_anchor.as_millisecond(),
            })
        });
    match put {
        Ok(_) => Ok(()),
        // The only constraint a well-formed key can break is the reference to its plan.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(StoreError::no_such_plan(&key.plan))
        }
        Err(error) => Err(refused(error)),
    }
}

pub(crate) fn put_exit(transaction: &Transaction<'_>, exit: &Exit) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO exits
                 (id, name, pool, country, state_label, city, asn, carrier, weight, max_tunnels, token, state, created)
             VALUES
                 (:id, :name, :pool, :country, :state_label, :city, :asn, :carrier, :weight, :max_tunnels, :token, :state, :created)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, pool = excluded.pool, country = excluded.country,
                 state_label = excluded.state_label, city = excluded.city, asn = excluded.asn, carrier = excluded.carrier,
                 weight = excluded.weight, max_tunnels = excluded.max_tunnels, token = excluded.token, state = excluded.state, created = excluded.created",
        )?
        .execute(named_params! {
            ":id": exit.id.as_str(), ":name": exit.name, ":pool": exit.pool.as_ref().map(|pool| pool.as_str()),
            ":country": exit.labels.country.map(|country| country.to_string()), ":state_label": exit.labels.state,
            ":city": exit.labels.city, ":asn": exit.labels.asn, ":carrier": exit.labels.carrier,
            ":weight": exit.weight, ":max_tunnels": exit.max_tunnels,
            ":token": exit.token.to_bytes(), ":state": exit.state.name(), ":created": exit.created.as_millisecond(),
        })
        .map(drop)
}

fn sequence(connection: &Connection, gateway: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT sequence FROM deliveries WHERE gateway = ?1")?;
    Ok(statement.query_row([gateway], |row| row.get::<_, i64>(0)).optional()?.map_or(0, count))
}

/// The last sequence of a gateway is this one.
pub(crate) fn put_sequence(transaction: &Transaction<'_>, gateway: &str, sequence: u64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO deliveries (gateway, sequence) VALUES (?1, ?2)
             ON CONFLICT (gateway) DO UPDATE SET sequence = excluded.sequence",
        )?
        .execute(params![gateway, integer(sequence)])
        .map(drop)
}

/// Adds to what a key used in an hour through a pool.
pub(crate) fn add_cell(
    transaction: &Transaction<'_>,
    key: &KeyId,
    hour: Hour,
    pool: &PoolName,
    counters: &Counters,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO usage (key, hour, pool, up, down, requests, tunnels) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (key, hour, pool) DO UPDATE SET up = up + excluded.up, down = down + excluded.down,
                 requests = requests + excluded.requests, tunnels = tunnels + excluded.tunnels",
        )?
        .execute(params![
            key.as_str(),
            hour.0,
            pool.as_str(),
            integer(counters.up),
            integer(counters.down),
            integer(counters.requests),
            integer(counters.tunnels)
        ])
        .map(drop)
}

fn add_row(transaction: &Transaction<'_>, row: &UsageDelta) -> rusqlite::Result<()> {
    let counters = &row.counters;
    add_cell(transaction, &row.key, row.hour, &row.pool, counters)?;
    // The same period as before: add. Another one (a new period began, or the plan's period changed): sum the hours, which
    // already include this row.
    let start = Hour::of(row.period_start).0;
    let added = transaction
        .prepare_cached(
            "UPDATE periods SET bytes = bytes + ?3, last_hour = max(last_hour, ?4) WHERE key = ?1 AND start_hour = ?2",
        )?
        .execute(params![row.key.as_str(), start, integer(counters.bytes()), row.hour.0])?;
    if added == 0 {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO periods (key, start_hour, last_hour, bytes)
                 SELECT ?1, ?2, max(hour), sum(up + down) FROM usage WHERE key = ?1 AND hour >= ?2",
            )?
            .execute(params![row.key.as_str(), start])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use jiff::Timestamp;

    #[test]
    fn a_full_disk_refuses_and_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().expect("a database");
        assert!(schema::migrate(&mut connection).is_ok());
        let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
        connection.pragma_update(None, "max_page_count", pages + 2).expect("a limit");
        let row = |number: u64| UsageDelta {
            key: KeyId::parse(&format!("key{number}")).expect("an id"),
            pool: PoolName::parse("direct").expect("a name"),
            hour: Hour(0),
            period_start: Timestamp::UNIX_EPOCH,
            counters: Counters { up: 1, down: 1, requests: 1, tunnels: 0 },
        };
        let batch = UsageBatch { gateway: "gw".into(), sequence: 1, rows: (0..2_000).map(row).collect() };
        assert_eq!(add_usage(&mut connection, &batch), Err(StoreError::Refused("the disk is full".into())));
        assert_eq!(last_sequence(&mut connection, "gw"), Ok(0));
        let rows: u32 = connection.query_row("SELECT count(*) FROM usage", [], |row| row.get(0)).expect("a number");
        assert_eq!(rows, 0);
        let small = UsageBatch { rows: vec![row(1)], ..batch };
        assert_eq!(add_usage(&mut connection, &small), Ok(Delivery::Added), "what fits still goes in");
    }
}
