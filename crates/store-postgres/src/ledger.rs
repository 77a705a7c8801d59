//! The statements that write. Each runs within a transaction that the caller commits.

use std::collections::BTreeMap;

use outgate_store::column::{count, integer, joined};
use outgate_store::{Audit, Change, Delivery, Exit, Hour, Key, KeyState, Plan, PlanName, StoreError, UsageBatch};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::error::Failure;
use crate::feed::CHANNEL;

/// Rows of one statement: a batch after a long outage is told in pieces of this, so that none is a message of many megabytes.
const ROWS: usize = 10_000;

/// Makes a change with its audit entry, unless an entry of that id says it was made before. The order of changes is held.
pub(crate) async fn change(client: &Client, change: &Change, seen: u64, audit: &Audit) -> Result<(), Failure> {
    let Some(number) = write_audit(client, audit).await? else { return Ok(()) };
    if write_change(client, change, number).await? > seen {
        return Err(StoreError::changed_meanwhile(change).into());
    }
    match change {
        Change::PutPlan(plan) => put_plan(client, plan).await?,
        Change::RemovePlan(name) => remove_plan(client, name).await?,
        Change::PutKey(key) => put_key(client, key).await?,
        Change::PutExit(exit) => put_exit(client, exit).await?,
        Change::RemoveExit(id) => removed(client, "DELETE FROM exits WHERE id = $1", id.as_str()).await?,
    }
    // Told at the commit, to whoever listens then.
    client.batch_execute(&format!("NOTIFY {CHANNEL}")).await?;
    Ok(())
}

/// The number of the entry; none if it is there already.
async fn write_audit(client: &Client, audit: &Audit) -> Result<Option<i64>, Failure> {
    let Audit { id, at, who, what, subject, detail } = audit;
    let written = client
        .query_typed_opt(
            "INSERT INTO audit (number, id, at, who, what, subject, detail)
             SELECT coalesce(max(number), 0) + 1, $1, $2, $3, $4, $5, $6 FROM audit ON CONFLICT (id) DO NOTHING RETURNING number",
            &[
                (id, Type::TEXT),
                (&at.as_millisecond(), Type::INT8),
                (who, Type::TEXT),
                (what, Type::TEXT),
                (subject, Type::TEXT),
                (detail, Type::TEXT),
            ],
        )
        .await?;
    Ok(written.map(|row| row.try_get(0)).transpose()?)
}

/// Numbers the change. Returns the number of the one before of the same thing; 0 if there was none.
async fn write_change(client: &Client, change: &Change, number: i64) -> Result<u64, Failure> {
    let (kind, name) = change.subject();
    let before = client
        .query_typed_one(
            "WITH before AS (SELECT number FROM changes WHERE kind = $1 AND name = $2),
                  now AS (INSERT INTO changes (kind, name, number) VALUES ($1, $2, $3)
                          ON CONFLICT (kind, name) DO UPDATE SET number = excluded.number)
             SELECT coalesce((SELECT number FROM before), 0)",
            &[(&kind, Type::TEXT), (&name, Type::TEXT), (&number, Type::INT8)],
        )
        .await?;
    Ok(count(before.try_get(0)?))
}

async fn put_plan(client: &Client, plan: &Plan) -> Result<(), Failure> {
    let number = |number: Option<u32>| number.map(i64::from);
    client
        .execute_typed(
            "INSERT INTO plans (name, bytes, period, rate, burst, threads, speed, pools, ports, countries)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes, period = excluded.period, rate = excluded.rate,
                 burst = excluded.burst, threads = excluded.threads, speed = excluded.speed, pools = excluded.pools,
                 ports = excluded.ports, countries = excluded.countries",
            &[
                (&plan.name.as_str(), Type::TEXT),
                (&plan.bytes.map(integer), Type::INT8),
                (&plan.period.to_string(), Type::TEXT),
                (&number(plan.rate), Type::INT8),
                (&number(plan.burst), Type::INT8),
                (&number(plan.threads), Type::INT8),
                (&plan.speed.map(integer), Type::INT8),
                (&joined(&plan.pools), Type::TEXT),
                (&joined(&plan.ports), Type::TEXT),
                (&joined(&plan.countries), Type::TEXT),
            ],
        )
        .await?;
    Ok(())
}

async fn remove_plan(client: &Client, name: &PlanName) -> Result<(), Failure> {
    let on_it = client.query_typed_one("SELECT count(*) FROM keys WHERE plan = $1", &[(&name.as_str(), Type::TEXT)]).await?;
    match on_it.try_get::<_, i64>(0)? {
        0 => removed(client, "DELETE FROM plans WHERE name = $1", name.as_str()).await,
        keys => Err(StoreError::plan_in_use(name, usize::try_from(keys).unwrap_or(usize::MAX)).into()),
    }
}

async fn removed(client: &Client, statement: &str, id: &str) -> Result<(), Failure> {
    match client.execute_typed(statement, &[(&id, Type::TEXT)]).await? {
        0 => Err(StoreError::NotFound.into()),
        _ => Ok(()),
    }
}

async fn put_key(client: &Client, key: &Key) -> Result<(), Failure> {
    let why = match &key.state {
        KeyState::Blocked { why } => Some(why.as_str()),
        KeyState::Active | KeyState::Suspended | KeyState::Revoked => None,
    };
    let old = key.old_secret.map(|old| old.hash.to_bytes().to_vec());
    let put = client
        .execute_typed(
            "INSERT INTO keys (id, plan, secret, old_secret, old_until, state, blocked_why, allow_ips, proof, expires, created, period_anchor)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (id) DO UPDATE SET plan = excluded.plan, secret = excluded.secret, old_secret = excluded.old_secret,
                 old_until = excluded.old_until, state = excluded.state, blocked_why = excluded.blocked_why,
                 allow_ips = excluded.allow_ips, proof = excluded.proof, expires = excluded.expires, created = excluded.created,
                 period_anchor = excluded.period_anchor",
            &[
                (&key.id.as_str(), Type::TEXT),
                (&key.plan.as_str(), Type::TEXT),
                (&key.secret.to_bytes().to_vec(), Type::BYTEA),
                (&old, Type::BYTEA),
                (&key.old_secret.map(|old| old.until.as_millisecond()), Type::INT8),
                (&key.state.name(), Type::TEXT),
                (&why, Type::TEXT),
                (&joined(&key.allow_ips), Type::TEXT),
                (&key.proof.name(), Type::TEXT),
                (&key.expires.map(|at| at.as_millisecond()), Type::INT8),
                (&key.created.as_millisecond(), Type::INT8),
                (&key.period_anchor.as_millisecond(), Type::INT8),
            ],
        )
        .await;
    match put {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => Err(StoreError::no_such_plan(&key.plan).into()),
        Err(error) => Err(error.into()),
    }
}

async fn put_exit(client: &Client, exit: &Exit) -> Result<(), Failure> {
    let labels = &exit.labels;
    client
        .execute_typed(
            "INSERT INTO exits
                 (id, name, pool, country, state_label, city, asn, carrier, weight, max_tunnels, token, state, created)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, pool = excluded.pool, country = excluded.country,
                 state_label = excluded.state_label, city = excluded.city, asn = excluded.asn, carrier = excluded.carrier,
                 weight = excluded.weight, max_tunnels = excluded.max_tunnels, token = excluded.token, state = excluded.state,
                 created = excluded.created",
            &[
                (&exit.id.as_str(), Type::TEXT),
                (&exit.name, Type::TEXT),
                (&exit.pool.as_ref().map(|pool| pool.as_str()), Type::TEXT),
                (&labels.country.map(|country| country.to_string()), Type::TEXT),
                (&labels.state, Type::TEXT),
                (&labels.city, Type::TEXT),
                (&labels.asn.map(i64::from), Type::INT8),
                (&labels.carrier, Type::TEXT),
                (&i64::from(exit.weight), Type::INT8),
                (&exit.max_tunnels.map(i64::from), Type::INT8),
                (&exit.token.to_bytes().to_vec(), Type::BYTEA),
                (&exit.state.name(), Type::TEXT),
                (&exit.created.as_millisecond(), Type::INT8),
            ],
        )
        .await?;
    Ok(())
}

/// Adds a batch, if it is the gateway's next.
pub(crate) async fn add_usage(client: &Client, batch: &UsageBatch) -> Result<Delivery, Failure> {
    // The gateway's row is held from here on: the same batch at the same time waits for this one's end.
    let taken = client
        .execute_typed(
            "INSERT INTO deliveries (gateway, sequence)
             SELECT $1, $2 WHERE $2 = 1 OR EXISTS (SELECT FROM deliveries WHERE gateway = $1)
             ON CONFLICT (gateway) DO UPDATE SET sequence = excluded.sequence WHERE deliveries.sequence = excluded.sequence - 1",
            &[(&batch.gateway, Type::TEXT), (&integer(batch.sequence), Type::INT8)],
        )
        .await?;
    if taken == 0 {
        let last = last_sequence(client, &batch.gateway).await?;
        return if batch.sequence <= last { Ok(Delivery::Repeated) } else { Err(StoreError::sequence_gap(batch, last).into()) };
    }
    let (cells, keys) = gathered(batch);
    // In the order of keys over all pieces: two gateways that deliver the same keys wait for, never on, each other.
    for piece in keys.chunks(ROWS) {
        hold_periods(client, piece).await?;
    }
    for piece in cells.chunks(ROWS) {
        add_cells(client, piece).await?;
    }
    for piece in keys.chunks(ROWS) {
        add_to_periods(client, piece).await?;
    }
    Ok(Delivery::Added)
}

/// The last sequence added for a gateway.
pub(crate) async fn last_sequence(client: &Client, gateway: &str) -> Result<u64, Failure> {
    let last = client.query_typed_opt("SELECT sequence FROM deliveries WHERE gateway = $1", &[(&gateway, Type::TEXT)]).await?;
    Ok(last.map(|row| row.try_get(0)).transpose()?.map_or(0, count))
}

/// One key, hour and pool.
struct Cell<'a> {
    key: &'a str,
    hour: i64,
    pool: &'a str,
    counters: outgate_store::Counters,
}

/// What a batch has of one key.
struct OfKey<'a> {
    key: &'a str,
    /// The first hour of the latest period it names.
    start: i64,
    last: i64,
    /// Bytes since `start`.
    bytes: i64,
}

/// Each cell once, and each key once, in order.
fn gathered(batch: &UsageBatch) -> (Vec<Cell<'_>>, Vec<OfKey<'_>>) {
    let mut cells = BTreeMap::new();
    let mut starts: BTreeMap<&str, i64> = BTreeMap::new();
    for row in &batch.rows {
        let cell: &mut outgate_store::Counters = cells.entry((row.key.as_str(), row.hour.0, row.pool.as_str())).or_default();
        cell.add(&row.counters);
        let start = Hour::of(row.period_start).0;
        starts.entry(row.key.as_str()).and_modify(|latest| *latest = start.max(*latest)).or_insert(start);
    }
    let of_key = |(key, start): (&'_ str, i64)| {
        let hours = cells.range((key, i64::MIN, "")..).take_while(|((of, ..), _)| *of == key);
        let (mut last, mut bytes) = (i64::MIN, 0_u64);
        for ((_, hour, _), counters) in hours {
            last = last.max(*hour);
            bytes = bytes.saturating_add(if *hour >= start { counters.bytes() } else { 0 });
        }
        (start, last, integer(bytes))
    };
    let keys = starts.iter().map(|(key, start)| {
        let (start, last, bytes) = of_key((key, *start));
        OfKey { key, start, last, bytes }
    });
    let keys = keys.collect();
    let cells = cells.into_iter().map(|((key, hour, pool), counters)| Cell { key, hour, pool, counters }).collect();
    (cells, keys)
}

/// Holds the keys' rows until the transaction ends; makes those that are missing.
async fn hold_periods(client: &Client, keys: &[OfKey<'_>]) -> Result<(), Failure> {
    let (names, starts): (Vec<&str>, Vec<i64>) = keys.iter().map(|of| (of.key, of.start)).unzip();
    let last: Vec<i64> = keys.iter().map(|of| of.last).collect();
    client
        .execute_typed(
            "INSERT INTO periods (key, start_hour, last_hour, bytes)
             SELECT key, start, last, 0 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS batch (key, start, last)
             ON CONFLICT (key) DO UPDATE SET last_hour = greatest(periods.last_hour, excluded.last_hour)",
            &[(&names, Type::TEXT_ARRAY), (&starts, Type::INT8_ARRAY), (&last, Type::INT8_ARRAY)],
        )
        .await?;
    Ok(())
}

async fn add_cells(client: &Client, cells: &[Cell<'_>]) -> Result<(), Failure> {
    let column =
        |of: fn(&outgate_store::Counters) -> u64| -> Vec<i64> { cells.iter().map(|cell| integer(of(&cell.counters))).collect() };
    let keys: Vec<&str> = cells.iter().map(|cell| cell.key).collect();
    let hours: Vec<i64> = cells.iter().map(|cell| cell.hour).collect();
    let pools: Vec<&str> = cells.iter().map(|cell| cell.pool).collect();
    client
        .execute_typed(
            "INSERT INTO usage (key, hour, pool, up, down, requests, tunnels)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
             ON CONFLICT (key, hour, pool) DO UPDATE SET up = usage.up + excluded.up, down = usage.down + excluded.down,
                 requests = usage.requests + excluded.requests, tunnels = usage.tunnels + excluded.tunnels",
            &[
                (&keys, Type::TEXT_ARRAY),
                (&hours, Type::INT8_ARRAY),
                (&pools, Type::TEXT_ARRAY),
                (&column(|of| of.up), Type::INT8_ARRAY),
                (&column(|of| of.down), Type::INT8_ARRAY),
                (&column(|of| of.requests), Type::INT8_ARRAY),
                (&column(|of| of.tunnels), Type::INT8_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

/// The same period as before: add. Another one (a new period began, or the plan's period changed): sum the hours, which
/// already include this batch, and every other one, since the keys' rows are held.
async fn add_to_periods(client: &Client, keys: &[OfKey<'_>]) -> Result<(), Failure> {
    let (names, starts): (Vec<&str>, Vec<i64>) = keys.iter().map(|of| (of.key, of.start)).unzip();
    let bytes: Vec<i64> = keys.iter().map(|of| of.bytes).collect();
    client
        .execute_typed(
            "UPDATE periods SET start_hour = batch.start, bytes = CASE
                 WHEN periods.start_hour = batch.start THEN periods.bytes + batch.bytes
                 ELSE (SELECT coalesce(sum(up + down), 0)::bigint FROM usage
                       WHERE usage.key = periods.key AND usage.hour >= batch.start)
             END
             FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS batch (key, start, bytes) WHERE periods.key = batch.key",
            &[(&names, Type::TEXT_ARRAY), (&starts, Type::INT8_ARRAY), (&bytes, Type::INT8_ARRAY)],
        )
        .await?;
    Ok(())
}
