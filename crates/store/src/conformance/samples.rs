//! What the suite puts into a store: small values by name.

use jiff::Timestamp;

use crate::audit::{Audit, AuditQuery};
use crate::contract::{ANYHOW, Change, Snapshot, Store};
use crate::exit::{Exit, ExitState, Labels};
use crate::id::{ExitId, KeyId, PlanName, PoolName};
use crate::key::{Key, KeyState, Proof};
use crate::period::Period;
use crate::plan::Plan;
use crate::secret::SecretHash;
use crate::usage::{Counters, Grouping, Hour, UsageBatch, UsageDelta, UsageQuery};

pub(super) fn now() -> Timestamp {
    at("2026-11-21T07:30:00.5Z")
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp of the suite")
}

pub(super) fn plan_name(text: &str) -> PlanName {
    PlanName::parse(text).expect("a plan name of the suite")
}

pub(super) fn key_id(text: &str) -> KeyId {
    KeyId::parse(text).expect("a key id of the suite")
}

pub(super) fn pool(text: &str) -> PoolName {
    PoolName::parse(text).expect("a pool name of the suite")
}

/// One of which nothing is known.
pub(super) fn exit(id: &str) -> Exit {
    Exit {
        id: ExitId::parse(id).expect("an id"),
        name: None,
        pool: None,
        labels: Labels::default(),
        weight: Exit::WEIGHT,
        max_tunnels: None,
        token: SecretHash::of(b"token"),
        state: ExitState::Active,
        created: now(),
    }
}

pub(super) fn key(id: &str, plan: &str) -> Key {
    Key {
        id: key_id(id),
        plan: plan_name(plan),
        secret: SecretHash::of(id.as_bytes()),
        old_secret: None,
        state: KeyState::Active,
        allow_ips: Vec::new(),
        proof: Proof::Secret,
        expires: None,
        created: now(),
        period_anchor: at("2026-11-01T00:00:00Z"),
    }
}

pub(super) fn audit(id: &str) -> Audit {
    Audit {
        id: id.into(),
        at: now(),
        who: "admin".into(),
        what: "plan.put".into(),
        subject: "subject".into(),
        detail: "because".into(),
    }
}

pub(super) fn all_audit() -> AuditQuery {
    AuditQuery { subject: None, before: None, limit: 1_000 }
}

pub(super) fn usage_by(by: Grouping) -> UsageQuery {
    UsageQuery { key: None, since: Timestamp::UNIX_EPOCH, by, after: None, limit: 1_000 }
}

pub(super) fn delta(key: &str, pool_name: &str, hour: &str, up: u64, down: u64) -> UsageDelta {
    let counters = Counters { up, down, requests: 1, tunnels: 1 };
    let period_start = Period::Month.start(Timestamp::UNIX_EPOCH, at(hour));
    UsageDelta { key: key_id(key), pool: pool(pool_name), hour: Hour::of(at(hour)), period_start, counters }
}

pub(super) fn batch(gateway: &str, sequence: u64, rows: Vec<UsageDelta>) -> UsageBatch {
    UsageBatch { gateway: gateway.into(), sequence, rows }
}

pub(super) async fn put(store: &dyn Store, change: Change, audit_id: &str) {
    assert_eq!(store.change(change, ANYHOW, audit(audit_id)).await, Ok(()), "{audit_id}");
}

pub(super) async fn load(store: &dyn Store, now: Timestamp) -> Snapshot {
    store.load(now).await.expect("a snapshot")
}

pub(super) async fn plans(store: &dyn Store) -> Vec<Plan> {
    let mut plans = load(store, now()).await.plans;
    plans.sort_by(|one, other| one.name.cmp(&other.name));
    plans
}
