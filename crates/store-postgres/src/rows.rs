//! How our types become columns and come back. What comes back is parsed again: a damaged row is an error, never a guess.

use outgate_store::column::{Damaged, list, optional, parse, time};
use outgate_store::{Exit, ExitState, Key, KeyState, Labels, OldSecret, Plan, PlanName, Proof, SecretHash};
use tokio_postgres::Row;

use crate::error::Failure;

/// In the order `plan` reads them; the name comes first.
pub(crate) const PLAN_COLUMNS: &str = "name, bytes, period, rate, burst, threads, speed, pools, ports, countries";

pub(crate) fn plan(row: &Row) -> Result<Plan, Failure> {
    let name: &str = row.try_get(0)?;
    Ok(Plan {
        name: parse(name, name)?,
        bytes: optional(row.try_get(1)?, name)?,
        period: parse(row.try_get(2)?, name)?,
        rate: optional(row.try_get(3)?, name)?,
        burst: optional(row.try_get(4)?, name)?,
        threads: optional(row.try_get(5)?, name)?,
        speed: optional(row.try_get(6)?, name)?,
        pools: list(row.try_get(7)?, name)?,
        ports: list(row.try_get(8)?, name)?,
        countries: list(row.try_get(9)?, name)?,
    })
}

/// In the order `key` reads them; the id comes first.
pub(crate) const KEY_COLUMNS: &str =
    "id, plan, secret, old_secret, old_until, state, blocked_why, allow_ips, proof, expires, created, period_anchor";

/// How many they are: what follows them in a row begins here.
pub(crate) const KEY_WIDTH: usize = 12;

/// The plan that a key's row names.
pub(crate) fn plan_of_key(row: &Row) -> Result<&str, Failure> {
    Ok(row.try_get(1)?)
}

/// `plan` is looked up by the caller, who shares one copy of each name among all keys.
pub(crate) fn key(row: &Row, plan: PlanName) -> Result<Key, Failure> {
    let id: &str = row.try_get(0)?;
    let damaged = |what: &str| Damaged(format!("{what} of key {id}"));
    let old_secret = match (row.try_get::<_, Option<&[u8]>>(3)?, row.try_get::<_, Option<i64>>(4)?) {
        (Some(bytes), Some(until)) => Some(OldSecret { hash: hash(bytes, id)?, until: time(until, id)? }),
        _ => None,
    };
    Ok(Key {
        id: parse(id, id)?,
        plan,
        secret: hash(row.try_get(2)?, id)?,
        old_secret,
        state: KeyState::from_name(row.try_get(5)?, row.try_get(6)?).ok_or_else(|| damaged("state"))?,
        allow_ips: list(row.try_get(7)?, id)?,
        proof: Proof::from_name(row.try_get(8)?).ok_or_else(|| damaged("proof"))?,
        expires: row.try_get::<_, Option<i64>>(9)?.map(|at| time(at, id)).transpose()?,
        created: time(row.try_get(10)?, id)?,
        period_anchor: time(row.try_get(11)?, id)?,
    })
}

/// In the order `exit` reads them; the id comes first.
pub(crate) const EXIT_COLUMNS: &str =
    "id, name, pool, country, state_label, city, asn, carrier, weight, max_tunnels, token, state, created";

pub(crate) fn exit(row: &Row) -> Result<Exit, Failure> {
    let id: &str = row.try_get(0)?;
    let damaged = |what: &str| Damaged(format!("{what} of exit {id}"));
    let text = |column: usize| row.try_get::<_, Option<&str>>(column);
    Ok(Exit {
        id: parse(id, id)?,
        name: row.try_get(1)?,
        pool: text(2)?.map(|pool| parse(pool, id)).transpose()?,
        labels: Labels {
            country: text(3)?.map(|country| parse(country, id)).transpose()?,
            state: row.try_get(4)?,
            city: row.try_get(5)?,
            asn: optional(row.try_get(6)?, id)?,
            carrier: row.try_get(7)?,
        },
        weight: optional(row.try_get(8)?, id)?
            .filter(|weight| Exit::WEIGHTS.contains(weight))
            .ok_or_else(|| damaged("weight"))?,
        max_tunnels: optional(row.try_get(9)?, id)?,
        token: hash(row.try_get(10)?, id)?,
        state: ExitState::from_name(row.try_get(11)?).ok_or_else(|| damaged("state"))?,
        created: time(row.try_get(12)?, id)?,
    })
}

fn hash(bytes: &[u8], of: &str) -> Result<SecretHash, Failure> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| Damaged(format!("{of}: a secret's hash")))?;
    Ok(SecretHash::from_bytes(bytes))
}
