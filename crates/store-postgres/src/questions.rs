//! The statements that read.

use std::collections::HashMap;
use std::pin::pin;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use outgate_store::column::{Damaged, count, group, integer, parse, time};
use outgate_store::{
    Audit, AuditQuery, AuditRow, Counters, Grouping, Hour, KeyId, Period, PeriodUsage, PlanName, Snapshot, UsageQuery, UsageRow,
};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::Failure;
use crate::feed::last_change;
use crate::rows::{self, EXIT_COLUMNS, KEY_COLUMNS, KEY_WIDTH, PLAN_COLUMNS};

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Everything, from the one moment that the caller's transaction sees.
pub(crate) async fn load(client: &Client, now: Timestamp) -> Result<Snapshot, Failure> {
    let mut snapshot = Snapshot { change: last_change(client).await?, ..Snapshot::default() };
    let mut plans: HashMap<String, (PlanName, Period)> = HashMap::new();
    each(client, &format!("SELECT {PLAN_COLUMNS} FROM plans ORDER BY name"), &[], async |row| {
        let plan = rows::plan(row)?;
        plans.insert(plan.name.as_str().to_owned(), (plan.name.clone(), plan.period));
        snapshot.plans.push(plan);
        Ok(())
    })
    .await?;
    // The month is the same for every key; asking the calendar a million times would be felt.
    let month = Period::Month.start(now, now);
    let mut recount: HashMap<String, Timestamp> = HashMap::new();
    let text = format!(
        "SELECT {KEY_COLUMNS}, start_hour, last_hour, bytes FROM keys LEFT JOIN periods ON periods.key = keys.id ORDER BY id"
    );
    each(client, &text, &[], async |row| {
        let plan = rows::plan_of_key(row)?;
        let (name, period) = plans.get(plan).ok_or_else(|| Damaged(format!("a key on the missing plan {plan}")))?;
        let key = rows::key(row, name.clone())?;
        let start = match period {
            Period::Month => month,
            Period::Days(_) => period.start(key.period_anchor, now),
        };
        let start_hour = Hour::of(start).0;
        match row.try_get::<_, Option<i64>>(KEY_WIDTH)? {
            Some(kept) if kept == start_hour => {
                let bytes = count(row.try_get(KEY_WIDTH + 2)?);
                if bytes > 0 {
                    snapshot.used.insert(key.id.clone(), PeriodUsage { start, bytes });
                }
            }
            // Something was used since the period began, and the sum is another period's.
            Some(_) if row.try_get::<_, i64>(KEY_WIDTH + 1)? >= start_hour => {
                recount.insert(key.id.as_str().to_owned(), start);
            }
            _ => {}
        }
        snapshot.keys.push(key);
        Ok(())
    })
    .await?;
    recounted(client, &recount, &mut snapshot).await?;
    each(client, &format!("SELECT {EXIT_COLUMNS} FROM exits ORDER BY id"), &[], async |row| {
        snapshot.exits.push(rows::exit(row)?);
        Ok(())
    })
    .await?;
    Ok(snapshot)
}

async fn recounted(client: &Client, starts: &HashMap<String, Timestamp>, snapshot: &mut Snapshot) -> Result<(), Failure> {
    let (keys, hours): (Vec<&str>, Vec<i64>) = starts.iter().map(|(key, start)| (key.as_str(), Hour::of(*start).0)).unzip();
    let text = "SELECT asked.key, sum(up + down)::bigint FROM unnest($1::text[], $2::bigint[]) AS asked (key, start)
                JOIN usage ON usage.key = asked.key AND usage.hour >= asked.start GROUP BY asked.key";
    each(client, text, &[(&keys, Type::TEXT_ARRAY), (&hours, Type::INT8_ARRAY)], async |row| {
        let (key, bytes): (&str, u64) = (row.try_get(0)?, count(row.try_get(1)?));
        if let (Some(start), true) = (starts.get(key), bytes > 0) {
            snapshot.used.insert(parse(key, key)?, PeriodUsage { start: *start, bytes });
        }
        Ok(())
    })
    .await
}

/// Row by row as they come: a million of them are not held at once.
pub(crate) async fn each(
    client: &Client,
    text: &str,
    parameters: &[Parameter<'_>],
    mut take: impl AsyncFnMut(&Row) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let parameters = parameters.iter().map(|(value, kind)| (*value, kind.clone()));
    let mut rows = pin!(client.query_typed_raw(text, parameters).await?);
    while let Some(row) = rows.try_next().await? {
        take(&row).await?;
    }
    Ok(())
}

/// Bytes of one key since an hour.
pub(crate) async fn used_since(client: &Client, key: &str, since: Timestamp) -> Result<u64, Failure> {
    let text = "SELECT coalesce(sum(up + down), 0)::bigint FROM usage WHERE key = $1 AND hour >= $2";
    let row = client.query_typed_one(text, &[(&key, Type::TEXT), (&Hour::of(since).0, Type::INT8)]).await?;
    Ok(count(row.try_get(0)?))
}

/// The audit trail, newest first.
pub(crate) async fn audit(client: &Client, query: &AuditQuery) -> Result<Vec<AuditRow>, Failure> {
    // Two texts, because one with "$1 IS NULL OR" would never use the index.
    let about = if query.subject.is_some() { "subject = $1" } else { "$1::text IS NULL" };
    let text = format!(
        "SELECT number, id, at, who, what, subject, detail FROM audit WHERE {about} AND number < $2 ORDER BY number DESC LIMIT $3"
    );
    let before = query.before.map_or(i64::MAX, integer);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let found = client.query_typed(&text, &[(&query.subject, Type::TEXT), (&before, Type::INT8), (&limit, Type::INT8)]).await?;
    found.iter().map(audit_row).collect()
}

/// A row of `number, id, at, who, what, subject, detail`.
pub(crate) fn audit_row(row: &Row) -> Result<AuditRow, Failure> {
    let id: String = row.try_get(1)?;
    let entry = Audit {
        at: time(row.try_get(2)?, &id)?,
        who: row.try_get(3)?,
        what: row.try_get(4)?,
        subject: row.try_get(5)?,
        detail: row.try_get(6)?,
        id,
    };
    Ok(AuditRow { number: count(row.try_get(0)?), entry })
}

/// Sums by group.
pub(crate) async fn usage(client: &Client, query: &UsageQuery) -> Result<Vec<UsageRow>, Failure> {
    let group = group(query.by);
    let of_key = if query.key.is_some() { "key = $1" } else { "$1::text IS NULL" };
    // Only keys are many; hours and days before the page are skipped below.
    let after_key = if query.by == Grouping::Key { "key > $3" } else { "$3::text IS NOT NULL" };
    let text = format!(
        "SELECT min(key), min(pool), min(hour), sum(up)::bigint, sum(down)::bigint, sum(requests)::bigint, sum(tunnels)::bigint
         FROM usage WHERE {of_key} AND hour >= $2 AND {after_key} GROUP BY {group} ORDER BY {group}"
    );
    let after = query.after.as_deref().unwrap_or("");
    let key = query.key.as_ref().map(KeyId::as_str);
    let parameters: [Parameter<'_>; 3] = [(&key, Type::TEXT), (&Hour::of(query.since).0, Type::INT8), (&after, Type::TEXT)];
    let mut found = pin!(client.query_typed_raw(&text, parameters).await?);
    let mut page = Vec::new();
    while let Some(row) = found.try_next().await? {
        let group = query.by.label(row.try_get(0)?, row.try_get(1)?, Hour(row.try_get(2)?));
        if group.as_str() > after {
            let number = |column: usize| -> Result<u64, Failure> { Ok(count(row.try_get(column)?)) };
            let counters = Counters { up: number(3)?, down: number(4)?, requests: number(5)?, tunnels: number(6)? };
            page.push(UsageRow { group, counters });
        }
        if page.len() >= query.limit {
            break;
        }
    }
    Ok(page)
}
