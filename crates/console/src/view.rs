//! What the API shows of plans, keys, exits, usage and the audit trail. Never a secret or its hash.

use jiff::Timestamp;
use outgate_store::live::{ExitHealth, ExitStatus, LiveUsage, RecordsKept, SharingState, Standing, UsageKept};
use outgate_store::own::{OwnFault, OwnSession};
use outgate_store::{AuditRow, Exit, Grouping, Key, KeyState, Labels, Plan, UsageRow, later};
use serde_json::{Value, json};

/// A plan with the number of keys on it.
pub(crate) fn plan(plan: &Plan, keys: usize) -> Value {
    let mut value = limits_of(plan);
    value["keys"] = json!(keys);
    value
}

fn limits_of(plan: &Plan) -> Value {
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
    })
}

/// `used` is live; without it the key has used nothing since the gateway started to know it.
pub(crate) fn key(key: &Key, plan: &Plan, used: Option<LiveUsage>, now: Timestamp) -> Value {
    let why = match &key.state {
        KeyState::Blocked { why } => Some(why),
        KeyState::Active | KeyState::Suspended | KeyState::Revoked => None,
    };
    let mut value = own_key(key, now);
    value["plan"] = json!(key.plan);
    value["blocked_why"] = json!(why);
    value["period"] = period(key, plan, used, now);
    value["open"] = json!(used.map_or(0, |used| used.open));
    value
}

/// What a key's owner may know of it as well: why it is blocked is the operator's.
fn own_key(key: &Key, now: Timestamp) -> Value {
    json!({
        "id": key.id,
        "state": key.state.name(),
        "expired": key.expired(now),
        "expires": key.expires.map(|at| at.to_string()),
        "created": key.created.to_string(),
        "allow_ips": key.allow_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "proof": key.proof.name(),
        "old_secret_until": key.old_secret.map(|old| old.until).filter(|until| now < *until).map(|until| until.to_string()),
    })
}

/// The present period and what was used in it.
pub(crate) fn period(key: &Key, plan: &Plan, used: Option<LiveUsage>, now: Timestamp) -> Value {
    let start = plan.period.start(key.period_anchor, now);
    // A key that was idle when its period ended still shows the old one until its next use.
    let bytes = used.filter(|used| used.period_start == start).map_or(0, |used| used.period_bytes);
    json!({
        "start": start.to_string(),
        "end": plan.period.end(key.period_anchor, now).to_string(),
        "bytes": bytes,
        "limit": plan.bytes,
    })
}

/// A key for its owner.
pub(crate) fn me(key: &Key, plan: &Plan, now: Timestamp) -> Value {
    let mut value = own_key(key, now);
    value["plan"] = limits_of(plan);
    value
}

/// What is left of a key's limits. A limit that its plan doesn't set is null, and so is what is left of it.
pub(crate) fn limits(key: &Key, plan: &Plan, used: Option<LiveUsage>, now: Timestamp) -> Value {
    let mut bytes = period(key, plan, used, now);
    bytes["left"] = json!(plan.bytes.map(|limit| limit.saturating_sub(bytes["bytes"].as_u64().unwrap_or(0))));
    let open = used.map_or(0, |used| used.open);
    json!({
        "period": bytes,
        "rate": {
            "limit": plan.rate,
            "burst": plan.rate.map(|rate| plan.burst.unwrap_or(rate)),
            "left": plan.rate.and(used.and_then(|used| used.rate_left)),
        },
        "threads": {
            "limit": plan.threads,
            "open": open,
            "left": plan.threads.map(|limit| u64::from(limit).saturating_sub(open)),
        },
        "speed": plan.speed,
    })
}

/// A fault of a key's request, with its explanation.
pub(crate) fn fault(fault: &OwnFault) -> Value {
    let told = &fault.fault;
    json!({
        "time": format!("{:.3}", fault.at),
        "request_id": fault.request_id,
        "fault": told.slug,
        "layer": told.layer,
        "sentence": told.sentence,
        "cause": told.cause,
        "fix": told.fix,
        "retry": told.retry,
        "lasting": told.lasting,
        "who_fixes": told.fixer,
        "protocol": fault.protocol,
        "method": fault.method,
        "target": fault.target,
        "client": fault.client,
        "pool": fault.pool,
        "exit": fault.exit,
        "session": fault.session,
        "status": fault.status,
        "ended_by": fault.ended_by,
        "attempts": fault.attempts,
    })
}

/// A session that still holds.
pub(crate) fn session(session: &OwnSession, now: Timestamp) -> Value {
    json!({
        "session": session.session,
        "pool": session.pool,
        "country": session.country,
        "state": session.state,
        "city": session.city,
        "exit": session.exit,
        "until": format!("{:.0}", later(now, session.left)),
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
                "gateway": online.gateway,
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

/// How a gateway stands, signal by signal, and the worst of them.
pub(crate) fn standing(standing: &Standing) -> Value {
    let ledger = match standing.usage {
        UsageKept::Ledger => ("ok", "usage is in the ledger".to_owned()),
        UsageKept::Journal => {
            ("degraded", "the ledger does not take usage, which is kept in the journal until it does".to_owned())
        }
        UsageKept::Nowhere => ("failing", "neither ledger nor journal take usage: new requests are refused".to_owned()),
    };
    let sharing = match &standing.sharing {
        SharingState::Off => None,
        SharingState::Together { gateways } => Some(("ok", format!("limits hold over all gateways, {gateways} now"))),
        SharingState::Alone { since, why, share } => {
            Some(("degraded", format!("since {since} this gateway enforces {share:.2} of every limit by itself: {why}")))
        }
    };
    let memory = match standing.memory_short {
        false => ("ok", "there is room".to_owned()),
        true => ("failing", "memory is short: new requests are refused".to_owned()),
    };
    let records = match &standing.records {
        RecordsKept::Off => None,
        RecordsKept::Written { lost: 0 } => Some(("ok", "requests are recorded".to_owned())),
        RecordsKept::Written { lost } => Some((
            "ok",
            format!(
                "requests are recorded; {lost} records were lost since the start, when the disk took them not fast enough or not at all"
            ),
        )),
        RecordsKept::Failing { since, why, lost } => {
            Some(("degraded", format!("since {since:.0} requests are not recorded, {lost} so far; traffic goes on: {why}")))
        }
    };
    let signals = [("ledger", Some(ledger)), ("sharing", sharing), ("memory", Some(memory)), ("records", records)];
    let signals = signals.into_iter().filter_map(|(name, signal)| Some((name, signal?)));
    let signals: Vec<_> = signals.map(|(name, (state, what))| json!({ "name": name, "state": state, "what": what })).collect();
    let worst = ["failing", "degraded"].into_iter().find(|state| signals.iter().any(|signal| signal["state"] == *state));
    json!({ "status": worst.unwrap_or("ok"), "signals": signals })
}
