//! How our types become columns and come back. What comes back is parsed again: a damaged row is an error, never a guess.

use outgate_store::column::{Damaged, list, optional, parse, time};
use outgate_store::{Exit, ExitState, Key, KeyState, Labels, OldSecret, Plan, PlanName, Proof, SecretHash, StoreError};
use rusqlite::Row;

/// Reading failed: the database said no, or what it said is not ours.
pub(crate) enum ReadError {
    Sqlite(rusqlite::Error),
    Damaged(Damaged),
    /// Nobody takes what is read any more.
    Stopped,
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Damaged> for ReadError {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sqlite(error) => Self::Refused(error.to_string()),
            ReadError::Damaged(damaged) => Self::Refused(damaged.to_string()),
            ReadError::Stopped => Self::Refused("nobody takes the entries any more".into()),
        }
    }
}

pub(crate) const PLAN_COLUMNS: &str = "name, bytes, period, rate, burst, threads, speed, pools, ports, countries";

pub(crate) fn plan(row: &Row<'_>) -> Result<Plan, ReadError> {
    let name: String = row.get("name")?;
    let text = |column: &'static str| -> Result<String, ReadError> { Ok(row.get(column)?) };
    Ok(Plan {
        bytes: optional(row.get("bytes")?, &name)?,
        period: parse(&text("period")?, &name)?,
        rate: optional(row.get("rate")?, &name)?,
        burst: optional(row.get("burst")?, &name)?,
        threads: optional(row.get("threads")?, &name)?,
        speed: optional(row.get("speed")?, &name)?,
        pools: list(&text("pools")?, &name)?,
        ports: list(&text("ports")?, &name)?,
        countries: list(&text("countries")?, &name)?,
        name: parse(&name, &name)?,
    })
}

/// In the order `key` reads them: by position and without copies, because a start reads a million of these rows.
pub(crate) const KEY_COLUMNS: &str =
    "id, plan, secret, old_secret, old_until, state, blocked_why, allow_ips, proof, expires, created, period_anchor";

/// Where a key's row names its plan.
pub(crate) const KEY_PLAN: usize = 1;

/// `plan` is looked up by the caller, who shares one copy of each name among all keys.
pub(crate) fn key(row: &Row<'_>, plan: PlanName) -> Result<Key, ReadError> {
    let id = text(row, 0)?;
    let damaged = |what: &str| Damaged(format!("{what} of key {id}"));
    let old_secret = match (row.get::<_, Option<[u8; 32]>>(3)?, row.get::<_, Option<i64>>(4)?) {
        (Some(hash), Some(until)) => Some(OldSecret { hash: SecretHash::from_bytes(hash), until: time(until, id)? }),
        _ => None,
    };
    Ok(Key {
        id: parse(id, id)?,
        plan,
        secret: SecretHash::from_bytes(row.get(2)?),
        old_secret,
        state: KeyState::from_name(text(row, 5)?, row.get(6)?).ok_or_else(|| damaged("state"))?,
        allow_ips: list(text(row, 7)?, id)?,
        proof: Proof::from_name(text(row, 8)?).ok_or_else(|| damaged("proof"))?,
        expires: row.get::<_, Option<i64>>(9)?.map(|at| time(at, id)).transpose()?,
        created: time(row.get(10)?, id)?,
        period_anchor: time(row.get(11)?, id)?,
    })
}

pub(crate) fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str, ReadError> {
    Ok(row.get_ref(column)?.as_str().map_err(|_| Damaged(format!("column {column} is not text")))?)
}

pub(crate) const EXIT_COLUMNS: &str =
    "id, name, pool, country, state_label, city, asn, carrier, weight, max_tunnels, token, state, created";

pub(crate) fn exit(row: &Row<'_>) -> Result<Exit, ReadError> {
    let id: String = row.get("id")?;
    let state: String = row.get("state")?;
    let country: Option<String> = row.get("country")?;
    let pool: Option<String> = row.get("pool")?;
    Ok(Exit {
        name: row.get("name")?,
        pool: pool.map(|pool| parse(&pool, &id)).transpose()?,
        labels: Labels {
            country: country.map(|country| parse(&country, &id)).transpose()?,
            state: row.get("state_label")?,
            city: row.get("city")?,
            asn: optional(row.get("asn")?, &id)?,
            carrier: row.get("carrier")?,
        },
        weight: optional(row.get("weight")?, &id)?
            .filter(|weight| Exit::WEIGHTS.contains(weight))
            .ok_or_else(|| Damaged(format!("weight of exit {id}")))?,
        max_tunnels: optional(row.get("max_tunnels")?, &id)?,
        token: SecretHash::from_bytes(row.get("token")?),
        state: ExitState::from_name(&state).ok_or_else(|| Damaged(format!("state of exit {id}")))?,
        created: time(row.get("created")?, &id)?,
        id: parse(&id, &id)?,
    })
}
