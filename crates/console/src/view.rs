//! What the API shows of plans, keys, exits, usage and the audit trail. Never a secret or its hash.

use jiff::Timestamp;
use outgate_store::live::{ExitHealth, ExitStatus, LiveUsage};
use outgate_store::{AuditRow, Exit, Grouping, Key, KeyState, Labels, Plan, UsageRow};
use serde_json::{Value, json};

pub(crate) fn plan(plan: &Plan, keys: usize) -> Value {
    json!({
        "name": plan.name,
        "bytes": plan.bytes,
        "period": plan.period,
        "rate": plan.rate,
        "burst": plan.burst,
        "threads": plan.threads,
        "speed": plan.speed,
        "pools": plan.pools,
        "ports": plan.ports,
        "countries": plan.countries,
        "keys": keys,
    })
}

/// `used` is live; without it the key has used nothing since the gateway started to know it.
pub(crate) fn key(key: &Key, plan: &Plan, used: Option<LiveUsage>, now: Timestamp) -> Value {
    let why = match &key.state {
        KeyState::Blocked { why } => Some(why),
        KeyState::Active | KeyState::Suspended | KeyState::Revoked => None,
    };
    let start = plan.period.start(key.period_anchor, now);
    // A key that was idle when its period ended still shows the old one until its next use.
    let used = used.map(|used| (if used.period_start == start { used.period_bytes } else { 0 }, used.open));
    json!({
        "id": key.id,
        "plan": key.plan,
        "state": key.state.name(),
        "blocked_why": why,
        "expired": key.expired(now),
        "expires": key.expires.map(|at| at.to_string()),
        "created": key.created.to_string(),
        "allow_ips": key.allow_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "proof": key.proof.name(),
        "old_secret_until": key.old_secret.map(|old| old.until).filter(|until| now < *until).map(|until| until.to_string()),
        "period": {
            "start": start.to_string(),
            "end": plan.period.end(key.period_anchor, now).to_string(),
            "bytes": used.map_or(0, |used| used.0),
            "limit": plan.bytes,
        },
        "open": used.map_or(0, |used| used.1),
    })
}

pub(crate) fn exit(exit: &Exit, online: Option<&ExitStatus>) -> Value {
    let mut value = json!({
        "id": exit.id,
        "name": exit.name,
        "pool": exit.pool,
        "status": exit.state.name(),
        "weight": exit.weight,
        "max_tunnels": exit.max_tunnels,
        "created": exit.created.to_string(),
        "online": online.map(|online| {
            let mut value = json!({
                "pool": online.pool,
                "tunnels": online.tunnels,
                "links": online.links,
                "rtt_ms": online.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
                "since": online.since.to_string(),
                "agent": online.agent,
                "health": online.health.name(),
                "ejected_why": match online.health {
                    ExitHealth::Ejected { why, .. } => Some(why),
                    ExitHealth::Healthy | ExitHealth::SlowStart { .. } => None,
                },
                "health_until": match online.health {
                    ExitHealth::Ejected { until, .. } | ExitHealth::SlowStart { until } => Some(format!("{until:.3}")),
                    ExitHealth::Healthy => None,
                },
            });
            add_labels(&mut value, &online.labels);
            value
        }),
    });
    add_labels(&mut value, &exit.labels);
    value
}

fn add_labels(value: &mut Value, labels: &Labels) {
    value["country"] = json!(labels.country);
    value["state"] = json!(labels.state);
    value["city"] = json!(labels.city);
    value["asn"] = json!(labels.asn);
    value["carrier"] = json!(labels.carrier);
}

/// The group stands under the name of the grouping: `{"key": "ab12cd", "up": …}`.
pub(crate) fn usage(row: &UsageRow, by: Grouping) -> Value {
    let counters = &row.counters;
    let mut value = json!({
        "up": counters.up,
        "down": counters.down,
        "bytes": counters.bytes(),
        "requests": counters.requests,
        "tunnels": counters.tunnels,
    });
    value[by.name()] = json!(row.group);
    value
}

pub(crate) fn audit(row: &AuditRow) -> Value {
    let entry = &row.entry;
    json!({
        "number": row.number,
        "at": entry.at.to_string(),
        "who": entry.who,
        "what": entry.what,
        "subject": entry.subject,
        "detail": entry.detail,
    })
}
